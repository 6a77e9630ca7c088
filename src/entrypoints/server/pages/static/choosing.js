// Ticks of a list of flow runs: all of the page at once, and kept when the list is replaced by a newer one.
export function chooseAll() {
  const all = document.querySelector("[data-tick-all]");
  if (!all) return;
  all.closest("label").hidden = false;
  all.addEventListener("change", () => {
    for (const box of document.querySelectorAll("input[name=id]")) box.checked = all.checked;
  });
}

export function keepTicks(old, fresh) {
  const ticked = new Set([...old.querySelectorAll("input[name=id]:checked")].map((box) => box.value));
  for (const box of fresh.querySelectorAll("input[name=id]")) if (ticked.has(box.value)) box.checked = true;
}

// Ticks of a list of flow runs: all of the page at once.
export function chooseAll() {
  const all = document.querySelector("[data-tick-all]");
  if (!all) return;
  all.closest("label").hidden = false;
  all.addEventListener("change", () => {
    for (const box of document.querySelectorAll("input[name=id]")) box.checked = all.checked;
  });
}

// Ticks of a list of flow runs: all of the page at once.
export function chooseAll() {
  document.addEventListener("change", ({ target }) => {
    if (!target.matches("[data-tick-all]")) return;
    for (const box of document.querySelectorAll("input[name=id]")) box.checked = target.checked;
  });
}

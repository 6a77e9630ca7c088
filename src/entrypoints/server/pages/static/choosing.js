// Ticks of a list of flow runs: all of the page at once, and kept with the entry of the browser's history. The browser's own
// memory of a form goes by the order of its fields, and would tick another run where the list has changed meanwhile.
export function chooseAll() {
  const boxes = () => [...document.querySelectorAll("input[name=id][type=checkbox]")];
  const ticked = history.state?.ticked ?? [];
  for (const box of boxes()) if (ticked.includes(box.value)) box.checked = true;
  document.addEventListener("change", ({ target }) => {
    if (target.matches("[data-tick-all]")) for (const box of boxes()) box.checked = target.checked;
    else if (!target.matches("input[name=id]")) return;
    history.replaceState({ ...history.state, ticked: boxes().filter((box) => box.checked).map((box) => box.value) }, "");
  });
}

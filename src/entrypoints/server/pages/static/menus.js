// Menus are <details>: a click elsewhere or Escape closes them, and none reaches beyond the window.
const EDGE = 8; // pixels that are left free

export function closeMenus() {
  document.addEventListener("toggle", ({ target }) => { if (target.matches?.("details.menu[open]")) keepInside(target); }, true);
  document.addEventListener("click", (event) => {
    for (const menu of document.querySelectorAll("details.menu[open]")) if (!menu.contains(event.target)) menu.open = false;
  });
  document.addEventListener("keydown", (event) => {
    if (event.key !== "Escape") return;
    for (const menu of document.querySelectorAll("details.menu[open]")) {
      menu.open = false;
      menu.querySelector("summary").focus();
    }
  });
}

function keepInside(menu) {
  const content = menu.querySelector(":scope > :not(summary)");
  content.style.translate = "";
  const { left, right } = content.getBoundingClientRect();
  const over = Math.min(right - document.documentElement.clientWidth + EDGE, left - EDGE);
  if (over > 0) content.style.translate = `${-over}px`;
}

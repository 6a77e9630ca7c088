// Saved views: names for filters of a list, kept in this browser only. The address is what is kept.
const MOST = 50;
const PLACES = ["after", "before"];

export function savedViews() {
  const menu = document.getElementById("views");
  if (!menu) return;
  const key = `views:${location.pathname}`;
  const [list, name, save] = [menu.querySelector("ul"), menu.querySelector("input"), menu.querySelector("button")];
  const show = () => list.replaceChildren(...read(key).map((one) => row(one, () => { write(key, read(key).filter((each) => each.name !== one.name)); show(); })));
  const add = () => {
    const text = name.value.trim();
    if (!text) return;
    write(key, [...read(key).filter((each) => each.name !== text), { name: text, query: current() }].slice(-MOST));
    name.value = "";
    show();
  };
  save.addEventListener("click", add);
  name.addEventListener("keydown", (event) => { if (event.key === "Enter") { event.preventDefault(); add(); } });
  show();
  menu.hidden = false;
}

function current() {
  const query = new URLSearchParams(location.search);
  for (const one of [...query.keys()]) if (PLACES.includes(one) || !query.get(one)) query.delete(one);
  return query.toString();
}

function row(one, forget) {
  const [item, link, button] = ["li", "a", "button"].map((tag) => document.createElement(tag));
  link.href = `${location.pathname}?${one.query}`;
  link.textContent = one.name;
  button.type = "button";
  button.className = "plain";
  button.textContent = "Forget";
  button.setAttribute("aria-label", `Forget ${one.name}`);
  button.addEventListener("click", (event) => { event.stopPropagation(); forget(); });
  item.append(link, button);
  return item;
}

// What is stored may be anything: an older page, or the person, may have written it.
function read(key) {
  try {
    const found = JSON.parse(localStorage.getItem(key) || "[]");
    return found.filter((one) => typeof one.name === "string" && typeof one.query === "string");
  } catch { return []; }
}

function write(key, views) {
  try { localStorage.setItem(key, JSON.stringify(views)); } catch { /* no room, or not allowed: nothing is saved */ }
}

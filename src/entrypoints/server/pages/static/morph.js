// Make an element equal to a newer one by touching only what differs: what is scrolled to, focused, selected, opened or
// ticked in it stays so.
const OWN = ["open", "hidden"]; // attributes that the viewer or a script sets
const ROWS = ["TR", "LI", "DETAILS", "ARTICLE", "SECTION"];

export function morph(old, fresh) {
  copyAttributes(old, fresh);
  const known = new Map([...old.children].map((each) => [keyOf(each), each]));
  let place = old.firstChild;
  for (const next of [...fresh.childNodes]) {
    const same = partner(next, place, known);
    if (same && same === place) place = place.nextSibling;
    else old.insertBefore(same ?? document.adoptNode(next), place);
    if (same) become(same, next);
  }
  while (place) { const rest = place.nextSibling; place.remove(); place = rest; }
}

// Which node of the old element stands for a new one: the row about the same thing, or what has the same place.
function partner(next, place, known) {
  const key = keyOf(next);
  if (key) {
    const found = known.get(key);
    known.delete(key);
    return found?.nodeName === next.nodeName ? found : null;
  }
  return place && place.nodeName === next.nodeName && !keyOf(place) ? place : null;
}

function become(old, fresh) {
  if (old.nodeType === Node.ELEMENT_NODE) { if (!old.isEqualNode(fresh)) morph(old, fresh); } else if (old.data !== fresh.data) old.data = fresh.data;
}

// What an element is about: its id, or where its first form or link leads.
function keyOf(node) {
  if (node.nodeType !== Node.ELEMENT_NODE) return "";
  if (node.id) return node.id;
  if (!ROWS.includes(node.tagName)) return "";
  const first = node.querySelector("form[action], a[href]");
  return first ? first.getAttribute("action") ?? first.getAttribute("href") : "";
}

function copyAttributes(old, fresh) {
  for (const { name, value } of [...fresh.attributes]) if (!OWN.includes(name) && old.getAttribute(name) !== value) old.setAttribute(name, value);
  for (const { name } of [...old.attributes]) if (!OWN.includes(name) && !fresh.hasAttribute(name)) old.removeAttribute(name);
}

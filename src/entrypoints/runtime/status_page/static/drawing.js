// Elements of the page: made once, changed only where something else is to be seen, so that nothing flickers.
const SVG = "http://www.w3.org/2000/svg";

export function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

export function setAttribute(element, name, value) {
  if (element.getAttribute(name) !== value) element.setAttribute(name, value);
}

export function make(tag, { text = "", ...attributes } = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  if (text) element.textContent = text;
  element.append(...children);
  return element;
}

export function time({ text, title, iso }) {
  return make("time", { text, title, datetime: iso });
}

function drawn(tag, attributes) {
  const element = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  return element;
}

// One child of the parent for each item, in this order. A child that is there already is changed, not replaced, so that
// focus, selection and scrolled places stay.
export function fill(parent, items, keyOf, build) {
  const known = new Map([...parent.children].map((child) => [child.dataset.key, child]));
  let before = parent.firstElementChild;
  for (const item of items) {
    const next = build(item);
    next.dataset.key = keyOf(item);
    const child = known.get(next.dataset.key) ?? next;
    known.delete(next.dataset.key);
    if (child !== next) morph(child, next);
    if (child === before) before = before.nextElementSibling;
    else parent.insertBefore(child, before);
  }
  for (const left of known.values()) left.remove();
}

function morph(old, next) {
  if (old.isEqualNode(next)) return;
  if (old.nodeName !== next.nodeName) return old.replaceWith(next);
  if (old.nodeType === Node.TEXT_NODE) return void (old.data = next.data);
  for (const { name } of [...old.attributes]) if (!next.hasAttribute(name)) old.removeAttribute(name);
  for (const { name, value } of next.attributes) setAttribute(old, name, value);
  const [here, there] = [[...old.childNodes], [...next.childNodes]];
  there.forEach((child, at) => { if (here[at]) morph(here[at], child); else old.append(child); });
  for (const left of here.slice(there.length)) left.remove();
}

// A column for each minute, as high as its value is of the largest one.
export function spark(values, label, kind) {
  const top = Math.max(...values.map((value) => value ?? 0), 0);
  const svg = drawn("svg", { class: `spark ${kind}`, viewBox: `0 0 ${values.length * 4} 40`, preserveAspectRatio: "none", role: "img", "aria-label": label });
  svg.append(drawn("rect", { class: "base", x: 0, y: 39, width: values.length * 4, height: 1 }));
  values.forEach((value, at) => {
    if (!value) return;
    const height = Math.max(2, 38 * value / top);
    svg.append(drawn("rect", { x: at * 4, y: 39 - height, width: 3, height }));
  });
  return svg;
}

// What the time of a flow run was spent on: parts of one bar.
export function bar(parts, label) {
  const whole = parts.reduce((sum, [, seconds]) => sum + seconds, 0);
  const svg = drawn("svg", { viewBox: "0 0 100 10", preserveAspectRatio: "none", role: "img", "aria-label": label });
  let x = 0;
  for (const [kind, seconds] of parts) {
    const width = whole ? 100 * seconds / whole : 0;
    svg.append(drawn("rect", { class: kind, x: x.toFixed(2), y: 0, width: width.toFixed(2), height: 10 }));
    x += width;
  }
  return svg;
}

// Regions that follow the Cloud. An element with an id and data-live names a stream; when that says "changed", the page
// is fetched again and every such element of the same stream is replaced, unless the viewer works in it. A hidden tab
// closes its streams and catches up when it is shown.
import { update } from "./times.js";

const LEAST = 1000;

export function watchRegions() {
  const addresses = new Set([...document.querySelectorAll("[data-live][id]")].map((each) => each.dataset.live));
  for (const address of addresses) follow(address, { changed: () => refresh(address) });
}

// Listen to a stream while the tab is visible.
//   handlers: event name to function of its data
//   again: called when the stream is opened again after a pause
export function follow(address, handlers, again = handlers.changed) {
  let source = null;
  let isFirst = true;
  const open = () => {
    source = new EventSource(typeof address === "function" ? address() : address);
    source.onopen = () => { notice(false); if (!isFirst && again) again(); isFirst = false; };
    source.onerror = () => {
      notice(true);
      if (source && source.readyState === EventSource.CLOSED) { close(); setTimeout(() => { if (!source && !document.hidden) open(); }, 5000); }
    };
    for (const [name, handle] of Object.entries(handlers)) source.addEventListener(name, (event) => handle(JSON.parse(event.data)));
  };
  const close = () => { if (source) source.close(); source = null; };
  document.addEventListener("visibilitychange", () => (document.hidden ? close() : source || open()));
  addEventListener("pagehide", close);
  addEventListener("pageshow", (event) => { if (event.persisted && !source) open(); });
  if (!document.hidden) open();
}

function notice(isLost) {
  document.getElementById("connection").hidden = !isLost;
}

const waiting = new Map();

function refresh(address) {
  if (waiting.has(address)) { waiting.set(address, true); return; }
  waiting.set(address, false);
  load(address).catch(() => notice(true)).finally(() => setTimeout(() => {
    const isAgain = waiting.get(address);
    waiting.delete(address);
    if (isAgain) refresh(address);
  }, LEAST));
}

async function load(address) {
  const answer = await fetch(location.href, { headers: { Accept: "text/html" } });
  if (answer.status === 401 || answer.status === 404) { location.reload(); return; }
  if (!answer.ok) { notice(true); return; }
  const page = new DOMParser().parseFromString(await answer.text(), "text/html");
  update(page);
  for (const old of document.querySelectorAll("[data-live][id]")) {
    if (old.dataset.live === address) replace(old, page.getElementById(old.id));
  }
}

function replace(old, fresh) {
  if (!fresh || old.innerHTML === fresh.innerHTML) return;
  if (old.querySelector("details.menu[open]")) return;
  const place = focusIn(old);
  old.replaceWith(document.adoptNode(fresh));
  if (place) restore(fresh, place);
}

// Where the focus is, in words that hold for the new element as well.
function focusIn(element) {
  const focused = document.activeElement;
  if (!focused || !element.contains(focused)) return null;
  return { href: focused.getAttribute("href"), index: [...element.querySelectorAll("a, button, summary, input")].indexOf(focused) };
}

function restore(element, place) {
  const all = [...element.querySelectorAll("a, button, summary, input")];
  const same = place.href && all.find((each) => each.getAttribute("href") === place.href);
  (same || all[place.index])?.focus({ preventScroll: true });
}

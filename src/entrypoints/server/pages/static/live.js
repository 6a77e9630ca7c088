// Regions that follow the Cloud. An element with an id and data-live names a stream; when that says "changed", the page
// is fetched again and every such element of the same stream becomes the new one, unless a menu is open in it. A hidden tab
// closes its streams and catches up when it is shown.
import { isTyped } from "./forms.js";
import { morph } from "./morph.js";
import { setClock, update } from "./times.js";

const LEAST = 1000;

export function watchRegions() {
  const addresses = new Set([...document.querySelectorAll("[data-live][id]")].map((each) => each.dataset.live));
  for (const address of addresses) {
    follow(() => withSeen(address), { changed: () => refresh(address) });
  }
}

// Regions that hold such an element are shown anew.
export function showAgain(selector) {
  for (const each of document.querySelectorAll("[data-live][id]")) if (each.querySelector(selector)) refresh(each.dataset.live);
}

// The stream compares with what the page shows: what changed before it was opened, or while it was closed, is news.
function withSeen(address) {
  const url = new URL(address, location.href);
  const shown = [...document.querySelectorAll("[data-live][id]")].find((each) => each.dataset.live === address);
  if (shown) url.searchParams.set("seen", shown.dataset.seen);
  return url.href;
}

// Listen to a stream while the tab is visible.
//   address: called each time it is opened
//   handlers: event name to function of its data
export function follow(address, handlers) {
  let source = null;
  const open = () => {
    source = new EventSource(address());
    source.onopen = () => notice(false);
    source.onerror = () => {
      notice(true);
      if (source && source.readyState === EventSource.CLOSED) { close(); refused(); }
    };
    for (const [name, handle] of Object.entries(handlers)) source.addEventListener(name, (event) => handle(JSON.parse(event.data)));
  };
  // The stream was refused: the page says why, or it is worth trying again.
  const refused = async () => {
    const answer = await fetch(location.href).catch(() => null);
    if (answer && [401, 404].includes(answer.status)) leave(answer.status);
    else setTimeout(() => { if (!source && !document.hidden) open(); }, 5000);
  };
  const close = () => { if (source) source.close(); source = null; };
  document.addEventListener("visibilitychange", () => (document.hidden ? close() : source || open()));
  addEventListener("pagehide", close);
  addEventListener("pageshow", (event) => { if (event.persisted && !source) open(); });
  if (!document.hidden) open();
}

const LOST = "The Cloud does not answer; this page is not up to date.";
const GONE = {
  401: "You are signed out. What you have filled in is kept: send it, and sign in again.",
  404: "This does not exist any more; this page is not up to date.",
};

function notice(isLost, text = LOST) {
  const line = document.getElementById("connection");
  line.textContent = text;
  line.hidden = !isLost;
}

// The page cannot be shown any more. The answer says why, unless something is filled in that a reload would lose.
function leave(status) {
  if (isTyped()) notice(true, GONE[status]); else location.reload();
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
  if (answer.status === 401 || answer.status === 404) { leave(answer.status); return; }
  if (!answer.ok) { notice(true); return; }
  const page = new DOMParser().parseFromString(await answer.text(), "text/html");
  setClock(page, Date.now());
  update(page);
  for (const old of document.querySelectorAll("[data-live][id]")) {
    if (old.dataset.live === address) replace(old, page.getElementById(old.id));
  }
}

function replace(old, fresh) {
  if (!fresh) return;
  if (old.innerHTML === fresh.innerHTML) { old.dataset.seen = fresh.dataset.seen; return; }
  const menu = old.querySelector("details.menu[open], details.asked[open]");
  if (menu) {
    menu.addEventListener("toggle", () => refresh(old.dataset.live), { once: true });
    return;
  }
  const focused = document.activeElement;
  morph(old, fresh);
  // An element that was moved has lost the focus.
  if (focused !== document.activeElement && focused?.isConnected) focused.focus({ preventScroll: true });
}

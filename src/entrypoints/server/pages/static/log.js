// A log of any length: only so many lines are in the page. Older ones are fetched when they are asked for or scrolled
// to; new ones come from a stream. Lines that are far away are dropped, and can be fetched again.
import { follow } from "./live.js";
import { update } from "./times.js";

const MOST = 3000;

export function followLog() {
  const log = document.getElementById("log");
  if (!log) return;
  log.scrollTop = log.dataset.stream ? log.scrollHeight : 0;
  log.addEventListener("scroll", () => { if (log.scrollTop < 40) older(log); });
  log.addEventListener("click", (event) => {
    if (event.target.id === "older") { event.preventDefault(); older(log); }
  });
  if (log.dataset.stream) live(log);
}

function live(log) {
  const tick = document.getElementById("follow");
  document.getElementById("follow-label").hidden = false;
  const lines = document.getElementById("lines");
  let isBehind = false; // the viewer reads older lines, and more came than the page holds
  tick.addEventListener("change", () => {
    if (tick.checked && isBehind) location.reload();
    else if (tick.checked) toEnd(log);
  });
  log.addEventListener("wheel", (event) => { if (event.deltaY < 0) tick.checked = false; }, { passive: true });
  log.addEventListener("keydown", (event) => { if (["ArrowUp", "PageUp", "Home"].includes(event.key)) tick.checked = false; });
  const address = () => {
    const url = new URL(log.dataset.stream, location.href);
    url.searchParams.set("since", log.dataset.since);
    return url.href;
  };
  follow(address, {
    lines: ({ html, left_out: leftOut, since }) => {
      log.dataset.since = since;
      const found = fragment(html);
      if (!tick.checked && (leftOut || lines.children.length > 2 * MOST)) isBehind = true;
      if (isBehind) return;
      if (leftOut) lines.replaceChildren();
      for (const line of [...found.children]) if (document.getElementById(line.id)) line.remove();
      update(found);
      document.getElementById("no-lines")?.remove();
      lines.append(found);
      if (tick.checked) { dropFirst(log, lines, Boolean(leftOut)); toEnd(log); }
    },
  });
}

function fragment(html) {
  const page = new DOMParser().parseFromString(`<ol>${html}</ol>`, "text/html");
  const made = document.createDocumentFragment();
  made.append(...page.querySelector("ol").children);
  return made;
}

function toEnd(log) {
  requestAnimationFrame(() => { log.scrollTop = log.scrollHeight; });
}

// Of a log that is followed, the first lines: "Older lines" then begins at the first that is left.
function dropFirst(log, lines, wereLeftOut) {
  const tooMany = Math.max(0, lines.children.length - MOST);
  if (!tooMany && !wereLeftOut) return;
  for (const line of [...lines.children].slice(0, tooMany)) line.remove();
  const first = lines.firstElementChild;
  const url = new URL(location.href);
  url.searchParams.delete("after");
  url.searchParams.set("before", `${first.querySelector("time").getAttribute("datetime")}~${first.id.slice(2)}`);
  let link = document.getElementById("older");
  if (!link) {
    const paragraph = document.createElement("p");
    link = document.createElement("a");
    link.id = "older";
    link.className = "button";
    link.textContent = "Older lines";
    paragraph.append(link);
    log.prepend(paragraph);
  }
  link.href = url.href;
}

let isLoading = false;

async function older(log) {
  const link = document.getElementById("older");
  if (!link || isLoading) return;
  isLoading = true;
  try {
    const answer = await fetch(link.href);
    if (!answer.ok) return;
    const page = new DOMParser().parseFromString(await answer.text(), "text/html");
    const lines = document.getElementById("lines");
    const before = log.scrollHeight - log.scrollTop;
    update(page);
    lines.prepend(...page.getElementById("lines").children);
    const next = page.getElementById("older");
    if (next) link.href = next.href; else link.closest("p").remove();
    log.scrollTop = log.scrollHeight - before;
  } finally {
    isLoading = false;
  }
}

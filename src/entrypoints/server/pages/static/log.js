// A log of any length: only so many lines are in the page. Others are fetched when they are asked for or scrolled to;
// new ones come from a stream. Lines that are far away are dropped, and can be fetched again.
import { follow } from "./live.js";
import { update } from "./times.js";

const MOST = 3000;
const NEAR = 40; // pixels from an end of the log

export function followLog() {
  const log = document.getElementById("log");
  if (!log) return;
  log.scrollTop = log.dataset.stream ? log.scrollHeight : 0;
  let top = log.scrollTop;
  log.addEventListener("scroll", () => {
    const left = log.scrollHeight - log.clientHeight - log.scrollTop;
    // Whoever scrolls up, by whatever means, reads there.
    const tick = document.getElementById("follow");
    if (tick && log.scrollTop < top && left > NEAR) tick.checked = false;
    top = log.scrollTop;
    if (log.scrollTop < NEAR) more(log, "older");
    else if (left < NEAR) more(log, "newer");
  });
  log.addEventListener("click", (event) => {
    if (!["older", "newer"].includes(event.target.id)) return;
    event.preventDefault();
    more(log, event.target.id);
  });
  if (log.dataset.stream) live(log);
}

function live(log) {
  const tick = document.getElementById("follow");
  document.getElementById("follow-label").hidden = false;
  const lines = document.getElementById("lines");
  tick.addEventListener("change", () => {
    if (tick.checked && isBehind()) location.reload();
    else if (tick.checked) toEnd(log);
  });
  const address = () => {
    const url = new URL(log.dataset.stream, location.href);
    url.searchParams.set("since", log.dataset.since);
    return url.href;
  };
  follow(address, {
    lines: ({ html, left_out: leftOut, since }) => {
      log.dataset.since = since;
      if (isBehind()) return;
      if (!tick.checked && (leftOut || lines.children.length > 2 * MOST)) {
        setLink(log, "newer", lines.lastElementChild);
        return;
      }
      if (leftOut) lines.replaceChildren();
      append(lines, fragment(html));
      if (tick.checked) { drop(log, lines, "older", Boolean(leftOut)); toEnd(log); }
    },
  });
}

// The viewer reads older lines, and more came than the page holds.
function isBehind() {
  return document.getElementById("newer") !== null;
}

function append(lines, found) {
  for (const line of [...found.children]) if (document.getElementById(line.id)) line.remove();
  update(found);
  document.getElementById("no-lines")?.remove();
  lines.append(found);
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

// Lines at the end that *way* leads to; its link then leads on from the last line that is left.
function drop(log, lines, way, wereLeftOut = false) {
  const tooMany = Math.max(0, lines.children.length - MOST);
  if (!tooMany && !wereLeftOut) return;
  const all = [...lines.children];
  for (const line of way === "older" ? all.slice(0, tooMany) : all.slice(all.length - tooMany)) line.remove();
  setLink(log, way, way === "older" ? lines.firstElementChild : lines.lastElementChild);
}

function setLink(log, way, line) {
  const url = new URL(location.href);
  const [name, other] = way === "older" ? ["before", "after"] : ["after", "before"];
  url.searchParams.delete(other);
  url.searchParams.set(name, `${line.querySelector("time").getAttribute("datetime")}~${line.id.slice(2)}`);
  let link = document.getElementById(way);
  if (!link) {
    const paragraph = document.createElement("p");
    link = document.createElement("a");
    link.id = way;
    link.className = "button";
    link.textContent = way === "older" ? "Older lines" : "Newer lines";
    paragraph.append(link);
    if (way === "older") log.prepend(paragraph); else log.append(paragraph);
  }
  link.href = url.href;
}

let isLoading = false;

async function more(log, way) {
  const link = document.getElementById(way);
  if (!link || isLoading) return;
  isLoading = true;
  try {
    const answer = await fetch(link.href);
    if (!answer.ok) return;
    const page = new DOMParser().parseFromString(await answer.text(), "text/html");
    const next = page.getElementById(way);
    if (way === "newer" && !next && log.dataset.stream) { location.reload(); return; } // the end, where new lines come
    show(log, way, page);
    if (next) link.href = next.href; else link.closest("p").remove();
  } finally {
    isLoading = false;
  }
}

// What the viewer looks at stays where it is.
function show(log, way, page) {
  const lines = document.getElementById("lines");
  const mark = way === "older" ? lines.firstElementChild : lines.lastElementChild;
  const top = mark.getBoundingClientRect().top;
  update(page);
  if (way === "older") lines.prepend(...page.getElementById("lines").children);
  else lines.append(...page.getElementById("lines").children);
  drop(log, lines, way === "older" ? "newer" : "older");
  log.scrollTop += mark.getBoundingClientRect().top - top;
  const tick = document.getElementById("follow");
  if (way === "older" && tick) tick.checked = false;
}

// Times are written by the server relative to its clock; here they get the viewer's zone, and go on.
const steps = [[86400, "d"], [3600, "h"], [60, "min"], [1, "s"]];
const exact = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "long" });
const range = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "short" });
const zone = Intl.DateTimeFormat().resolvedOptions().timeZone;
const clock = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit", second: "2-digit", hour12: false });

export function ago(seconds) {
  const size = Math.abs(seconds);
  if (size < 1) return "now";
  const [step, unit] = steps.find(([each]) => size >= each);
  const text = `${Math.floor(size / step)} ${unit}`;
  return seconds > 0 ? `${text} ago` : `in ${text}`;
}

// The Cloud's clock counts: it wrote the times. The viewer's may differ by minutes.
let ahead = 0;

// What a page says of the Cloud's time, and when this was, by the viewer's clock.
export function setClock(page, then) {
  const said = Date.parse(page.querySelector("[data-now]")?.dataset.now ?? "");
  if (!Number.isNaN(said)) ahead = said - then;
}

export function showTimes() {
  const [answer] = performance.getEntriesByType("navigation");
  setClock(document, performance.timeOrigin + (answer?.responseStart ?? 0));
  update();
  setInterval(() => { if (!document.hidden) update(); }, 5000);
}

export function update(root = document) {
  const now = Date.now() + ahead;
  for (const element of root.querySelectorAll("time[datetime]")) {
    const moment = new Date(element.dateTime);
    if (Number.isNaN(moment.getTime())) continue;
    element.title = exact.format(moment);
    const text = written(element, moment, now);
    if (element.textContent !== text) element.textContent = text;
  }
  for (const name of root.querySelectorAll("[data-zone-name]")) if (name.textContent !== zone) name.textContent = zone;
  for (const bar of root.querySelectorAll("a[data-start]")) nameBar(bar);
}

// The server lays out days; from the next answer on it knows the viewer's zone. Whether this is news for it.
export function tellZone() {
  const cookie = `prefect-zone=${zone}`;
  const isTold = () => document.cookie.split("; ").includes(cookie);
  if (isTold()) return false;
  document.cookie = `${cookie}; path=/; samesite=strict`;
  return isTold();
}

function written(element, moment, now) {
  if ("exact" in element.dataset) return clock.format(moment);
  return "full" in element.dataset ? range.format(moment) : ago((now - moment.getTime()) / 1000);
}

// A bar of a chart says which time it is about, in UTC until now.
function nameBar(bar) {
  const text = range.formatRange(new Date(bar.dataset.start), new Date(bar.dataset.end));
  const title = bar.querySelector("title");
  if (title) title.textContent = title.textContent.replace(/^.* UTC:/, `${text}:`);
  bar.setAttribute("aria-label", bar.getAttribute("aria-label").replace(/^.* UTC:/, `${text}:`));
}

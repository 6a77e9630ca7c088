// Times are written by the server relative to its clock; here they get the viewer's zone, and go on.
const steps = [[86400, "d"], [3600, "h"], [60, "min"], [1, "s"]];
const exact = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "long" });
const clock = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit", second: "2-digit", hour12: false });

export function ago(seconds) {
  const size = Math.abs(seconds);
  if (size < 1) return "now";
  const [step, unit] = steps.find(([each]) => size >= each);
  const text = `${Math.floor(size / step)} ${unit}`;
  return seconds > 0 ? `${text} ago` : `in ${text}`;
}

export function showTimes() {
  update();
  setInterval(() => { if (!document.hidden) update(); }, 5000);
}

export function update(root = document) {
  const now = Date.now();
  for (const element of root.querySelectorAll("time[datetime]")) {
    const moment = new Date(element.dateTime);
    if (Number.isNaN(moment.getTime())) continue;
    element.title = exact.format(moment);
    const text = "exact" in element.dataset ? clock.format(moment) : ago((now - moment.getTime()) / 1000);
    if (element.textContent !== text) element.textContent = text;
  }
}

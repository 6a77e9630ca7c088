// Numbers and times as people read them. All texts go into the page as text, never as markup.
const steps = [[86400, "d"], [3600, "h"], [60, "min"], [1, "s"]];
const exact = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "long" });

export function span(seconds) {
  if (seconds === null || seconds === undefined) return "-";
  if (seconds < 0.9995) return `${Math.round(seconds * 1000)} ms`;
  if (seconds < 10) return `${seconds.toFixed(1)} s`;
  if (seconds < 60) return `${Math.floor(seconds)} s`;
  const at = steps.findIndex(([size]) => seconds >= size);
  const [size, unit] = steps[at];
  const [smaller, part] = steps[at + 1];
  const rest = Math.floor((seconds % size) / smaller);
  return rest ? `${Math.floor(seconds / size)} ${unit} ${rest} ${part}` : `${Math.floor(seconds / size)} ${unit}`;
}

export function uptime(seconds) {
  return seconds < 60 ? `${Math.floor(seconds)} s` : span(seconds);
}

export function ago(seconds) {
  if (seconds < 1) return "now";
  const [size, unit] = steps.find(([each]) => seconds >= each);
  return `${Math.floor(seconds / size)} ${unit} ago`;
}

// How long ago something was by the agent's clock, and the exact time in the viewer's zone.
export function since(iso, now) {
  const moment = new Date(iso);
  return { text: ago((new Date(now) - moment) / 1000), title: exact.format(moment), iso };
}

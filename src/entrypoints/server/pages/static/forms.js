// Forms: JSON is checked while it is typed, and the start of a new run is of the viewer's zone; the server checks again.
// Filters that are empty are left out of the address, and those of a page that one comes back to are those of its address.
export function checkForms() {
  document.addEventListener("formdata", ({ target, formData }) => {
    if (target.method !== "get") return;
    for (const [name, value] of [...formData]) if (!value) formData.delete(name);
  });
  addEventListener("pageshow", ({ persisted }) => {
    if (persisted) for (const form of document.querySelectorAll("form.filters[method=get]")) form.reset();
  });
  // A change of many runs was confirmed, and a part of it is done: this is the answer to that form, never to a link.
  document.querySelector("form[data-goes-on]")?.requestSubmit();
  for (const area of document.querySelectorAll("textarea[data-kind]")) {
    const kind = document.getElementById(area.dataset.kind);
    const check = () => mark(area, kind ? kind.value : area.dataset.kind, kind ? ", or the kind “text”" : "");
    area.addEventListener("input", check);
    if (kind) kind.addEventListener("change", check);
  }
  const zone = document.querySelector("[data-zone]");
  if (!zone) return;
  const time = document.querySelector("input[name=start_time]");
  // How far the zone is behind UTC at that time; a time that it skips is the one that its clocks show instead.
  const set = () => { zone.value = String(time.value ? (new Date(time.value) - new Date(`${time.value}Z`)) / 60000 : new Date().getTimezoneOffset()); };
  set();
  time.form.addEventListener("submit", set);
  time.addEventListener("input", () => { set(); document.querySelector("input[name=start][value=later]").checked = true; });
}

// Whether the viewer has filled in something that is to be sent: a change, filters, runs that are ticked.
export function isTyped() {
  return [...document.forms].some((form) => [...form.elements].some(isChanged));
}

function isChanged(field) {
  if (field.type === "hidden" || !field.name) return false;
  if (field.tagName === "SELECT") return [...field.options].some((one, n) => one.selected !== (field.querySelector("[selected]") ? one.defaultSelected : n === 0));
  if (["checkbox", "radio"].includes(field.type)) return field.checked !== field.defaultChecked;
  return "defaultValue" in field && field.value !== field.defaultValue;
}

function mark(area, kind, orElse) {
  const problem = { JSON: problemOf, number: problemOfNumber, date: problemOfDate }[kind]?.(area.value, orElse) ?? "";
  const field = area.closest(".field");
  let note = field.querySelector(".wrong");
  if (!note) {
    note = document.createElement("p");
    note.className = "wrong";
    note.id = `${area.id}-wrong`;
    note.setAttribute("role", "status");
    field.append(note);
  }
  note.textContent = problem;
  area.setAttribute("aria-invalid", String(Boolean(problem)));
  area.setAttribute("aria-describedby", note.id);
}

function problemOf(text, orElse) {
  if (!text.trim()) return "";
  try { JSON.parse(text); return ""; } catch (problem) { return `This is not JSON: ${problem.message}. A text needs quotes${orElse}.`; }
}

function problemOfNumber(text) {
  return !text.trim() || /^\s*-?(0|[1-9]\d*)(\.\d+)?([eE][+-]?\d+)?\s*$/.test(text) ? "" : "This is not a number.";
}

function problemOfDate(text) {
  return !text.trim() || /^\s*\d{4}-\d\d-\d\d([T ]\d\d:\d\d(:\d\d(\.\d+)?)?([zZ]|[+-]\d\d:\d\d)?)?\s*$/.test(text) ? "" : "This is not a date, such as 2026-01-31 or 2026-01-31T13:00+01:00.";
}

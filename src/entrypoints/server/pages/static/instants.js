// Times that are typed are of the viewer's zone; what is sent, and stands in the address, is the instant in UTC.
// Without this script the fields are UTC, as their labels say.
export function typeInstants() {
  for (const field of document.querySelectorAll("input[data-instant]")) {
    const typed = document.createElement("input");
    typed.type = "datetime-local";
    typed.step = "1";
    typed.defaultValue = toLocal(field.value);
    field.type = "hidden";
    field.after(typed);
    typed.addEventListener("input", () => { field.value = typed.value ? toInstant(typed.value) : ""; });
  }
}

function toInstant(local) {
  const moment = new Date(local);
  return Number.isNaN(moment.getTime()) ? "" : moment.toISOString().replace(/\.\d+Z$/, "Z");
}

// What stands in an address without a zone is UTC, too.
function toLocal(instant) {
  const moment = new Date(/(Z|[+-]\d\d:?\d\d)$/i.test(instant) ? instant : `${instant}Z`);
  if (Number.isNaN(moment.getTime())) return "";
  const local = new Date(moment.getTime() - moment.getTimezoneOffset() * 60000);
  return local.toISOString().slice(0, 19);
}

// A graph that is larger than its region opens where one wants to look: at what failed, at what runs, or at its first task.
const WANTED = [".state-Failed, .state-TimedOut, .state-TriggerFailed", ".state-Running, .state-Retrying", "rect.box"];

export function showFirstTask() {
  for (const region of document.querySelectorAll(".graph")) {
    const task = WANTED.map((each) => region.querySelector(each)).find(Boolean);
    if (!task) continue;
    const [box, room] = [task.getBoundingClientRect(), region.getBoundingClientRect()];
    if (box.top < room.top || box.bottom > room.bottom) region.scrollTop += box.top - room.top - region.clientHeight / 3;
    if (box.left < room.left || box.right > room.right) region.scrollLeft += box.left - room.left - region.clientWidth / 3;
  }
}

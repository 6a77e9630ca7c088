// Drag across the bars of a timeline: that stretch of time is shown larger. The address says which part is shown.
const LEAST = 8; // pixels: less is a click

export function zoomTimeline() {
  if (!document.getElementById("timeline")) return;
  let drag = null;
  document.addEventListener("pointerdown", (event) => {
    const track = event.target.closest(".track");
    if (!track || event.button !== 0 || event.pointerType === "touch") return;
    drag = { from: event.clientX, box: track.getBoundingClientRect(), mark: null };
  });
  document.addEventListener("pointermove", (event) => {
    if (!drag || (!drag.mark && Math.abs(event.clientX - drag.from) < LEAST)) return;
    drag.mark ??= newMark(drag.box);
    const [left, right] = ends(drag, event.clientX);
    drag.mark.style.left = `${left}px`;
    drag.mark.style.width = `${right - left}px`;
  });
  document.addEventListener("pointerup", (event) => {
    const done = drag;
    drag = null;
    if (!done?.mark) return;
    done.mark.remove();
    // The click that ends a drag is none.
    addEventListener("click", stop, { capture: true, once: true });
    setTimeout(() => removeEventListener("click", stop, { capture: true }), 0);
    show(done.box, ...ends(done, event.clientX));
  });
  document.addEventListener("dragstart", (event) => { if (event.target.closest(".track")) event.preventDefault(); });
}

function stop(event) {
  event.preventDefault();
  event.stopPropagation();
}

function newMark(box) {
  const mark = document.createElement("div");
  mark.className = "drag";
  mark.style.top = `${box.top}px`;
  mark.style.height = `${box.height}px`;
  document.body.append(mark);
  return mark;
}

function ends({ from, box }, x) {
  const inside = [from, x].map((each) => Math.min(box.right, Math.max(box.left, each)));
  return inside.sort((a, b) => a - b);
}

function show(box, left, right) {
  const { since, until } = document.querySelector("table.timeline").dataset;
  const second = (x) => Number(since) + (Number(until) - Number(since)) * (x - box.left) / box.width;
  const url = new URL(location.href);
  url.searchParams.set("since", second(left).toFixed(3));
  url.searchParams.set("until", second(right).toFixed(3));
  location.assign(url);
}

"""Task runs as bars over time, laid out on the server: stored times in, places in a drawing out. Pure."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Final

import attrs

from prefect.agent.domain.state_names import FINISHED, ancestors
from prefect.agent.domain.times import read_time

WIDTH: Final = 1000.0
HEIGHT: Final = 20.0

_LEAST: Final = 3.0
"""The shortest bar that can be seen, and the longest gap that a folded bar leaves out."""

_GAP: Final = 2.0
TICKS: Final = 4
SHORTEST: Final = 0.05
"""Seconds that the drawing of a whole flow run shows at least."""

SHORTEST_PART: Final = SHORTEST / 5
"""Seconds that the drawing of a part shows at least."""

Span = tuple[str, float, float]
"""A state, and when it began and ended, in seconds since 1970."""


@attrs.frozen(kw_only=True)
class TaskBar:
    """One rectangle, in units of the drawing; *seconds* is how long it lasted."""

    state: str
    x: float
    width: float
    y: float
    height: float
    seconds: float = 0.0


@attrs.frozen(kw_only=True)
class Scale:
    """From seconds since 1970 to places in the drawing.

    Attributes:
        start: What lies at the left edge.
        end: What lies at the right edge.
        origin: When the flow run began.
    """

    start: float
    end: float
    origin: float = attrs.field(default=attrs.Factory(lambda self: self.start, takes_self=True))

    def place(self, second: float) -> float:
        """Where a time lies; times outside lie at the edge."""
        share = (second - self.start) / max(self.end - self.start, 0.001)
        return round(min(1.0, max(0.0, share)) * WIDTH, 1)

    def ticks(self) -> list[float]:
        """Seconds since the run began at which the axis has a mark."""
        return [self.start - self.origin + (self.end - self.start) * n / TICKS for n in range(TICKS + 1)]

    def shows(self, span: "Span") -> bool:
        """Whether a part of the span lies within."""
        return span[2] >= self.start and span[1] <= self.end

    def part(self, since: float, until: float) -> "Scale":
        """A part of it, from and to seconds since the run began. Of what is too short it is the whole."""
        start, end = max(self.start, self.origin + since), min(self.end, self.origin + until)
        return Scale(start=start, end=end, origin=self.origin) if end - start >= SHORTEST_PART else self

    def steps(self, whole: "Scale") -> dict[str, tuple[float, float] | None]:
        """Where to go from this part of *whole*, as :meth:`part` takes it; None is the whole."""
        since, until, length = self.start - self.origin, self.end - self.origin, self.end - self.start
        found: dict[str, tuple[float, float] | None] = {}
        if length >= 4 * SHORTEST_PART:
            found["Zoom in"] = (since + length / 4, until - length / 4)
        if length < whole.end - whole.start:
            room = (max(0.0, since - length / 2), until + length / 2)
            found["Zoom out"] = room if 2 * length < whole.end - whole.start else None
            if self.start > whole.start:
                found["Earlier"] = (room[0], room[0] + length)
            if self.end < whole.end:
                latest = whole.end - whole.origin
                found["Later"] = (min(since + length / 2, latest - length), min(until + length / 2, latest))
            found["Whole run"] = None
        return found


def seconds(stored: str) -> float:
    """A stored time in seconds since 1970."""
    return read_time(stored).timestamp()


def attempts(states: Iterable[tuple[str, str]], now: float) -> list[Span]:
    """What a task run's history says of when it ran: one span for each attempt, and one for each wait for a retry.

    Args:
        states: State and stored time, oldest first.

    Returns:
        Each attempt in the state that ended it; one that still runs in its own.
    """
    found: list[Span] = []
    began: float | None = None
    for state, stored in states:
        at, last = seconds(stored), found[-1] if found else None
        if last and last[0] == "Retrying" and last[2] == now:
            found[-1] = ("Retrying", last[1], at)
        if "Running" in ancestors(state):
            began = at if began is None else began
            continue
        if began is not None:
            found.append(("Failed" if state == "Retrying" else state, began, at))
            began = None
        if state == "Retrying":
            found.append(("Retrying", at, now))
    return found if began is None else [*found, ("Running", began, now)]


def bars(spans: Iterable[Span], scale: Scale) -> list[TaskBar]:
    """Bars of one task run: attempts at full height, waits for a retry as a thin line between them."""
    return [
        _bar(span, scale, *((HEIGHT * 0.4, HEIGHT * 0.2) if span[0] == "Retrying" else (0.0, HEIGHT)))
        for span in spans
        if scale.shows(span)
    ]


def folded(spans: Iterable[Span], scale: Scale) -> list[TaskBar]:
    """Bars of many task runs in one row: a strip for each state, with what lies close together as one bar.

    However many spans there are, a strip has no more bars than its width has room for.
    """
    by_state: dict[str, list[tuple[float, float]]] = defaultdict(list)
    for state, start, end in filter(scale.shows, spans):
        by_state[state].append((start, end))
    states = sorted(by_state, key=lambda state: (state in FINISHED, state))
    height = round(HEIGHT / max(1, len(states)), 2)
    room = (_LEAST + _GAP) / WIDTH * (scale.end - scale.start)
    return [
        _bar((state, start, end), scale, n * height, height)
        for n, state in enumerate(states)
        for start, end in _joined(sorted(by_state[state]), room)
    ]


def _joined(spans: Sequence[tuple[float, float]], room: float) -> list[tuple[float, float]]:
    """Sorted spans, those that touch or lie less than *room* apart as one."""
    found: list[tuple[float, float]] = []
    for start, end in spans:
        if found and start <= found[-1][1] + room:
            found[-1] = (found[-1][0], max(found[-1][1], end))
        else:
            found.append((start, end))
    return found


def _bar(span: Span, scale: Scale, y: float, height: float) -> TaskBar:
    state, start, end = span
    x = min(scale.place(start), WIDTH - _LEAST)
    width = max(_LEAST, round(scale.place(end) - x, 1))
    return TaskBar(state=state, x=x, width=width, y=round(y, 2), height=height, seconds=max(0.0, end - start))

"""Numbers about an agent's work, counted from its events; ``metrics.py`` shows them to Prometheus."""

import threading
from bisect import bisect_left
from collections import Counter
from collections.abc import Sequence
from typing import Any, Final

import attrs

from prefect.agent.entrypoints.runtime.minutes import LastHour
from prefect.agent.ports import events
from prefect.agent.ports.clock import Clock
from prefect.agent.ports.events import Event

SECONDS: Final = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 900.0, 3600.0)
"""Upper bounds of the histograms' buckets."""

RUNS: Final = {
    events.CLAIMED: "claimed",
    events.CLAIM_LOST: "lost",
    events.CLAIM_DEFERRED: "deferred",
    events.CLAIM_REFUSED: "refused",
    events.UNIT_CREATED: "started",
    events.RUN_RECOVERED: "recovered",
    events.RUN_DROPPED: "dropped",
    events.RUN_FAILED: "failed_by_agent",
    events.RUN_ENDED: "ended",
}
"""By event: what came of a flow run."""

COUNTED: Final = ("claimed", "started", "ended", "problems", "requests", "requests_failed")
"""Rates of the last hour."""

TIMED: Final = ("request_s", "create_s", "late_s")
"""Means of the last hour, in seconds."""

WAITING: Final = "get_runs_in_queue"
"""The request that may wait for a flow run: how long it takes says nothing about the Cloud's latency."""


@attrs.define
class Histogram:
    """How often something took up to so many seconds.

    Attributes:
        counts: One for each of ``SECONDS``, and one for what took longer.
    """

    counts: list[int] = attrs.field(factory=lambda: [0] * (len(SECONDS) + 1))
    total: float = 0.0

    def add(self, seconds: float) -> None:
        """Count one."""
        self.counts[bisect_left(SECONDS, seconds)] += 1
        self.total += seconds

    def cumulated(self) -> Sequence[tuple[str, float]]:
        """Upper bounds and counts, each with all below it, as Prometheus wants them."""
        found, sum_so_far = [], 0
        for bound, count in zip((*map(str, SECONDS), "+Inf"), self.counts, strict=True):
            sum_so_far += count
            found.append((bound, float(sum_so_far)))
        return found


@attrs.define
class Meter:
    """Counts events and requests. Any thread may use it.

    Attributes:
        clock: Says which minute it is.
        runs: Flow runs by what came of them.
        ends: Flow runs that ended, by the state they ended in.
        requests: Requests to the Cloud, by what was asked for and what came of it.
        problems: Warnings and errors, by event.
        lateness: Seconds from a run's due time to its start.
        creates: Seconds that a create took, waits for images included.
        pulls: Seconds that pulls of images took, by whether they went well.
        asked: Seconds that requests to the Cloud took, by what was asked for.
    """

    clock: Clock
    runs: Counter[str] = attrs.field(factory=Counter)
    ends: Counter[str] = attrs.field(factory=Counter)
    requests: Counter[tuple[str, str]] = attrs.field(factory=Counter)
    problems: Counter[str] = attrs.field(factory=Counter)
    lateness: Histogram = attrs.field(factory=Histogram)
    creates: Histogram = attrs.field(factory=Histogram)
    pulls: dict[str, Histogram] = attrs.field(factory=dict)
    asked: dict[str, Histogram] = attrs.field(factory=dict)
    guard: threading.Lock = attrs.field(factory=threading.Lock, init=False)
    _hour: LastHour = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self._hour = LastHour(self.clock)

    def take(self, event: Event) -> None:
        """Count one event."""
        with self.guard:
            if event.name in RUNS:
                self.runs[RUNS[event.name]] += 1
                self._hour.add(RUNS[event.name])
            if event.level in {"WARNING", "ERROR"}:
                self.problems[event.name] += 1
                self._hour.add("problems")
            if event.name == events.RUN_ENDED:
                self.ends[str(event.fields.get("state"))] += 1
            if event.name == events.PULL_ENDED:
                outcome = str(event.fields.get("outcome"))
                self.pulls.setdefault(outcome, Histogram()).add(_number(event, "duration_s"))
            if event.name == events.UNIT_CREATED:
                self._note_create(_number(event, "duration_s"), _number(event, "late_s"))

    def request(self, operation: str, outcome: str, seconds: float) -> None:
        """Count one request to the Cloud."""
        with self.guard:
            self.requests[operation, outcome] += 1
            self.asked.setdefault(operation, Histogram()).add(seconds)
            self._hour.add("requests")
            if outcome != "ok":
                self._hour.add("requests_failed")
            elif operation != WAITING:
                self._hour.add("request_s", seconds)

    def rates(self) -> dict[str, Any]:
        """What was counted and timed in each of the last 60 minutes, the oldest first, as values for JSON."""
        with self.guard:
            counts = {name: self._hour.times(name) for name in COUNTED}
            return {**counts, **{name: self._hour.means(name) for name in TIMED}}

    def _note_create(self, took: float, late: float) -> None:
        self.creates.add(took)
        self.lateness.add(late)
        self._hour.add("create_s", took)
        self._hour.add("late_s", late)


def _number(event: Event, field: str) -> float:
    value = event.fields.get(field)
    return float(value) if isinstance(value, int | float) else 0.0

"""What to do next, as arithmetic: pauses, due times, and which flow runs are in hand."""

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Final

import attrs

from prefect.agent.domain.model.flow_runs import FlowRun, FlowRunId

REMEMBER: Final = timedelta(minutes=5)
"""How long an attempt that was claimed is not taken up again if an old answer still offers it (FIELD-NOTES B2, 22)."""

JITTER: Final = 0.2
"""Pauses are stretched or shortened by up to this share, so that agents started together do not stay in step."""


def back_off(misses: int, *, first: float, last: float, chance: float) -> float:
    """Seconds to pause after *misses* fruitless tries in a row.

    Doubles from *first* to *last*. *chance* is drawn by the caller from [0, 1).
    """
    pause = min(last, first * 2.0 ** min(max(misses, 0), 32))
    return pause * (1 + JITTER * (2 * chance - 1))


@attrs.define
class Desk:
    """The flow runs this agent has in hand.

    A run is *waiting* for its due time, then *started* from its claim until its unit exists or it has failed; a claimed
    attempt is *remembered* for a while. Slots are counted from these sets, never by a counter (FIELD-NOTES B1, 6).
    Not thread-safe, but reading membership from other threads is.
    """

    capacity: int
    _waiting: dict[FlowRunId, FlowRun] = attrs.field(factory=dict, init=False)
    _not_before: dict[FlowRunId, datetime] = attrs.field(factory=dict, init=False)
    _started: set[FlowRunId] = attrs.field(factory=set, init=False)
    _remembered: dict[tuple[FlowRunId, str], datetime] = attrs.field(factory=dict, init=False)

    def __contains__(self, run_id: FlowRunId) -> bool:
        return run_id in self._started

    @property
    def waiting(self) -> int:
        """Runs that wait for their due time."""
        return len(self._waiting)

    @property
    def started(self) -> int:
        """Runs that are being claimed or started now."""
        return len(self._started)

    def room(self, now: datetime) -> int:
        """How many more ready runs are worth asking for: what waits and is due soon takes a place too."""
        soon = sum(1 for run_id in self._waiting if self._not_before.get(run_id, now) <= now)
        return max(0, self.capacity - soon - len(self._started))

    def offer(self, runs: Iterable[FlowRun], now: datetime) -> int:
        """Take up runs that the Cloud says are ready; return how many of them are news."""
        self._forget(now)
        news = 0
        for run in runs:
            if run.id in self._started or (run.id, str(run.attempt)) in self._remembered:
                continue
            news += run.id not in self._waiting
            self._waiting[run.id] = run
        return news

    def take_due(self, now: datetime, most: int) -> list[FlowRun]:
        """Move up to *most* runs whose time has come from waiting to started, earliest first."""
        due = sorted((r for r in self._waiting.values() if self._due(r, now) <= now), key=lambda r: self._due(r, now))
        taken = due[: max(0, most)]
        for run in taken:
            del self._waiting[run.id]
            self._not_before.pop(run.id, None)
            self._started.add(run.id)
        return taken

    def next_due(self, now: datetime) -> float | None:
        """Seconds until the next waiting run is due; None if none waits. Never negative."""
        times = [self._due(run, now) for run in self._waiting.values()]
        return max(0.0, (min(times) - now).total_seconds()) if times else None

    def put_back(self, run: FlowRun, not_before: datetime) -> None:
        """Not now: let *run* wait again, until *not_before* at least."""
        self._started.discard(run.id)
        self._waiting[run.id] = run
        self._not_before[run.id] = not_before

    def start(self, run: FlowRun) -> bool:
        """Take up a run that is claimed already; False if it is in hand."""
        if run.id in self._started:
            return False
        self._waiting.pop(run.id, None)
        self._started.add(run.id)
        return True

    def remember(self, run: FlowRun, now: datetime) -> None:
        """Do not take this attempt up again for a while, whatever an old answer says."""
        self._remembered[run.id, str(run.attempt)] = now + REMEMBER

    def done(self, run_id: FlowRunId) -> None:
        """The run is no longer in hand."""
        self._started.discard(run_id)

    def _due(self, run: FlowRun, now: datetime) -> datetime:
        return max(run.due or now, self._not_before.get(run.id, run.due or now))

    def _forget(self, now: datetime) -> None:
        for key in [key for key, until in self._remembered.items() if until <= now]:
            del self._remembered[key]
        # What waits for a time that has long gone by and is not offered any more is dropped by the claim itself (Lost).

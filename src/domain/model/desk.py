"""The desk holds the flow runs that the agent is working on: read, waiting for their time, being claimed, or put aside.

Pure.
"""

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Final

import attrs

from prefect.agent.domain.model.flow_runs import FlowRun, FlowRunId
from prefect.agent.domain.model.pauses import back_off

REMEMBER: Final = timedelta(minutes=5)
"""How long an attempt that was claimed is not taken up again if an old answer still offers it."""

SKIP: Final = timedelta(seconds=15)
"""How long after its claim a run is not even asked for; the same run may wait for another attempt after that."""

FRESH: Final = 3.0
"""Seconds. A run that was read longer ago is read again before it is claimed."""

REST_FIRST, REST_LAST = 10.0, 300.0
"""Shortest and longest rest of a run that the Cloud deferred without naming a time, in seconds."""

REFUSED_FIRST, REFUSED_LAST = 60.0, 600.0
"""Shortest and longest rest of a run whose claim the Cloud calls invalid, in seconds."""

AHEAD: Final = 4
"""How many times its capacity an agent keeps of runs that are not due yet."""

WORTH_ASKING: Final = 25
"""Flow runs that one answer of a Cloud's queue holds at the most. While more are known to wait and others are being
started, an agent asks once it has room for so many, not for each place that becomes free."""


@attrs.frozen
class Seen:
    """A flow run that waits for its claim, and when it was read (monotonic, seconds)."""

    run: FlowRun
    at: float


@attrs.frozen
class Rest:
    """Until when a flow run is not taken up, and why, for people; the reason is empty where the run itself says it."""

    until: datetime
    reason: str = ""


@attrs.define
class Desk:
    """The flow runs that this agent is working on.

    A run *waits* for its due time, is *started* from its claim until its unit exists or it has failed, *rests* after
    the Cloud deferred or refused its claim, and its claimed attempt is *remembered* for a while. Slots are counted from
    these sets, never by a counter. Not thread-safe, but reading membership from other threads is.
    """

    capacity: int

    @classmethod
    def for_parallel(cls, parallel: int) -> "Desk":
        """Return the desk of an agent that creates *parallel* units at the same time."""
        return cls(capacity=max(4 * parallel, 2 * WORTH_ASKING))

    _waiting: dict[FlowRunId, Seen] = attrs.field(factory=dict, init=False)
    _started: set[FlowRunId] = attrs.field(factory=set, init=False)
    _resting: dict[FlowRunId, Rest] = attrs.field(factory=dict, init=False)
    _rests: dict[FlowRunId, int] = attrs.field(factory=dict, init=False)
    """How often each run has rested in a row."""
    _remembered: dict[tuple[FlowRunId, str], datetime] = attrs.field(factory=dict, init=False)
    _skipped: dict[FlowRunId, datetime] = attrs.field(factory=dict, init=False)

    def __contains__(self, run_id: FlowRunId) -> bool:
        return run_id in self._started

    @property
    def waiting(self) -> int:
        """Return the number of runs that wait for their due time."""
        return len(self._waiting)

    @property
    def started(self) -> int:
        """Return the number of runs that are being claimed or started now."""
        return len(self._started)

    def room(self, now: datetime) -> int:
        """Return how many more ready runs to ask for. A run that waits and is due takes a place, too.

        Runs that are not due yet take none, but only so many are kept.
        """
        due = sum(1 for seen in self._waiting.values() if (seen.run.due or now) <= now)
        room = self.capacity - due - len(self._started)
        return max(0, min(room, AHEAD * self.capacity - len(self._waiting)))

    def held(self, now: datetime) -> set[FlowRunId]:
        """Return the runs that need not be offered: those worked on, resting, or claimed a moment ago."""
        self._forget(now)
        return {*self._waiting, *self._started, *self._resting, *self._skipped}

    def offer(self, runs: Iterable[FlowRun], now: datetime, at: float) -> int:
        """Take up runs that the Cloud says are ready; return how many of them are new.

        Args:
            at: When they were read (monotonic, seconds).
        """
        self._forget(now)
        news = 0
        for run in runs:
            known = run.id in self._started or run.id in self._resting
            if known or (run.id, str(run.attempt)) in self._remembered:
                continue
            news += run.id not in self._waiting
            self._waiting[run.id] = Seen(run, at)
        return news

    def take_due(self, now: datetime, most: int, *, from_the_end: bool = False) -> list[Seen]:
        """Move up to *most* runs whose time has come from waiting to started, earliest first.

        Args:
            from_the_end: Take the latest instead; agents that ask for the same runs then meet less often.
        """
        due = sorted(
            (seen for seen in self._waiting.values() if (seen.run.due or now) <= now),
            key=lambda seen: (seen.run.due or now, seen.run.id),
            reverse=from_the_end,
        )
        taken = due[: max(0, most)]
        for seen in taken:
            del self._waiting[seen.run.id]
            self._started.add(seen.run.id)
        return taken

    def next_due(self, now: datetime) -> float | None:
        """Return the seconds until the next waiting run is due, never negative; None if no run waits."""
        times = [seen.run.due or now for seen in self._waiting.values()]
        return max(0.0, (min(times) - now).total_seconds()) if times else None

    @property
    def declined(self) -> dict[FlowRunId, str]:
        """Return the runs that rest for a reason which this agent has, each with the reason."""
        return {run_id: rest.reason for run_id, rest in list(self._resting.items()) if rest.reason}

    def rest(
        self,
        run_id: FlowRunId,
        now: datetime,
        *,
        until: datetime | None,
        first: float,
        last: float,
        reason: str = "",
    ) -> None:
        """Forget the run as it was read and do not take it up before *until*; None lets rests grow longer and longer.

        Args:
            first, last: Shortest and longest rest, in seconds.
            reason: Why this agent leaves it alone, if that is its own decision.
        """
        rests = self._rests.get(run_id, 0)
        self._rests[run_id] = rests + 1
        seconds = back_off(rests, first=first, last=last)
        shortest = now + timedelta(seconds=1)
        end = max(until, shortest) if until else now + timedelta(seconds=seconds)
        self._resting[run_id] = Rest(end, reason)
        self._drop(run_id)

    def rests_of(self, run_id: FlowRunId) -> int:
        """Return how often the run has rested in a row."""
        return self._rests.get(run_id, 0)

    def forget(self, run_id: FlowRunId) -> None:
        """Stop working on the run; it may be offered again."""
        self._drop(run_id)

    def forget_due(self, now: datetime) -> None:
        """Forget the waiting runs that are due: other agents take from them, so they are read again."""
        for run_id in [run_id for run_id, seen in self._waiting.items() if (seen.run.due or now) <= now]:
            del self._waiting[run_id]

    def remember(self, run: FlowRun, now: datetime) -> None:
        """Do not take this attempt up again for a while, even if an old answer offers it."""
        self._remembered[run.id, str(run.attempt)] = now + REMEMBER
        if len(self._remembered) > self._most_remembered:
            del self._remembered[next(iter(self._remembered))]
        self._skipped[run.id] = now + SKIP
        self._rests.pop(run.id, None)

    @property
    def _most_remembered(self) -> int:
        """Return a generous limit: while a question is open, only runs that were waiting here are claimed."""
        return 10 * self.capacity + 1000

    def done(self, run_id: FlowRunId) -> None:
        """Note that the run has its unit, or has failed."""
        self._started.discard(run_id)

    def _drop(self, run_id: FlowRunId) -> None:
        self._started.discard(run_id)
        self._waiting.pop(run_id, None)

    def _forget(self, now: datetime) -> None:
        for key in [key for key, until in self._remembered.items() if until <= now]:
            del self._remembered[key]
        for run_id in [run_id for run_id, until in self._skipped.items() if until <= now]:
            del self._skipped[run_id]
        for run_id in [run_id for run_id, rest in self._resting.items() if rest.until <= now]:
            del self._resting[run_id]
        # A run that is not resting and not offered again for long has moved on: its count of rests is worth nothing.
        if len(self._rests) > self._most_remembered:
            self._rests = {run_id: rests for run_id, rests in self._rests.items() if run_id in self._resting}

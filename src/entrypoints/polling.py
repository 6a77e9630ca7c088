"""The poll loop: ask for ready flow runs, let them wait until due, claim them in batches, have them started."""

import collections
import random
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import timedelta
from functools import partial
from typing import Final

import attrs

from prefect.agent.domain.errors import CloudUnavailable
from prefect.agent.domain.model.flow_runs import Claimed, ClaimOutcome, Deferred, FlowRun, FlowRunId, Refused
from prefect.agent.domain.model.planning import Desk, back_off
from prefect.agent.domain.model.settings import AgentSettings
from prefect.agent.domain.services.claiming import ClaimFlowRuns
from prefect.agent.domain.services.reporting import Outbox
from prefect.agent.domain.services.submission import StartFlowRun
from prefect.agent.entrypoints.supervision import Supervisor
from prefect.agent.ports import events
from prefect.agent.ports.clock import Clock
from prefect.agent.ports.cloud_api import CloudApi
from prefect.agent.ports.events import Event, EventSink

Ask = Callable[[], Sequence[FlowRun]]

DEFERRED: Final = timedelta(seconds=10)
"""How long a run rests that the Cloud deferred without naming a time."""


@attrs.define(kw_only=True)
class PollLoop:
    """Lives in one thread; the pool's threads and the sweep only put notes into its two boxes.

    A Cloud that waits until there is something to answer with is asked aside, so that the loop can go on meanwhile.

    Attributes:
        aside: Asks in a thread of its own.
        census: How many units of execution were alive at the last sweep, and when that was (monotonic, seconds).
    """

    cloud: CloudApi
    clock: Clock
    settings: AgentSettings
    outbox: Outbox
    claim: ClaimFlowRuns
    start_run: StartFlowRun
    supervisor: Supervisor
    pool: ThreadPoolExecutor
    stopping: threading.Event
    census: Callable[[], tuple[int, float]]
    aside: Callable[[Ask], Future[Sequence[FlowRun]]]
    tell: EventSink = events.ignore
    chance: Callable[[], float] = random.random
    wake: threading.Event = attrs.field(factory=threading.Event, init=False)
    _desk: Desk = attrs.field(init=False)
    _done: collections.deque[FlowRunId] = attrs.field(factory=collections.deque, init=False)
    _begun: collections.deque[float] = attrs.field(factory=collections.deque, init=False)
    """When units were begun that the last sweep may not have counted."""
    _recoveries: collections.deque[Claimed] = attrs.field(factory=collections.deque, init=False)
    _hurries: bool = attrs.field(default=False, init=False)
    _next_poll: float = attrs.field(default=0.0, init=False)
    _gap: float = attrs.field(default=0.0, init=False)
    """Seconds between the last poll and the next one."""
    _misses: int = attrs.field(default=0, init=False)
    _polls: int = attrs.field(default=0, init=False)
    _asked: Future[Sequence[FlowRun]] | None = attrs.field(default=None, init=False)
    """An answer that is waited for."""

    def __attrs_post_init__(self) -> None:
        self._desk = Desk(capacity=4 * self.settings.parallel)

    # --- for other threads ---

    def in_hand(self, run_id: FlowRunId) -> bool:
        """Whether this agent is claiming or starting the run now."""
        return run_id in self._desk

    def recover(self, claimed: Claimed) -> None:
        """Start a run that is claimed already."""
        self._recoveries.append(claimed)
        self.wake.set()

    def hurry(self) -> None:
        """Poll now instead of after the present pause."""
        self._hurries = True
        self.wake.set()

    def _start(self, claimed: Claimed) -> None:
        """In a thread of the pool: start one claim; its place is given back on every way out."""
        try:
            if self.start_run(claimed):
                self._begun.append(self.clock.monotonic())
        except Exception as bug:  # noqa: BLE001 - P3: one bad run must not take a pool thread's future with it
            self.supervisor.bug("start", bug)
        finally:
            self._done.append(claimed.run.id)
            self.wake.set()

    # --- one turn ---

    def step(self) -> bool:
        """One turn; False when it is time to stop."""
        self.wake.clear()
        self._read_notes()
        if self.stopping.is_set():
            return False
        found = self._hear_of_aside()
        if self._may_poll():
            found += self._poll()
        taken = self._claim_due()
        if found or taken:
            self._misses = 0
            soonest = self.clock.monotonic() + (0.0 if taken else self.settings.poll_first)
            self._next_poll = min(self._next_poll, soonest)
        if self._polls_are_over() and self._asked is None and not self._desk.waiting:
            return False
        self.clock.pause(self._pause(), self.wake)
        return True

    def _read_notes(self) -> None:
        if self._hurries:
            self._hurries, self._next_poll = False, 0.0
        while self._done:
            self._desk.done(self._done.popleft())
        while self._recoveries:
            claimed = self._recoveries.popleft()
            if self._desk.start(claimed.run):
                self.pool.submit(self._start, claimed)

    def _room(self) -> int:
        room = self._desk.room(self.clock.now())
        if self.settings.limit is not None:
            room = min(room, self.settings.limit - self._alive() - self._desk.started - self._desk.waiting)
        return room

    def _alive(self) -> int:
        """Units alive: those that the last sweep saw and those begun since. Rather one too many than too few."""
        alive, counted_at = self.census()
        while self._begun and self._begun[0] < counted_at:
            self._begun.popleft()
        return alive + len(self._begun)

    def _polls_are_over(self) -> bool:
        return self.settings.max_polls is not None and self._polls >= self.settings.max_polls

    def _may_poll(self) -> bool:
        return self._wants_to_poll() and self.clock.monotonic() >= self._next_poll

    def _wants_to_poll(self) -> bool:
        return not self._polls_are_over() and self._asked is None and self._room() > 0

    def _poll(self) -> int:
        """Ask for ready flow runs; return how many are news. The pause until the next poll is set before asking."""
        settings = self.settings
        self._gap = back_off(self._misses, first=settings.poll_first, last=settings.poll_last, chance=self.chance())
        self._polls += 1
        self._misses += 1
        self._next_poll = self.clock.monotonic() + self._gap
        before = self.clock.now() + timedelta(seconds=settings.prefetch)
        ask = partial(self.cloud.ready_flow_runs, labels=settings.labels, before=before, limit=self._room())
        if not self.cloud.waits:
            return self._hear(ask)
        self._asked = self.aside(partial(ask, wait=self._gap))
        return 0

    def _hear_of_aside(self) -> int:
        """As :meth:`_hear`, of the answer that was waited for, if it has come."""
        if self._asked is None or not self._asked.done():
            return 0
        asked, self._asked = self._asked, None
        return self._hear(asked.result)

    def _hear(self, answer: Ask) -> int:
        """Take what was answered; return how much of it is news."""
        try:
            runs = answer()
        except CloudUnavailable as trouble:
            self._next_poll = self.clock.monotonic() + max(self._gap, trouble.retry_after or 0.0)
            self.supervisor.trouble("poll", trouble)
            return 0
        except Exception:
            self._next_poll = 0.0  # the supervisor counts and paces bugs: the next turn must meet it again
            raise
        self.supervisor.accepted()
        # Room may have become less while the answer was waited for.
        news = self._desk.offer(runs[: max(0, self._room())], self.clock.now())
        fields = {"ready": len(runs), "news": news}
        self.tell(Event(name=events.POLLED, level="DEBUG", message=f"{len(runs)} flow runs are ready", fields=fields))
        return news

    def _claim_due(self) -> int:
        """Claim what is due now and have it started; return how many were claimed."""
        now = self.clock.now()
        open_runs = {run.id: run for run in self._desk.take_due(now, self._desk.capacity)}
        claimed = 0
        try:
            for outcome in self.claim(list(open_runs.values())):
                del open_runs[outcome.run.id]
                claimed += self._act(outcome)
        finally:
            for run in open_runs.values():  # the claim raised: nothing was learned about these
                self._desk.put_back(run, now)
        return claimed

    def _act(self, outcome: ClaimOutcome) -> bool:
        """Whether *outcome* is a claim of ours."""
        run, now = outcome.run, self.clock.now()
        if isinstance(outcome, Deferred) and not self._polls_are_over():
            self._desk.put_back(run, max(outcome.until or now + DEFERRED, now + timedelta(seconds=1)))
            return False
        self._desk.remember(run, now)
        if isinstance(outcome, Claimed):
            self.pool.submit(self._start, outcome)
            return True
        self._desk.done(run.id)
        if isinstance(outcome, Refused):
            self.outbox.fail(run.id, f"The flow run could not be claimed: {outcome.reason}")
        return False

    def _pause(self) -> float:
        """Seconds until the next poll or the next due run."""
        waits = [self.settings.poll_last]
        due = self._desk.next_due(self.clock.now())
        if due is not None:
            waits.append(due)
        if self._wants_to_poll():
            waits.append(self._next_poll - self.clock.monotonic())
        return min(waits)

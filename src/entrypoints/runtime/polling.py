"""The poll loop: ask for ready flow runs, let them wait until due, claim them in batches, have them started."""

import collections
import random
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from datetime import datetime, timedelta
from functools import partial

import attrs

from prefect.agent.domain.errors import CloudUnavailable, asked_to_wait
from prefect.agent.domain.model.contention import Contention
from prefect.agent.domain.model.desk import (
    FRESH,
    REFUSED_FIRST,
    REFUSED_LAST,
    REST_FIRST,
    REST_LAST,
    WORTH_ASKING,
    Seen,
)
from prefect.agent.domain.model.flow_runs import (
    Claimed,
    ClaimOutcome,
    Deferred,
    FlowRun,
    FlowRunId,
    Lost,
    Refused,
)
from prefect.agent.domain.model.rhythm import PollRhythm
from prefect.agent.domain.model.settings import AgentSettings
from prefect.agent.domain.services.claiming import ClaimFlowRuns
from prefect.agent.domain.services.gate import LOOK_EVERY, PlatformGate
from prefect.agent.domain.services.reporting import Outbox
from prefect.agent.domain.services.submission import StartFlowRun
from prefect.agent.domain.services.work_in_hand import WorkInHand
from prefect.agent.entrypoints.runtime.pools import Pools
from prefect.agent.entrypoints.runtime.skew import SkewWarning
from prefect.agent.entrypoints.runtime.supervision import LONGEST_WAIT, Supervisor
from prefect.agent.entrypoints.runtime.wakes import Wakes
from prefect.agent.ports import events
from prefect.agent.ports.clock import Clock
from prefect.agent.ports.cloud_api import CloudApi
from prefect.agent.ports.events import Event, EventSink

Ask = Callable[[], Sequence[FlowRun]]


@attrs.define(kw_only=True)
class PollLoop:
    """Lives in one thread; what other threads know for it is in ``work`` or waits among the notes of ended starts.

    A Cloud that waits until there is something to answer with is asked aside, so that the loop can go on meanwhile.

    Attributes:
        gate: While it is closed nothing is claimed.
        work: Shared with sweep and recoveries.
        pools: Start claims, and ask aside.
    """

    cloud: CloudApi
    clock: Clock
    settings: AgentSettings
    outbox: Outbox
    claim: ClaimFlowRuns
    start_run: StartFlowRun
    gate: PlatformGate
    supervisor: Supervisor
    work: WorkInHand
    pools: Pools
    wakes: Wakes
    tell: EventSink = events.ignore
    chance: Callable[[], float] = random.random
    _done: collections.deque[FlowRunId] = attrs.field(factory=collections.deque, init=False)
    _hurries: bool = attrs.field(default=False, init=False)
    _rhythm: PollRhythm = attrs.field(init=False)
    _asked: Future[Sequence[FlowRun]] | None = attrs.field(default=None, init=False)
    """An answer that is waited for."""
    _limit: int = attrs.field(default=0, init=False)
    """How many runs that question was for."""
    _more_wait: bool = attrs.field(default=False, init=False)
    """Whether the last answer was as long as it could be."""
    _said_busy: float = attrs.field(default=float("-inf"), init=False)
    _contention: Contention = attrs.field(init=False)
    _warn_of_skew: SkewWarning = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self._rhythm = PollRhythm(first=self.settings.poll_first, last=self.settings.poll_last)
        self._contention = Contention(self.claim.claimant.id, self.chance)
        self._warn_of_skew = SkewWarning(self.tell)

    # --- for other threads ---

    def hurry(self) -> None:
        """Poll now instead of after the present pause."""
        self._hurries = True
        self.wakes.poll.set()

    def _start(self, claimed: Claimed) -> None:
        """In a thread of the pool: start one claim; its place is given back on every way out."""
        try:
            self.start_run(claimed)
        except Exception as bug:  # noqa: BLE001 - one bad run must not take a pool thread's future with it
            self.supervisor.bug("start", bug)
        finally:
            self._done.append(claimed.run.id)
            self.wakes.poll.set()

    # --- one turn ---

    def step(self) -> bool:
        """One turn; False when it is time to stop."""
        self.wakes.poll.clear()
        self._read_notes()
        if self.wakes.stopping.is_set():
            return False
        found = self._take_late_answer()
        if self._may_poll():
            found += self._poll()
        self._report_busy()
        taken = self._claim_due()
        if found or taken:
            self._rhythm.found(self.clock.monotonic(), at_once=bool(taken))
        if self._polls_are_over() and self._asked is None and not (self.work.desk.waiting and self.gate.is_open):
            return False
        self.clock.pause(self._pause(), self.wakes.poll)
        return True

    def _read_notes(self) -> None:
        if self._hurries:
            self._hurries = False
            self._rhythm.hurry()
        while self._done:
            self.work.desk.done(self._done.popleft())
        for quiet_since in self.work.take_sweeps():
            self._rhythm.swept(None if self.cloud.waits else quiet_since)

    def _now(self) -> datetime:
        """The Cloud's time: by it runs are due."""
        return self.claim.now()

    def _room(self) -> int:
        """How many more flow runs may be asked for."""
        return min(self.work.desk.room(self._now()), self.work.room() - self.work.desk.waiting)

    def _polls_are_over(self) -> bool:
        return self.settings.max_polls is not None and self._rhythm.polls >= self.settings.max_polls

    def _may_poll(self) -> bool:
        now = self.clock.monotonic()
        if not self._wants_to_poll() or now < self._rhythm.next:
            return False
        # A Cloud that waits with its answer costs fewer requests anyway.
        if self._rhythm.may_be_spared and not self.cloud.waits and self._sweep_instead():
            self._rhythm.hold_back(now)
            return False
        return True

    def _sweep_instead(self) -> bool:
        """Have the sweep run now if it begins within half the longest pause between polls; return whether it does.

        The sweep's answer also says whether a flow run is due, which saves a poll.
        """
        if self.work.sweep_at - self.clock.monotonic() > self.settings.poll_last / 2:
            return False
        self.work.wake_sweep()
        return True

    def _wants_to_poll(self) -> bool:
        return not self._polls_are_over() and self._asked is None and self._has_room()

    def _has_room(self) -> bool:
        room = self._room()
        return room > 0 and (room >= WORTH_ASKING or not self._more_wait or not self.work.desk.started)

    def _report_busy(self) -> None:
        """An agent that does not ask because it has no room is well."""
        now = self.clock.monotonic()
        if self._room() <= 0 and not self._polls_are_over() and now - self._said_busy >= self.settings.poll_last:
            self._said_busy = now
            message = "As many flow runs are in hand or alive as this agent takes"
            self.tell(Event(name=events.POLLED, level="DEBUG", message=message, fields={"busy": True}))

    def _poll(self) -> int:
        """Ask for ready flow runs; return how many are news. The pause until the next poll is set before asking."""
        settings = self.settings
        now, limit, waits = self._now(), self._room(), self.cloud.waits
        wait = self._rhythm.begin(self.clock.monotonic(), self.chance(), waits=waits)
        ask = partial(
            self.cloud.ready_flow_runs,
            labels=settings.labels,
            before=now + timedelta(seconds=settings.prefetch),
            limit=limit,
            skip=self.work.desk.held(now),
        )
        if not waits:
            return self._take_answer(ask, limit)
        self._limit = limit
        self._asked = self.pools.aside(partial(ask, wait=wait))
        return 0

    def _take_late_answer(self) -> int:
        """Process the long poll's answer, if it has arrived."""
        if self._asked is None or not self._asked.done():
            return 0
        asked, self._asked = self._asked, None
        return self._take_answer(asked.result, self._limit)

    def _take_answer(self, answer: Ask, limit: int) -> int:
        """Take what was answered to a question for *limit* runs; return how much of it is news."""
        try:
            runs = answer()
        except CloudUnavailable as problem:
            self._rhythm.failed(self.clock.monotonic(), min(asked_to_wait(problem), LONGEST_WAIT))
            self.supervisor.failed("poll", problem)
            return 0
        except Exception:
            self._rhythm.hurry()  # the supervisor counts and paces bugs: the next turn must meet it again
            raise
        self.supervisor.accepted()
        self._warn_of_skew(self.cloud.skew, self.gate.platform.skew)
        self._more_wait = len(runs) >= min(limit, WORTH_ASKING)
        # Room may have become less while the answer was waited for.
        news = self.work.desk.offer(runs[: max(0, self._room())], self._now(), self.clock.monotonic())
        fields = {"ready": len(runs), "news": news}
        self.tell(Event(name=events.POLLED, level="DEBUG", message=f"{len(runs)} flow runs are ready", fields=fields))
        return news

    def _claim_due(self) -> int:
        """Claim what is due now and have it started; return how many were claimed."""
        if not self.gate.is_open and not self.gate.check():
            return 0
        seen = self._take_due()
        open_ids = {each.run.id for each in seen}
        claimed, lost = 0, list[FlowRunId]()
        try:
            for outcome in self.claim(self._fresh(seen, open_ids)):
                open_ids.discard(outcome.run.id)
                claimed += self._act(outcome)
                if isinstance(outcome, Lost):
                    lost.append(outcome.run.id)
        finally:
            for run_id in open_ids:  # the claim raised, or they wait no more: nothing was learned about these
                self.work.desk.forget(run_id)
        self._learn(seen, lost)
        if seen and self._contention.is_contested(self.clock.monotonic()):
            self.work.desk.forget_due(self._now())
        return claimed

    def _learn(self, seen: Sequence[Seen], lost: Sequence[FlowRunId]) -> None:
        """Make way for other agents that ask for the same runs."""
        rivals = self.claim.rivals(lost) if self._contention.is_lossy(len(seen), len(lost)) else ()
        first_half = {each.run.id for each in seen[: len(seen) // 2]}
        self._contention.learn(
            len(seen),
            len(lost),
            self.clock.monotonic(),
            rivals=rivals,
            only_the_last=first_half.isdisjoint(lost),
        )

    def _take_due(self) -> list[Seen]:
        """What is claimed in this turn."""
        now, at = self._now(), self.clock.monotonic()
        most = self._contention.portion(self.work.desk.capacity, self.work.desk.waiting, at)
        most = min(most, self.work.room())
        return self.work.desk.take_due(now, most, from_the_end=self._contention.from_the_end)

    def _fresh(self, seen: Sequence[Seen], open_ids: set[FlowRunId]) -> list[FlowRun]:
        """The runs as they are now: a claim is never made from an old view."""
        at = self.clock.monotonic()
        old = [each.run for each in seen if at - each.at > FRESH]
        now = self.claim.refreshed(old)
        current = [now.get(each.run.id) if at - each.at > FRESH else each.run for each in seen]
        found = [run for run in current if run is not None]
        early = [run for run in found if run.due is not None and run.due > self._now()]
        for run in early:  # it was scheduled for another time meanwhile
            open_ids.discard(run.id)
            self.work.desk.forget(run.id)
        self.work.desk.offer(early, self._now(), at)
        return [run for run in found if run not in early and self._is_in_time(run)]

    def _is_in_time(self, run: FlowRun) -> bool:
        """Whether the run may still be started, by ``--max-lateness``; if not, its log says so once."""
        most = self.settings.max_lateness
        late = 0.0 if run.due is None else (self._now() - run.due).total_seconds()
        if most is None or late <= most:
            return True
        rule = f"{late:.0f} s late, and this agent starts nothing later than {most:g} s"
        if not self.work.desk.rests_of(run.id):
            message = f"Flow run {run.title}: Not started: {rule}"
            self.tell(Event(name=events.RUN_DROPPED, level="WARNING", message=message, fields=run.fields))
            self.outbox.log(run.id, f"{message} (--max-lateness); schedule it again to have it started", "WARNING")
        reason = f"it is {rule} (--max-lateness)"
        self.work.desk.rest(run.id, self._now(), until=None, first=REFUSED_LAST, last=REFUSED_LAST, reason=reason)
        return False

    def _act(self, outcome: ClaimOutcome) -> bool:
        """Whether *outcome* is a claim of ours."""
        run, now = outcome.run, self._now()
        if isinstance(outcome, Deferred):
            self.work.desk.rest(run.id, now, until=outcome.until, first=REST_FIRST, last=REST_LAST)
            return False
        if isinstance(outcome, Refused):
            self._refuse(outcome)
            return False
        self.work.desk.remember(run, now)
        if isinstance(outcome, Claimed):
            self.pools.starts.submit(self._start, outcome)
            return True
        self.work.desk.done(run.id)
        return False

    def _refuse(self, refused: Refused) -> None:
        """The Cloud calls the claim invalid: the run is left alone, which is reported once."""
        run = refused.run
        if not self.work.desk.rests_of(run.id):
            message = f"Flow run {run.title} cannot be claimed, and is tried again later: {refused.reason}"
            self.tell(Event(name=events.CLAIM_REFUSED, level="ERROR", message=message, fields=run.fields))
            self.outbox.log(run.id, f"The flow run could not be claimed yet: {refused.reason}", "ERROR")
        reason = f"the Cloud refuses the claim: {refused.reason}"
        self.work.desk.rest(run.id, self._now(), until=None, first=REFUSED_FIRST, last=REFUSED_LAST, reason=reason)

    def _pause(self) -> float:
        """Seconds until the next poll or the next due run."""
        waits = [self.settings.poll_last]
        due = self.work.desk.next_due(self._now())
        if due is not None:
            waits.append(due if self.gate.is_open else max(due, LOOK_EVERY))
        if self._wants_to_poll():
            waits.append(self._rhythm.next - self.clock.monotonic())
        return min(waits)

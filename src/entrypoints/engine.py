"""All loops of one agent, from the first sweep to the last report. Threads are made here and in supervision.py only."""

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Final

import attrs

from prefect.agent.domain.errors import AgentError
from prefect.agent.domain.model.flow_runs import FlowRun
from prefect.agent.domain.model.reconciling import is_hopeless
from prefect.agent.domain.model.settings import AgentSettings
from prefect.agent.domain.model.units import Unit, UnitStatus
from prefect.agent.domain.services.claiming import ClaimFlowRuns
from prefect.agent.domain.services.ending import Look, one_by_one
from prefect.agent.domain.services.reconciliation import Reconcile
from prefect.agent.domain.services.reporting import Outbox, SendReports
from prefect.agent.domain.services.submission import StartFlowRun
from prefect.agent.entrypoints.polling import Ask, PollLoop
from prefect.agent.entrypoints.supervision import Supervisor
from prefect.agent.ports import events
from prefect.agent.ports.clock import Clock
from prefect.agent.ports.cloud_api import CloudApi
from prefect.agent.ports.events import Event, EventSink
from prefect.agent.ports.platform import ExecutionPlatform

WATCH_SECONDS: Final = 60.0
"""How long one watch lasts before it is renewed."""

SWEEP_GAP: Final = 1.0
"""Shortest pause between two sweeps, however many units end."""

REPORT_GAP: Final = 0.25
"""Reports that come within this time share requests."""

LOOKERS: Final = 8
"""How many units that have ended are looked at together."""

LAST_REPORTS: Final = 15.0
"""How long a stopping agent tries to get its last reports out."""


@attrs.define(kw_only=True)
class Engine:
    """Everything that happens between start and stop of one agent.

    Attributes:
        recovers: Whether a claim without a unit is started again. Not if flow runs are started by code that may make
            no units on the platform: starting such a run twice is worse than leaving it.
    """

    cloud: CloudApi
    platform: ExecutionPlatform
    clock: Clock
    settings: AgentSettings
    outbox: Outbox
    claim: ClaimFlowRuns
    start_run: StartFlowRun
    send_reports: SendReports
    recovers: bool = True
    tell: EventSink = events.ignore
    supervisor: Supervisor = attrs.field(init=False)
    polling: PollLoop = attrs.field(init=False)
    sweep: Reconcile = attrs.field(init=False)
    _pool: ThreadPoolExecutor = attrs.field(init=False)
    _lookers: ThreadPoolExecutor = attrs.field(init=False)
    _stopping: threading.Event = attrs.field(factory=threading.Event, init=False)
    _last_reports: threading.Event = attrs.field(factory=threading.Event, init=False)
    _sweep_now: threading.Event = attrs.field(factory=threading.Event, init=False)
    _report_now: threading.Event = attrs.field(factory=threading.Event, init=False)

    def __attrs_post_init__(self) -> None:
        self.outbox.on_news = self._report_now.set
        self._pool = ThreadPoolExecutor(self.settings.parallel, thread_name_prefix="start")
        # Not the pool of starts: a platform in trouble may hold that for minutes.
        self._lookers = ThreadPoolExecutor(LOOKERS, thread_name_prefix="look")
        self.supervisor = Supervisor(clock=self.clock, on_fatal=self.stop, tell=self.tell)
        self.polling = PollLoop(
            cloud=self.cloud,
            clock=self.clock,
            settings=self.settings,
            outbox=self.outbox,
            claim=self.claim,
            start_run=self.start_run,
            supervisor=self.supervisor,
            pool=self._pool,
            stopping=self._stopping,
            census=lambda: (self.sweep.alive, self.sweep.counted_at),
            aside=self._aside,
            tell=self.tell,
        )
        self.sweep = Reconcile(
            cloud=self.cloud,
            clock=self.clock,
            settings=self.settings,
            outbox=self.outbox,
            platform=self.platform,
            recover=self.polling.recover if self.recovers else None,
            in_hand=self.polling.in_hand,
            background=self._background,
            together=self._together,
            tell=self.tell,
        )

    def run(self) -> None:
        """Work until :meth:`stop`, ``max_polls`` or a fatal error; then finish what is in hand.

        Raises:
            AgentExit: The agent cannot go on; it carries the exit code.
        """
        self._first_sweep()
        self.supervisor.thread("sweep", self._sweep_step, self._stopping)
        self.supervisor.thread("watch", self._watch_step, self._stopping)
        given_up = threading.Event()
        reports = self.supervisor.thread("report", self._report_step, given_up)
        self.supervisor.run("poll", self.polling.step, self._stopping)
        self.stop()
        self._pool.shutdown(wait=True)
        self._lookers.shutdown(wait=False)
        self._last_reports.set()
        self._report_now.set()
        reports.join(LAST_REPORTS)
        given_up.set()
        if self.outbox:
            message = (
                f"{len(self.outbox)} reports could not be sent; the next sweep of an agent here sees to these runs"
            )
            self.tell(Event(name=events.CLOUD_TROUBLE, level="ERROR", message=message))
        if self.supervisor.fatal is not None:
            raise self.supervisor.fatal

    def stop(self) -> None:
        """Stop polling, finish what is claimed, and let :meth:`run` return. From any thread or signal handler."""
        self._stopping.set()
        self.polling.wake.set()
        self._sweep_now.set()

    def poke(self) -> None:
        """Poll now."""
        self.polling.hurry()

    def _background(self, work: Callable[[], None]) -> None:
        def in_the_pool() -> None:
            try:
                work()
            except Exception as bug:  # noqa: BLE001 - P3, and the pool would keep it to itself
                self.supervisor.bug("stop", bug)

        try:
            self._pool.submit(in_the_pool)
        except RuntimeError:
            if not self._stopping.is_set():
                raise
            # The pool has closed: a later agent's first sweep sees to it.

    def _aside(self, ask: Ask) -> Future[Sequence[FlowRun]]:
        """Ask in a thread that nobody waits for: an answer that comes after the agent has stopped concerns nobody."""
        answer: Future[Sequence[FlowRun]] = Future()

        def asking() -> None:
            try:
                answer.set_result(ask())
            except BaseException as problem:  # noqa: BLE001 - whoever takes the answer gets it
                answer.set_exception(problem)
            self.polling.wake.set()

        threading.Thread(target=asking, name="ask", daemon=True).start()
        return answer

    def _together(self, looks: Sequence[Look]) -> list[list[str]]:
        try:
            return list(self._lookers.map(lambda look: look(), looks))
        except RuntimeError:  # closed: the agent ends
            return one_by_one(looks)

    def _first_sweep(self) -> None:
        """Before the first poll: finish what an earlier process left (P2). Trouble here is the loop's to repeat."""
        try:
            self.sweep()
        except AgentError as trouble:
            self.supervisor.trouble("sweep", trouble)
            self._sweep_now.set()
        except Exception as bug:  # noqa: BLE001 - P3; the loop will meet it again and count
            self.supervisor.bug("sweep", bug)
            self._sweep_now.set()

    def _sweep_step(self) -> bool:
        self.clock.pause(self.settings.sweep_every, self._sweep_now)
        if self._stopping.is_set():
            return False
        self._sweep_now.clear()
        self.sweep()
        if self.sweep.look_soon:
            self._sweep_now.set()
        self.clock.pause(SWEEP_GAP, self._stopping)
        return not self._stopping.is_set()

    def _watch_step(self) -> bool:
        started = self.clock.monotonic()
        for unit in self.platform.watch(seconds=WATCH_SECONDS):
            if self._stopping.is_set():
                return False
            if self._concerns_the_sweep(unit):
                self._sweep_now.set()
        self.tell(Event(name=events.WATCHED, level="DEBUG", message="Watched the units"))
        if self.clock.monotonic() - started < SWEEP_GAP:
            self.clock.pause(SWEEP_GAP, self._stopping)
        return not self._stopping.is_set()

    def _concerns_the_sweep(self, unit: Unit) -> bool:
        """Whether what the watch saw is worth a sweep now."""
        if unit.status.has_ended:
            return unit.status is UnitStatus.FAILED or self.settings.limit is not None
        return is_hopeless(unit, self.clock.now())

    def _report_step(self) -> bool:
        self.clock.pause(self.settings.sweep_every, self._report_now)
        self.clock.pause(REPORT_GAP, self._last_reports)
        self._report_now.clear()
        sent = self.send_reports()
        if sent:
            self.tell(Event(name=events.REPORTED, level="DEBUG", message=f"Sent {sent} reports", fields={"sent": sent}))
        return bool(self.outbox) or not self._last_reports.is_set()

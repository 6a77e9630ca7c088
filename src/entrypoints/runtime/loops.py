"""All loops of one agent, from the first sweep to the last report. Threads are made here and in supervision.py only."""

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future, wait
from datetime import timedelta
from typing import Final

import attrs

from prefect.agent.domain.errors import AgentError
from prefect.agent.domain.model.flow_runs import Claimed, FlowRun
from prefect.agent.domain.model.settings import AgentSettings
from prefect.agent.domain.model.units import Owner, Unit, UnitStatus
from prefect.agent.domain.model.verdicts import is_hopeless
from prefect.agent.domain.services.claiming import ClaimFlowRuns
from prefect.agent.domain.services.claims_view import ClaimsView
from prefect.agent.domain.services.ending import Look, one_by_one
from prefect.agent.domain.services.gate import PlatformGate
from prefect.agent.domain.services.recovering import RecoverClaims, portions
from prefect.agent.domain.services.reporting import Outbox, SendReports
from prefect.agent.domain.services.submission import CreateUnit, StartFlowRun
from prefect.agent.domain.services.sweep import Reconcile
from prefect.agent.entrypoints.runtime.polling import Ask, PollLoop
from prefect.agent.entrypoints.runtime.supervision import Supervisor
from prefect.agent.entrypoints.runtime.workers import Workers
from prefect.agent.ports import events
from prefect.agent.ports.clock import Clock
from prefect.agent.ports.cloud_api import CloudApi
from prefect.agent.ports.events import Event, EventSink
from prefect.agent.ports.platform import ExecutionPlatform

WATCH_SECONDS: Final = 60.0
"""How long one watch lasts before it is renewed."""

IDLE: Final = 2
"""How many times longer the pause between sweeps is while nothing is alive or claimed here."""

SWEEP_GAP: Final = 1.0
"""Shortest pause between two sweeps, however many units end."""

REPORT_GAP: Final = 0.25
"""Reports that come within this time share requests."""

LOOKERS: Final = 8
"""How many units that have ended are looked at together."""

STOPPERS: Final = 8
"""How many units are stopped at the same time."""

LAST_REPORTS: Final = 15.0
"""How long a stopping agent tries to get its last reports out."""


@attrs.define(kw_only=True)
class Engine:
    """Everything that happens between start and stop of one agent.

    Starts, recoveries, stops and looks at ended units have threads of their own: none of them waits for another.

    Attributes:
        notice: Looks at flow runs that are late; called while the Cloud has some that are due.
        judges_absence: Whether a run whose unit is absent is over; not if flow runs are started by code that may make
            no units on the platform.
    """

    cloud: CloudApi
    platform: ExecutionPlatform
    clock: Clock
    settings: AgentSettings
    outbox: Outbox
    owner: Owner
    claim: ClaimFlowRuns
    recover_claims: RecoverClaims
    start_run: StartFlowRun
    send_reports: SendReports
    gate: PlatformGate
    create_unit: CreateUnit
    notice: Callable[[], None] = lambda: None
    judges_absence: bool = True
    tell: EventSink = events.ignore
    supervisor: Supervisor = attrs.field(init=False)
    polling: PollLoop = attrs.field(init=False)
    sweep: Reconcile = attrs.field(init=False)
    _starts: Workers = attrs.field(init=False)
    _recoveries: Workers = attrs.field(init=False)
    _restarts: Workers = attrs.field(init=False)
    _stops: Workers = attrs.field(init=False)
    _lookers: Workers = attrs.field(init=False)
    _stopping: threading.Event = attrs.field(factory=threading.Event, init=False)
    _last_reports: threading.Event = attrs.field(factory=threading.Event, init=False)
    _sweep_at: float = attrs.field(default=float("inf"), init=False)
    """When the next sweep is to begin (monotonic), while it is waited for."""
    _sweep_now: threading.Event = attrs.field(factory=threading.Event, init=False)
    _report_now: threading.Event = attrs.field(factory=threading.Event, init=False)

    def __attrs_post_init__(self) -> None:
        self.outbox.on_news = self._report_now.set
        self._starts = Workers("start", self.settings.parallel)
        self._recoveries = Workers("recover", 1)
        self._restarts = Workers("restart", self.settings.parallel)
        self._stops = Workers("stop", STOPPERS)
        self._lookers = Workers("look", LOOKERS)
        self.supervisor = Supervisor(clock=self.clock, on_fatal=self.stop, settings=self.settings, tell=self.tell)
        self.polling = PollLoop(
            cloud=self.cloud,
            clock=self.clock,
            settings=self.settings,
            outbox=self.outbox,
            claim=self.claim,
            start_run=self.start_run,
            gate=self.gate,
            supervisor=self.supervisor,
            pool=self._starts,
            stopping=self._stopping,
            census=lambda: self.sweep.census,
            aside=self._aside,
            started=self.recover_claims.started,
            sweep_instead=self._sweep_instead,
            tell=self.tell,
        )
        self.sweep = Reconcile(
            cloud=self.cloud,
            clock=self.clock,
            settings=self.settings,
            outbox=self.outbox,
            platform=self.platform,
            owner=self.owner,
            view=ClaimsView(
                cloud=self.cloud,
                clock=self.clock,
                platforms=(self.claim.claimant.platform, *self.claim.claimant.aliases),
            ),
            recover=self._recover,
            in_hand=self.polling.in_hand,
            is_left_to_claimant=self.recover_claims.is_left_to_claimant,
            judges_absence=self.judges_absence,
            background=self._background,
            together=self._together,
            tell=self.tell,
        )
        self.create_unit.made = self.sweep.made
        self.create_unit.make_room = self._make_room

    def run(self) -> None:
        """Work until :meth:`stop`, ``max_polls`` or a fatal error; then finish what is in hand.

        Raises:
            AgentExit: The agent cannot go on; it carries the exit code.
        """
        self._load_reports()
        self._first_sweep()
        self.supervisor.thread("sweep", self._sweep_step, self._stopping)
        self.supervisor.thread("watch", self._watch_step, self._stopping)
        given_up = threading.Event()
        reports = self.supervisor.thread("report", self._report_step, given_up)
        self.supervisor.run("poll", self.polling.step, self._stopping)
        self.stop()
        self._end_workers()
        self._last_reports.set()
        self.outbox.hurry()
        self._report_now.set()
        reports.join(LAST_REPORTS)
        given_up.set()
        if self.outbox:
            kept = self.outbox.store.where
            message = (
                f"{len(self.outbox)} reports could not be sent; they are kept in {kept}, and the next sweep of an "
            )
            message += "agent here sees to their runs"
            self.tell(Event(name=events.CLOUD_TROUBLE, level="ERROR", message=message))
        self.outbox.store.close()
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

    def _end_workers(self) -> None:
        """Starts that have begun are finished; a platform that hangs does not keep the agent for ever."""
        self._recoveries.close(drop=True)
        self._stops.close(drop=True)
        in_time = self._starts.close(wait=self.settings.stop_patience)
        in_time &= self._restarts.close(wait=self.settings.stop_patience if in_time else 1.0)
        self._lookers.close()
        if not in_time:
            message = "The platform does not answer; what was being started is left to the next agent here"
            self.tell(Event(name=events.PLATFORM_TROUBLE, level="ERROR", message=message))

    def _load_reports(self) -> None:
        found = self.outbox.load()
        where, why = self.outbox.store.where, self.outbox.store.problem
        message = f"Reports that the Cloud has not confirmed are kept in {where}{f' ({why})' if why else ''}"
        if found:
            message += f"; an earlier agent left some of {found} flow runs"
        level = "WARNING" if why else "INFO"
        self.tell(Event(name=events.AGENT_STARTED, level=level, message=message))

    # --- recoveries ---

    def _recover(self, runs: Sequence[FlowRun]) -> None:
        """Queue claims without a unit, in portions; each portion is read again when its turn comes."""
        wanted = self.recover_claims.wanted(runs)[: max(0, self.polling.room_for_recoveries())]
        adopted = [run for run in wanted if self.polling.adopt(run.id)]
        for portion in portions(adopted):
            try:
                self._recoveries.submit(self._recover_portion, portion)
            except RuntimeError:  # closed: a later agent's first sweep sees to them
                self._release(portion)

    def _recover_portion(self, runs: Sequence[FlowRun]) -> None:
        restarts: list[Future[None]] = []
        try:
            if not self._stopping.is_set():
                self.recover_claims(runs, lambda claimed: restarts.append(self._restarts.submit(self._begin, claimed)))
        except AgentError as problem:
            self.supervisor.trouble("recover", problem)
        except RuntimeError:  # closed
            return
        except Exception as bug:  # noqa: BLE001 - the next sweep meets it again
            self.supervisor.bug("recover", bug)
        finally:
            wait(restarts)
            self._release(runs)

    def _begin(self, claimed: Claimed) -> None:
        try:
            self.polling.begin(claimed)
        except Exception as bug:  # noqa: BLE001 - one bad run must not spoil the recovery of others
            self.supervisor.bug("recover", bug)

    def _release(self, runs: Sequence[FlowRun]) -> None:
        for run in runs:
            self.polling.release(run.id)

    # --- aside ---

    def _background(self, work: Callable[[], None]) -> None:
        def in_the_pool() -> None:
            try:
                work()
            except Exception as bug:  # noqa: BLE001 - the pool would keep it to itself
                self.supervisor.bug("stop", bug)

        try:
            self._stops.submit(in_the_pool)
        except RuntimeError:
            if not self._stopping.is_set():
                raise
            # The pool has closed: a later agent's first sweep sees to it.

    def _aside(self, ask: Ask) -> Future[Sequence[FlowRun]]:
        """Ask in a thread of its own; an answer that comes after the agent has stopped is ignored."""
        answer: Future[Sequence[FlowRun]] = Future()

        def asking() -> None:
            try:
                answer.set_result(ask())
            except BaseException as problem:  # noqa: BLE001 - the poll loop raises it when it takes the answer
                answer.set_exception(problem)
            self.polling.wake.set()

        threading.Thread(target=asking, name="ask", daemon=True).start()
        return answer

    def _together(self, looks: Sequence[Look]) -> list[list[str]]:
        try:
            found = [self._lookers.submit(look) for look in looks]
        except RuntimeError:  # closed: the agent ends
            return one_by_one(looks)
        return [each.result() for each in found]

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
        every = self.settings.sweep_every * (IDLE if self.sweep.is_idle else 1)
        self._sweep_at = self.clock.monotonic() + every
        self.clock.pause(every, self._sweep_now)
        self._sweep_at = float("inf")
        if self._stopping.is_set():
            return False
        self._sweep_now.clear()
        self.sweep()
        self.polling.swept(self.sweep.view.quiet_since)
        if self.sweep.view.quiet_since is None:
            self._notice()
        if self.settings.limit is not None:
            self.polling.wake.set()  # units that have ended leave room
        if self.sweep.look_soon:
            self._sweep_now.set()
        self.clock.pause(SWEEP_GAP, self._stopping)
        return not self._stopping.is_set()

    def _notice(self) -> None:
        try:
            self.notice()
        except Exception as bug:  # noqa: BLE001 - words about other runs must not stop the sweep
            self.supervisor.bug("notice", bug)

    def _sweep_instead(self) -> bool:
        """Sweep now if the next sweep begins within half the longest pause between polls; return whether it does."""
        if self._sweep_at - self.clock.monotonic() > self.settings.poll_last / 2:
            return False
        self._sweep_now.set()
        return True

    def _make_room(self) -> None:
        """A flow run waits for room that ended units take."""
        self.sweep.make_room()
        self._sweep_now.set()

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
        """Whether what the watch saw is worth a sweep now. Units of other Clouds and tenants are not."""
        if unit.owner is None or unit.owner.cloud != self.owner.cloud:
            return False
        if unit.status.has_ended:
            return unit.status is UnitStatus.FAILED or self.settings.limit is not None
        return is_hopeless(unit, self.clock.now() + timedelta(seconds=self.platform.skew))

    def _report_step(self) -> bool:
        due = self.outbox.next_due()
        self.clock.pause(
            self.settings.sweep_every if due is None else min(due, self.settings.sweep_every), self._report_now
        )
        self.clock.pause(REPORT_GAP, self._last_reports)
        self._report_now.clear()
        sent = self.send_reports()
        if sent:
            self.tell(Event(name=events.REPORTED, level="DEBUG", message=f"Sent {sent} reports", fields={"sent": sent}))
        return bool(self.outbox) or not self._last_reports.is_set()

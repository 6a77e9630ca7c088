"""Bring claims and units together again, whatever was missed: one sweep."""

from collections.abc import Callable, Collection, Sequence

import attrs

from prefect.agent.domain.errors import PlatformError
from prefect.agent.domain.model.flow_runs import Claimed, FlowRun, FlowRunId
from prefect.agent.domain.model.reconciling import (
    Conclusion,
    LookAgain,
    decisive,
    hopeless,
    judge,
    judge_hopeless,
    judge_vanished,
    last_ended,
    removable,
    to_recover,
    vanished,
    waiting,
)
from prefect.agent.domain.model.settings import AgentSettings
from prefect.agent.domain.model.units import Unit
from prefect.agent.domain.services.ending import ReportEnd, Together, one_by_one
from prefect.agent.domain.services.reporting import Outbox
from prefect.agent.domain.services.stopping import Background, StopUnits, at_once
from prefect.agent.ports import events
from prefect.agent.ports.clock import Clock
from prefect.agent.ports.cloud_api import CloudApi
from prefect.agent.ports.events import Event, EventSink
from prefect.agent.ports.platform import ExecutionPlatform

Runs = dict[FlowRunId, FlowRun]


@attrs.define(kw_only=True)
class Reconcile:
    """One sweep over everything that is claimed, alive or ended on this platform.

    Called from one thread. It remembers the units that lived at the last sweep, to notice those that somebody deletes;
    what an agent that was away did not see alive it cannot miss.

    Attributes:
        recover: Takes a claim that has no unit, to be started again; None if only whoever started it could know.
        in_hand: Whether this process is seeing to a run already.
        background: Runs what may take long (stopping a unit).
        together: Looks at several units that have ended.
    """

    cloud: CloudApi
    platform: ExecutionPlatform
    clock: Clock
    outbox: Outbox
    settings: AgentSettings
    recover: Callable[[Claimed], None] | None
    in_hand: Callable[[FlowRunId], bool]
    background: Background = at_once
    together: Together = one_by_one
    tell: EventSink = events.ignore
    alive: int = attrs.field(default=0, init=False)
    """Units that had not ended at the last sweep."""
    counted_at: float = attrs.field(default=0.0, init=False)
    """When that was (monotonic, seconds)."""
    look_soon: bool = attrs.field(default=False, init=False)
    """Whether the last sweep passed over a unit that calls for something because its run was in hand."""
    _report: ReportEnd = attrs.field(init=False)
    _stops: StopUnits = attrs.field(init=False)
    _settled: set[str] = attrs.field(factory=set, init=False)
    _look_again: set[str] = attrs.field(factory=set, init=False)
    _remembered: dict[str, Unit] = attrs.field(factory=dict, init=False)
    """Units that lived when they were last seen: all that live now, and those whose absence is yet to be judged."""
    _waits_told: dict[str, set[str]] = attrs.field(factory=dict, init=False)
    """Of units that live: what the logs of their runs say they waited for."""

    def __attrs_post_init__(self) -> None:
        self._report = ReportEnd(platform=self.platform, outbox=self.outbox, tell=self.tell, together=self.together)
        self._stops = StopUnits(
            platform=self.platform,
            clock=self.clock,
            outbox=self.outbox,
            settings=self.settings,
            report=self._report,
            background=self.background,
            tell=self.tell,
        )

    def __call__(self) -> None:
        """Sweep once.

        Raises:
            CloudError, PlatformError: One side did not answer; what was decided until then is done.
        """
        self._take_stopped()
        reported = {end.run_id for end in tuple(self.outbox.ends)}
        claimed = self.cloud.claimed_flow_runs(platform=self.platform.identity)
        asked_at = self.clock.monotonic()
        units = self.platform.units()
        self.counted_at = asked_at
        alive = [unit for unit in units if not unit.status.has_ended]
        self.alive = len(alive)
        missing = self._remember(units, alive)
        if self.recover is not None:
            self._recover(claimed, units, reported, self.recover)
        self._tell_waits(alive)
        self._judge(units, missing)
        self._stop_cancelled(alive)
        self._remove_old(units)
        fields = {"units": len(units), "alive": self.alive, "claimed": len(claimed)}
        self.tell(Event(name=events.SWEPT, level="DEBUG", message="Compared claims with units", fields=fields))

    def _take_stopped(self) -> None:
        """What we stopped ourselves has been reported, and nobody wonders where it is."""
        for name in self._stops.take_notes():
            self._settled.add(name)
            self._remembered.pop(name, None)

    def _remember(self, units: Sequence[Unit], alive: Sequence[Unit]) -> list[Unit]:
        """Return the units that have vanished; they stay remembered until they are judged."""
        missing = vanished(self._remembered.values(), units)
        living = {unit.name: unit for unit in alive}
        self._remembered = {**living, **{unit.name: unit for unit in missing}}
        self._settled &= {unit.name for unit in units if unit.status.has_ended}
        self._waits_told = {name: told for name, told in self._waits_told.items() if name in living}
        return missing

    def _recover(
        self,
        claimed: Sequence[FlowRun],
        units: Sequence[Unit],
        reported: Collection[FlowRunId],
        recover: Callable[[Claimed], None],
    ) -> None:
        busy = {run.id for run in claimed if self.in_hand(run.id)} | {end.run_id for end in tuple(self.outbox.ends)}
        busy |= {*reported, *self._stops.under_way.values()}
        for action in to_recover(claimed, units, busy):
            run = action.claimed.run
            message = (
                f"Flow run {run.name or run.id} was claimed but has no unit; creating {action.claimed.record.unit}"
            )
            self.tell(
                Event(name=events.RUN_RECOVERED, level="WARNING", message=message, fields={"flow_run_id": run.id})
            )
            recover(action.claimed)

    def _tell_waits(self, alive: Sequence[Unit]) -> None:
        for unit in waiting(alive, self.clock.now()):
            reason = unit.evidence.reason if unit.evidence else ""
            told = self._waits_told.setdefault(unit.name, set())
            if reason in told:
                continue
            told.add(reason)
            message = f"{unit.name} waits to start: {unit.evidence}"
            fields = {"flow_run_id": unit.flow_run_id, "unit": unit.name, "reason": reason}
            self.tell(Event(name=events.UNIT_WAITS, level="WARNING", message=message, fields=fields))
            self.outbox.log(unit.flow_run_id, message, "WARNING")

    def _judge(self, units: Sequence[Unit], missing: Sequence[Unit]) -> None:
        """Compare units that ended, vanished or cannot start with their runs, which are all read in one request."""
        without = {unit.flow_run_id for unit in missing}
        ended = [
            unit for unit in last_ended(units) if unit.name not in self._settled and unit.flow_run_id not in without
        ]
        stuck = hopeless(units, self.clock.now())
        found = [unit for unit in (*ended, *missing, *stuck) if unit.name not in self._stops.under_way]
        free = {unit.name for unit in found if not self.in_hand(unit.flow_run_id)}
        self.look_soon = len(free) < len(found)
        ended, stuck = ([unit for unit in some if unit.name in free] for some in (ended, stuck))
        gone = [unit for unit in missing if unit.name in free and self._is_gone(unit)]
        ids = {unit.flow_run_id for unit in (*ended, *gone, *stuck)}
        runs = {run.id: run for run in self.cloud.flow_runs(ids)} if ids else {}
        self._judge_ended(ended, runs)
        self._judge_gone(gone, runs)
        speak = {unit.name for unit in decisive(stuck, units)}
        self._stops.hopeless(
            judge_hopeless(unit, runs.get(unit.flow_run_id), is_decisive=unit.name in speak) for unit in stuck
        )

    def _is_gone(self, unit: Unit) -> bool:
        """The second proof that a unit was deleted; without it the unit stays remembered."""
        try:
            return self.platform.unit(unit.name) is None
        except PlatformError as trouble:
            message = f"{unit.name} seems to have been deleted, which cannot be confirmed yet: {trouble}"
            self.tell(Event(name=events.PLATFORM_TROUBLE, level="WARNING", message=message))
            return False

    def _judge_ended(self, ended: Sequence[Unit], runs: Runs) -> None:
        looked_before, self._look_again = self._look_again, set()
        conclusions: list[Conclusion] = []
        for unit in ended:
            verdict = judge(unit, runs.get(unit.flow_run_id), seen_before=unit.name in looked_before)
            if isinstance(verdict, LookAgain):
                self._look_again.add(unit.name)
            elif verdict is not None:
                conclusions.append(verdict)
        for reported in self._report.each(conclusions):
            self._settled.add(reported.unit.name)

    def _judge_gone(self, gone: Sequence[Unit], runs: Runs) -> None:
        for unit in gone:
            verdict = judge_vanished(unit, runs.get(unit.flow_run_id), recovers=self.recover is not None)
            self._report(verdict, proof=f"The unit of execution {unit.name} is gone")
            del self._remembered[unit.name]

    def _stop_cancelled(self, alive: Sequence[Unit]) -> None:
        ids = {unit.flow_run_id for unit in alive}
        self._stops.cancelled(self.cloud.cancelled_flow_runs(ids) if ids else [], alive)

    def _remove_old(self, units: Sequence[Unit]) -> None:
        now = self.clock.now()
        last = {unit.name for unit in last_ended(units)}
        for unit in units:
            if not unit.status.has_ended or not removable(unit, now, self.settings.keep_ended):
                continue
            if unit.name in last and unit.name not in self._settled:
                continue  # its end still means something for the run
            try:
                self.platform.remove(unit.name)
            except PlatformError as trouble:
                message = f"Cannot remove the ended unit {unit.name}: {trouble}"
                self.tell(Event(name=events.PLATFORM_TROUBLE, level="WARNING", message=message))
                continue
            self.tell(Event(name=events.UNIT_REMOVED, level="DEBUG", message=f"Removed the ended unit {unit.name}"))

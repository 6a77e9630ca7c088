"""Bring claims and units together again, whatever was missed: one sweep."""

from collections.abc import Callable, Sequence

import attrs

from prefect.agent.domain.errors import PlatformError
from prefect.agent.domain.model.flow_runs import Claimed, FlowRun, FlowRunId
from prefect.agent.domain.model.reconciling import (
    LookAgain,
    ReportCancelled,
    ReportFailed,
    Settled,
    judge,
    last_ended,
    overdue,
    removable,
    to_recover,
)
from prefect.agent.domain.model.settings import AgentSettings
from prefect.agent.domain.model.states import CANCELLING
from prefect.agent.domain.model.units import Unit
from prefect.agent.domain.services.reporting import Outbox
from prefect.agent.ports import events
from prefect.agent.ports.clock import Clock
from prefect.agent.ports.cloud_api import CloudApi
from prefect.agent.ports.events import Event, EventSink
from prefect.agent.ports.platform import ExecutionPlatform

TAIL_LINES = 50

Background = Callable[[Callable[[], None]], None]


def at_once(work: Callable[[], None]) -> None:
    """Background work in the foreground."""
    work()


@attrs.define(kw_only=True)
class Reconcile:
    """One sweep over everything that is claimed, alive or ended on this platform.

    Attributes:
        recover: Takes a claim that has no unit, to be started again; None if only whoever started it could know.
        in_hand: Whether this process is seeing to a run already.
        background: Runs what may take long (stopping a unit).
    """

    cloud: CloudApi
    platform: ExecutionPlatform
    clock: Clock
    outbox: Outbox
    settings: AgentSettings
    recover: Callable[[Claimed], None] | None
    in_hand: Callable[[FlowRunId], bool]
    background: Background = at_once
    tell: EventSink = events.ignore
    alive: int = attrs.field(default=0, init=False)
    """Units that had not ended at the last sweep."""
    counted_at: float = attrs.field(default=0.0, init=False)
    """When that was (monotonic, seconds)."""
    look_soon: bool = attrs.field(default=False, init=False)
    """Whether the last sweep passed over a unit that had ended because its run was in hand."""
    _settled: set[str] = attrs.field(factory=set, init=False)
    _look_again: set[str] = attrs.field(factory=set, init=False)
    _cancelled_since: dict[FlowRunId, float] = attrs.field(factory=dict, init=False)
    _stopping: set[str] = attrs.field(factory=set, init=False)

    def __call__(self) -> None:
        """Sweep once.

        Raises:
            CloudError, PlatformError: One side did not answer; what was decided until then is done.
        """
        claimed = self.cloud.claimed_flow_runs(platform=self.platform.identity)
        asked_at = self.clock.monotonic()
        units = self.platform.units()
        self.counted_at = asked_at
        self.alive = sum(not unit.status.has_ended for unit in units)
        if self.recover is not None:
            self._recover(claimed, units, self.recover)
        self._report_ends(units)
        self._stop_cancelled(units)
        self._remove_old(units)
        fields = {"units": len(units), "alive": self.alive, "claimed": len(claimed)}
        self.tell(Event(name=events.SWEPT, level="DEBUG", message="Compared claims with units", fields=fields))

    def _recover(self, claimed: Sequence[FlowRun], units: Sequence[Unit], recover: Callable[[Claimed], None]) -> None:
        busy = {run.id for run in claimed if self.in_hand(run.id)} | {end.run_id for end in tuple(self.outbox.ends)}
        for action in to_recover(claimed, units, busy):
            run = action.claimed.run
            message = (
                f"Flow run {run.name or run.id} was claimed but has no unit; creating {action.claimed.record.unit}"
            )
            self.tell(
                Event(name=events.RUN_RECOVERED, level="WARNING", message=message, fields={"flow_run_id": run.id})
            )
            recover(action.claimed)

    def _report_ends(self, units: Sequence[Unit]) -> None:
        names = {unit.name for unit in units}
        self._settled &= names
        ended = [unit for unit in last_ended(units) if unit.name not in self._settled]
        free = [unit for unit in ended if not self.in_hand(unit.flow_run_id)]
        self.look_soon = len(free) < len(ended)
        ended = free
        runs = {run.id: run for run in self.cloud.flow_runs([unit.flow_run_id for unit in ended])} if ended else {}
        looked_before, self._look_again = self._look_again, set()
        for unit in ended:
            match judge(unit, runs.get(unit.flow_run_id), seen_before=unit.name in looked_before):
                case ReportFailed(reason=reason):
                    self._report_failed(unit, reason)
                case ReportCancelled():
                    self.outbox.cancelled(unit.flow_run_id, f"The unit of execution {unit.name} has ended")
                    self._settled.add(unit.name)
                case LookAgain():
                    self._look_again.add(unit.name)
                case Settled():
                    self._settled.add(unit.name)
                case None:
                    pass

    def _report_failed(self, unit: Unit, reason: str) -> None:
        fields = {"flow_run_id": unit.flow_run_id, "unit": unit.name}
        self.tell(Event(name=events.UNIT_ENDED, level="WARNING", message=reason, fields=fields))
        try:
            tail = self.platform.logs_tail(unit.name, lines=TAIL_LINES)
        except PlatformError as trouble:
            tail = f"(its output cannot be read: {trouble})"
        if tail.strip():
            self.outbox.log(unit.flow_run_id, f"Last output of {unit.name}:\n{tail.strip()}", "ERROR")
        self.outbox.fail(unit.flow_run_id, reason)
        self._settled.add(unit.name)

    def _stop_cancelled(self, units: Sequence[Unit]) -> None:
        alive = [unit for unit in units if not unit.status.has_ended]
        ids = {unit.flow_run_id for unit in alive}
        cancelled = self.cloud.cancelled_flow_runs(ids) if ids else []
        now = self.clock.monotonic()
        self._cancelled_since = {run.id: self._cancelled_since.get(run.id, now) for run in cancelled}
        for run in overdue(cancelled, self._cancelled_since, now, self.settings.cancel_grace):
            for unit in alive:
                if unit.flow_run_id == run.id and unit.name not in self._stopping:
                    self._stopping.add(unit.name)
                    self.background(self._stopper(unit, run))

    def _stopper(self, unit: Unit, run: FlowRun) -> Callable[[], None]:
        def stop() -> None:
            try:
                self.platform.stop(unit.name, grace=self.settings.stop_grace)
            except PlatformError as trouble:
                message = f"Cannot stop {unit.name} of the cancelled flow run {run.id} yet: {trouble}"
                self.tell(Event(name=events.PLATFORM_TROUBLE, level="WARNING", message=message))
                return
            finally:
                self._stopping.discard(unit.name)
            message = f"Stopped {unit.name}: its flow run was cancelled and did not end by itself"
            self.tell(Event(name=events.UNIT_STOPPED, message=message, fields={"flow_run_id": run.id}))
            if run.state.type == CANCELLING:
                self.outbox.cancelled(run.id, message)
            else:
                self.outbox.log(run.id, message, "WARNING")

        return stop

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

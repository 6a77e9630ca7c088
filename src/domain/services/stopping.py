"""Stop units in the background: of cancelled runs, such as cannot start, and what goes on after a unit's end."""

from collections import deque
from collections.abc import Callable, Collection, Iterable, Sequence

import attrs

from prefect.agent.domain.errors import PlatformError
from prefect.agent.domain.model.ends import End, EndKind
from prefect.agent.domain.model.flow_runs import FlowRun, FlowRunId
from prefect.agent.domain.model.settings import AgentSettings
from prefect.agent.domain.model.units import Unit
from prefect.agent.domain.model.verdicts import Conclusion, is_hopeless, overdue, speaks_for
from prefect.agent.domain.services.ending import ReportEnd
from prefect.agent.domain.services.reporting import Outbox
from prefect.agent.ports import events
from prefect.agent.ports.clock import Clock
from prefect.agent.ports.events import Event, EventSink
from prefect.agent.ports.platform import ExecutionPlatform

Background = Callable[[Callable[[], None]], None]


def at_once(work: Callable[[], None]) -> None:
    """Background work in the foreground."""
    work()


@attrs.define(kw_only=True)
class StopUnits:
    """Begins stops and remembers which are on their way.

    Used by one thread, the sweep's; work in the background only puts notes into a box. A unit counts as being stopped
    until its note is taken: what a sweep reads while a stop comes to its end is never taken for an accident.

    Attributes:
        under_way: Units that are being stopped, with their runs.
        unconfirmed: Units that could not start and were asked to stop, without an answer: what was concluded of each,
            and its findings. If such a unit turns out to have ended, that is why.
        reported: Units that were stopped and whose runs' ends were reported, until the sweep takes their names out.
    """

    platform: ExecutionPlatform
    clock: Clock
    outbox: Outbox
    settings: AgentSettings
    report: ReportEnd
    background: Background
    tell: EventSink
    under_way: dict[str, FlowRunId] = attrs.field(factory=dict, init=False)
    unconfirmed: dict[str, tuple[Conclusion, list[str]]] = attrs.field(factory=dict, init=False)
    reported: set[str] = attrs.field(factory=set, init=False)
    _cancelled_since: dict[FlowRunId, float] = attrs.field(factory=dict, init=False)
    _orphaned_since: dict[str, float] = attrs.field(factory=dict, init=False)
    _lingering_since: dict[str, float] = attrs.field(factory=dict, init=False)
    _notes: deque[tuple[str, bool]] = attrs.field(factory=deque, init=False)

    def take_notes(self) -> set[str]:
        """Names of the units whose stop has succeeded and been reported; stops that failed may be tried again."""
        done = set()
        while self._notes:
            name, success = self._notes.popleft()
            self.under_way.pop(name, None)
            if success:
                done.add(name)
        return done

    def cancelled(self, runs: Sequence[FlowRun], alive: Collection[Unit]) -> None:
        """Stop the units that are still *alive* of those cancelled *runs* whose grace is over."""
        now = self.clock.monotonic()
        self._cancelled_since = {run.id: self._cancelled_since.get(run.id, now) for run in runs}
        late = {run.id: run for run in overdue(runs, self._cancelled_since, now, self.settings.cancel_grace)}
        for unit in alive:
            run = late.get(unit.flow_run_id)
            if run is not None:
                self._begin(unit, f"of the cancelled flow run {run.id}", self._for_cancelled(unit, run))

    def orphaned(self, orphans: Collection[Unit]) -> None:
        """Stop the units whose flow runs were deleted in the Cloud, once the grace of cancelled ones is over."""
        now = self.clock.monotonic()
        self._orphaned_since = {unit.name: self._orphaned_since.get(unit.name, now) for unit in orphans}
        for unit in orphans:
            if unit.name not in self.under_way and now - self._orphaned_since[unit.name] >= self.settings.cancel_grace:
                self._begin(unit, f"of the deleted flow run {unit.flow_run_id}", self._for_orphaned(unit))

    def lingering(self, units: Collection[Unit]) -> None:
        """Stop what goes on in ended units beside their main process, once the grace of cancelled ones is over.

        Args:
            units: Nothing of them is left to be reported.
        """
        now = self.clock.monotonic()
        self._lingering_since = {unit.name: self._lingering_since.get(unit.name, now) for unit in units}
        for unit in units:
            if now - self._lingering_since[unit.name] >= self.settings.cancel_grace:
                self._lingering_since[unit.name] = now  # a stop that fails is tried again after as long
                self._begin(unit, "whose helpers go on after its end", self._for_lingering(unit))

    def hopeless(self, conclusions: Iterable[Conclusion]) -> None:
        """Stop units that cannot start, then report what was concluded of each."""
        for each in conclusions:
            self._begin(each.unit, "which cannot start", self._for_hopeless(each))

    def _begin(self, unit: Unit, which: str, stop: Callable[[], bool]) -> None:
        if unit.name in self.under_way:
            return
        self.under_way[unit.name] = unit.flow_run_id

        def work() -> None:
            success = False
            try:
                success = stop()
            except PlatformError as problem:
                message, fields = f"Cannot stop {unit.name} {which} yet: {problem}", _fields(unit)
                self.tell(Event(name=events.PLATFORM_TROUBLE, level="WARNING", message=message, fields=fields))
            finally:
                self._notes.append((unit.name, success))

        try:
            self.background(work)
        except BaseException:
            self.under_way.pop(unit.name, None)
            raise

    def _for_cancelled(self, unit: Unit, run: FlowRun) -> Callable[[], bool]:
        def stop() -> bool:
            self.platform.stop(unit.name, grace=self.settings.stop_grace)
            message = f"Stopped {unit.name}: its flow run was cancelled and did not end by itself"
            self.tell(Event(name=events.UNIT_STOPPED, message=message, fields=_fields(unit)))
            if run.state.is_cancelling and speaks_for(unit, run):
                lasted = self._lasted(unit)
                self.outbox.end(
                    End(run_id=run.id, unit=unit.name, kind=EndKind.CANCELLED, message=message, lasted=lasted)
                )
                self.reported.add(unit.name)
            else:
                self.outbox.log(run.id, message, "WARNING")
            return True

        return stop

    def _lasted(self, unit: Unit) -> float | None:
        """For how many seconds a unit executed that was stopped just now."""
        if unit.created_at is None:
            return None
        now = self.clock.now_ahead(self.platform.skew)
        return round(max(0.0, (now - unit.created_at).total_seconds()), 3)

    def _for_orphaned(self, unit: Unit) -> Callable[[], bool]:
        def stop() -> bool:
            self.platform.stop(unit.name, grace=self.settings.stop_grace)
            message = f"Stopped {unit.name}: its flow run {unit.flow_run_id} was deleted in the Cloud"
            self.tell(Event(name=events.UNIT_STOPPED, level="WARNING", message=message, fields=_fields(unit)))
            return True

        return stop

    def _for_lingering(self, unit: Unit) -> Callable[[], bool]:
        def stop() -> bool:
            self.platform.stop(unit.name, grace=self.settings.stop_grace)
            message = f"Stopped what went on in {unit.name} after its main process had ended"
            self.tell(Event(name=events.UNIT_STOPPED, message=message, fields=_fields(unit)))
            return True

        return stop

    def _for_hopeless(self, conclusion: Conclusion) -> Callable[[], bool]:
        unit = conclusion.unit

        def stop() -> bool:
            findings = self.report.findings(unit)  # stopping it may take them away
            current = self.platform.unit(unit.name)
            if current is None or not is_hopeless(current, self.clock.now_ahead(self.platform.skew)):
                return False  # it moved on meanwhile: for the next sweep to judge
            self.unconfirmed[unit.name] = (conclusion, findings)
            self.platform.stop(unit.name, grace=0)
            del self.unconfirmed[unit.name]
            message = f"Stopped {unit.name}: it could not start ({unit.evidence or 'no evidence'})"
            self.tell(Event(name=events.UNIT_STOPPED, message=message, fields=_fields(unit)))
            self.report(conclusion, proof=message, findings=findings)
            return True

        return stop


def _fields(unit: Unit) -> dict[str, str]:
    return {"flow_run_id": unit.flow_run_id, "unit": unit.name}

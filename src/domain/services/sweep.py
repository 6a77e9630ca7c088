"""Bring claims and units together again, whatever was missed: one sweep."""

from collections.abc import Callable, Iterable, Sequence
from datetime import datetime, timedelta

import attrs

from prefect.agent.domain.errors import AgentError, PlatformError
from prefect.agent.domain.model.ends import End
from prefect.agent.domain.model.explaining import span
from prefect.agent.domain.model.flow_runs import FlowRun, FlowRunId
from prefect.agent.domain.model.leases import waits_for_its_unit
from prefect.agent.domain.model.settings import AgentSettings
from prefect.agent.domain.model.units import Evidence, Owner, Unit, UnitStatus
from prefect.agent.domain.model.verdicts import (
    Conclusion,
    LookAgain,
    ReportFailed,
    Settled,
    hopeless,
    judge,
    judge_absent,
    judge_hopeless,
    judge_vanished,
    own,
    removable,
    speaks_for,
    vanished,
    waiting,
    without_unit,
)
from prefect.agent.domain.services.claims_view import ClaimsView
from prefect.agent.domain.services.ending import ReportEnd
from prefect.agent.domain.services.reporting import Outbox
from prefect.agent.domain.services.stopping import StopUnits
from prefect.agent.domain.services.work_in_hand import Census, WorkInHand
from prefect.agent.ports import events
from prefect.agent.ports.clock import Clock
from prefect.agent.ports.cloud_api import CloudApi
from prefect.agent.ports.events import Event, EventSink
from prefect.agent.ports.platform import ExecutionPlatform

Runs = dict[FlowRunId, FlowRun]


@attrs.define(kw_only=True)
class Sweep:
    """One sweep over everything that is claimed, alive or ended on this platform.

    Called from one thread. Only units with the own Cloud's mark are judged, counted, stopped and removed. Each step is
    isolated per unit: an error of one is reported, and the others go on. What is claimed, Running or Cancelling by the
    Cloud's word but has no unit is found without any memory of this process.

    Attributes:
        owner: The marks of this agent's units.
        view: The claims on this platform.
        work: What this process is seeing to already.
        report: Reports ends.
        stops: Stops units in the background.
        recover: Takes the claims that wait for a unit and have none.
        is_left_to_claimant: Whether a claim that has no unit is another process's, which lives and has time left.
        recovers: Whether all runs have units here, so that one without is over; not if code of the user starts them.
    """

    cloud: CloudApi
    platform: ExecutionPlatform
    clock: Clock
    outbox: Outbox
    settings: AgentSettings
    owner: Owner
    view: ClaimsView
    work: WorkInHand
    report: ReportEnd
    stops: StopUnits
    recover: Callable[[Sequence[FlowRun]], None]
    is_left_to_claimant: Callable[[FlowRun], bool] = lambda run: False  # noqa: ARG005 - of one agent alone
    recovers: bool = True
    tell: EventSink = events.ignore
    is_idle: bool = attrs.field(default=True, init=False)
    """Whether the last sweep found no unit and no claim."""
    look_soon: bool = attrs.field(default=False, init=False)
    """Whether the last sweep passed over a unit that calls for something because its run was in hand."""
    _settled: set[str] = attrs.field(factory=set, init=False)
    """Ended units about which nothing more is to be reported."""
    _unannounced: set[str] = attrs.field(factory=set, init=False)
    """Units that lived while this process did, and whose runs' ends have not been announced."""
    _look_again: set[str] = attrs.field(factory=set, init=False)
    _absent_before: set[str] = attrs.field(factory=set, init=False)
    """Units of claims that were absent at the last sweep."""
    _remembered: dict[str, Unit] = attrs.field(factory=dict, init=False)
    """Units that had begun and not ended when they were last seen, and those whose absence is yet to be judged."""
    _waits_reported: dict[str, set[str]] = attrs.field(factory=dict, init=False)
    """Of units that live: what the logs of their runs say they waited for."""
    _orphans_reported: set[str] = attrs.field(factory=set, init=False)

    def __call__(self) -> None:
        """Sweep once.

        Raises:
            CloudError, PlatformError: One side did not answer; what was decided until then is done.
        """
        self._take_stopped()
        self.view.refresh(
            keep={unit.flow_run_id for unit in self._remembered.values()}, due_within=self.settings.prefetch
        )
        asked_at = self.clock.monotonic()
        everything = self.platform.units()
        units = own(everything, self.owner.cloud)
        alive = [unit for unit in units if not unit.status.has_ended]
        mine = tuple(unit for unit in alive if unit.owner is not None and unit.owner.agent == self.owner.agent)
        self.work.census = Census(units=mine, counted_at=asked_at)
        missing = self._remember(units, alive)
        absent = self._absent_claims(everything, missing)
        self._each(waiting(alive, self._platform_time()), self._report_wait, "report why it waits of")
        self._judge(units, missing, absent)
        self._stop_cancelled(alive)
        self._stop_lingering(units)
        self._remove_old(units)
        self.is_idle = not units and not self.view.open_runs()
        fields = {"units": len(units), "alive": len(alive), "claimed": len(self.view.open_runs())}
        self.tell(Event(name=events.SWEPT, level="DEBUG", message="Compared claims with units", fields=fields))

    @property
    def judges_absence(self) -> bool:
        """Whether a run without a unit is over."""
        return self.recovers and self.platform.traits.has_units

    # --- what is there ---

    def _take_stopped(self) -> None:
        """Units that this agent has stopped may be absent; they are settled once their runs are over."""
        for name in self.stops.take_notes():
            self._remembered.pop(name, None)
            if name in self.stops.reported:
                self.stops.reported.discard(name)
                self._unannounced.discard(name)

    def _remember(self, units: Sequence[Unit], alive: Sequence[Unit]) -> list[Unit]:
        """Return the units that have vanished; they stay remembered until they are judged."""
        for unit in self.work.take_units():
            self._remembered[unit.name] = unit
        known = self._unannounced | set(self._remembered)  # also what began and ended since the last sweep
        missing = vanished(self._remembered.values(), units)
        living = {unit.name: unit for unit in alive}
        begun = {name: unit for name, unit in living.items() if unit.status is not UnitStatus.CREATED}
        self._remembered = {**begun, **{unit.name: unit for unit in missing}}
        self._settled &= {unit.name for unit in units if unit.status.has_ended}
        self._unannounced = (known & {unit.name for unit in units}) | set(self._remembered)
        self._waits_reported = {name: said for name, said in self._waits_reported.items() if name in living}
        self._orphans_reported &= set(living)
        return missing

    def _absent_claims(self, everything: Sequence[Unit], missing: Sequence[Unit]) -> list[FlowRun]:
        """Runs to be judged for the absence of their unit. Claims that wait for a unit are given to ``recover``."""
        vanished_names = {unit.name for unit in missing}
        found = without_unit(self.view.open_runs(), everything)
        free = [
            run
            for run in found
            if run.claim is not None and run.claim.unit not in vanished_names and self._is_free(run.id)
        ]
        claims = [run for run in free if waits_for_its_unit(run)]
        if claims:
            self.recover(claims)
        rest = [run for run in free if not waits_for_its_unit(run) and run.claim is not None]
        names = {run.claim.unit for run in rest if run.claim is not None}
        before, self._absent_before = self._absent_before, names
        # The view knows of waiting task runs once a run was read for its absence: such a run is not looked into again.
        judged = [run for run in rest if self.judges_absence and judge_absent(run) is not None]
        return [run for run in judged if run.claim is not None and run.claim.unit in before]

    def _platform_time(self) -> datetime:
        """The time of day by the platform's clock: units carry its times."""
        return self.clock.now_ahead(self.platform.skew)

    def _is_free(self, run_id: FlowRunId) -> bool:
        """Whether nothing of this process is seeing to the run."""
        stopping = run_id in self.stops.under_way.values()
        return not (stopping or run_id in self.work or self.outbox.is_pending(run_id))

    # --- what it means ---

    def _judge(self, units: Sequence[Unit], missing: Sequence[Unit], absent: Sequence[FlowRun]) -> None:
        """Compare units that ended, vanished or cannot start with their runs, which are all read in one request."""
        ended = [unit for unit in units if unit.status.has_ended and unit.name not in self._settled]
        stuck = hopeless(units, self._platform_time())
        found = [unit for unit in (*ended, *missing, *stuck) if unit.name not in self.stops.under_way]
        free = {unit.name for unit in found if self._is_free(unit.flow_run_id)}
        self.look_soon = any(self._is_urgent(unit) for unit in found if unit.name not in free)
        ended, stuck = ([unit for unit in some if unit.name in free] for some in (ended, stuck))
        gone = [unit for unit in missing if unit.name in free and self._is_gone(unit.name)]
        lost = [run for run in absent if run.claim is not None and self._is_gone(run.claim.unit)]
        ids = {unit.flow_run_id for unit in (*ended, *gone, *stuck)} | {run.id for run in lost}
        runs = {run.id: run for run in self.cloud.flow_runs(ids)} if ids else {}
        self.view.correct(ids, runs.values())
        self._judge_ended(ended, runs)
        self._each(gone, lambda unit: self._judge_gone(unit, runs), "judge the absence of")
        for seen in lost:
            self._judge_absent(seen, runs.get(seen.id))
        self.stops.hopeless(judge_hopeless(unit, runs.get(unit.flow_run_id)) for unit in stuck)

    def _is_urgent(self, unit: Unit) -> bool:
        """Whether this process is about to learn of the unit: a unit of an earlier claim is not what it is starting."""
        run = self.view.get(unit.flow_run_id)
        is_older = run is not None and run.claim is not None and run.claim.unit != unit.name
        return unit.flow_run_id in self.work and not is_older

    def _is_gone(self, name: str) -> bool:
        """The second proof that a unit was deleted; without it the unit is looked for again at the next sweep."""
        try:
            return self.platform.unit(name) is None
        except PlatformError as problem:
            message = f"{name} seems to have been deleted, which cannot be confirmed yet: {problem}"
            self.tell(Event(name=events.PLATFORM_TROUBLE, level="WARNING", message=message))
        except Exception as bug:  # noqa: BLE001 - an adapter's bug on one unit must not stop the sweep of all
            message = f"Bug while looking for the unit {name}: {bug!r}"
            self.tell(Event(name=events.BUG, level="ERROR", message=message))
        return False

    def _judge_ended(self, ended: Sequence[Unit], runs: Runs) -> None:
        looked_before, self._look_again = self._look_again, set()
        conclusions: list[Conclusion] = []
        for unit in ended:
            self._announce(unit, runs.get(unit.flow_run_id))
            verdict = judge(unit, runs.get(unit.flow_run_id), seen_before=unit.name in looked_before)
            if isinstance(verdict, LookAgain):
                self._look_again.add(unit.name)
            elif isinstance(verdict, Settled):
                self._settled.add(unit.name)
            elif isinstance(verdict, ReportFailed) and unit.name in self.stops.unconfirmed:
                conclusion, findings = self.stops.unconfirmed.pop(unit.name)
                self.report(conclusion, proof=f"The unit of execution {unit.name} has ended", findings=findings)
            elif verdict is not None:
                conclusions.append(verdict)
                self._unannounced.discard(unit.name)  # how it ended is said when the Cloud has confirmed the report
        for _ in self.report.each(conclusions):
            pass  # settled once the Cloud has confirmed the end: the run is read as finished then

    def _announce(self, unit: Unit, run: FlowRun | None) -> None:
        """Say once how a run has ended that reported its own end."""
        if run is None or not run.state.is_finished or unit.name not in self._unannounced:
            return
        self._unannounced.discard(unit.name)
        if run.claim is not None and run.claim.unit == unit.name:
            self.tell(_ended(unit, run))

    def _judge_gone(self, unit: Unit, runs: Runs) -> None:
        run = runs.get(unit.flow_run_id)
        if run is not None and speaks_for(unit, run) and waits_for_its_unit(run) and self.is_left_to_claimant(run):
            return  # its claimant may be about to create it again; it stays remembered
        self.report(judge_vanished(unit, run), proof=f"The unit of execution {unit.name} is gone")
        del self._remembered[unit.name]

    def _judge_absent(self, seen: FlowRun, run: FlowRun | None) -> None:
        """Only the claim whose unit was looked for is judged, not one that was made meanwhile, here or elsewhere."""
        if run is None or run.claim is None or run.claim != seen.claim:
            return
        conclusion = judge_absent(run)
        if conclusion is None:
            return
        kind, message = conclusion
        self.outbox.end(End(run_id=run.id, unit=run.claim.unit, kind=kind, message=message))

    def _report_wait(self, unit: Unit) -> None:
        evidence = unit.evidence or Evidence()
        reason = evidence.reason
        said = self._waits_reported.setdefault(unit.name, set())
        if reason in said:
            return
        said.add(reason)
        is_pending = unit.status is UnitStatus.PENDING
        message = f"{unit.name} {evidence.wait_kind.waits() if is_pending else 'may not end by itself'}: {evidence}"
        fields = {"flow_run_id": unit.flow_run_id, "unit": unit.name, "reason": reason}
        if is_pending:
            fields["wait_kind"] = evidence.wait_kind.value
        self.tell(Event(name=events.UNIT_WAITS, level="WARNING", message=message, fields=fields))
        self.outbox.log(unit.flow_run_id, message, "WARNING")

    # --- what is stopped and removed ---

    def _stop_cancelled(self, alive: Sequence[Unit]) -> None:
        """Stop units of cancelled runs, and of runs that were deleted in the Cloud."""
        unread = {unit.flow_run_id for unit in alive if self.view.get(unit.flow_run_id) is None}
        found = {run.id for run in self._read(unread)}
        orphans = [unit for unit in alive if unit.flow_run_id in unread - found]
        if len(orphans) > 1 and len(orphans) == len(alive):
            self._doubt_deletions(orphans)
            orphans = []
        self._each(orphans, self._report_orphan, "report the deletion of the run of")
        self.stops.orphaned(orphans)
        known = (self.view.get(run_id) for run_id in {unit.flow_run_id for unit in alive})
        cancelled = [run for run in known if run is not None and (run.state.is_cancelling or run.state.is_cancelled)]
        self.stops.cancelled(cancelled, alive)

    def _stop_lingering(self, units: Sequence[Unit]) -> None:
        """Helpers go once their unit's end is reported: what explains it may go with them."""
        over = [unit for unit in units if unit.lingers and unit.name not in self._look_again]
        self.stops.lingering([unit for unit in over if self._is_free(unit.flow_run_id)])

    def _read(self, run_ids: set[FlowRunId]) -> Sequence[FlowRun]:
        found = self.cloud.flow_runs(run_ids) if run_ids else []
        self.view.correct(run_ids, found)
        return found

    def _doubt_deletions(self, orphans: Sequence[Unit]) -> None:
        """A Cloud that knows no run at all was more likely restored or emptied than tidied: nothing is stopped."""
        if {unit.name for unit in orphans} <= self._orphans_reported:
            return
        self._orphans_reported |= {unit.name for unit in orphans}
        message = (
            f"The Cloud knows none of the {len(orphans)} flow runs whose units execute here; nothing is stopped. Is it "
            "the right tenant, or was its database restored? End the units by hand if the runs were deleted on purpose"
        )
        self.tell(Event(name=events.UNIT_WAITS, level="WARNING", message=message))

    def _report_orphan(self, unit: Unit) -> None:
        if unit.name in self._orphans_reported:
            return
        self._orphans_reported.add(unit.name)
        message = (
            f"The flow run {unit.flow_run_id} was deleted in the Cloud, but its unit {unit.name} still executes; it is "
            f"stopped in {self.settings.cancel_grace:g} s"
        )
        fields = {"flow_run_id": unit.flow_run_id, "unit": unit.name}
        self.tell(Event(name=events.UNIT_WAITS, level="WARNING", message=message, fields=fields))

    def _remove_old(self, units: Sequence[Unit]) -> None:
        now, keep = self._platform_time(), self.settings.keep_ended
        if self.work.take_need_of_room() and keep is not None:
            keep = 0.0
        old = [
            unit
            for unit in units
            if unit.status.has_ended and unit.name in self._settled and removable(unit, now, keep)
        ]
        self._each(old, self._remove, "remove")

    def _remove(self, unit: Unit) -> None:
        self.platform.remove(unit.name)
        message, fields = f"Removed the ended unit {unit.name}", {"flow_run_id": unit.flow_run_id, "unit": unit.name}
        self.tell(Event(name=events.UNIT_REMOVED, level="DEBUG", message=message, fields=fields))

    def _each(self, units: Iterable[Unit], step: Callable[[Unit], None], doing: str) -> None:
        """Do *step* for each unit; an error of one is reported, and the others go on."""
        for unit in units:
            try:
                step(unit)
            except AgentError as problem:
                message, fields = f"Cannot {doing} the unit {unit.name}: {problem}", {"flow_run_id": unit.flow_run_id}
                self.tell(Event(name=events.PLATFORM_TROUBLE, level="WARNING", message=message, fields=fields))
            except Exception as bug:  # noqa: BLE001 - an adapter's bug on one unit must not stop the sweep of all
                message = f"Bug while trying to {doing} the unit {unit.name}: {bug!r}"
                self.tell(Event(name=events.BUG, level="ERROR", message=message))


def _ended(unit: Unit, run: FlowRun) -> Event:
    """What is said of a run that has ended."""
    fields: dict[str, object] = {**run.fields, "unit": unit.name, "state": f"{run.state.name}"}
    lasted = ""
    if unit.lasted is not None:
        fields["duration_s"], lasted = unit.lasted, f" after {span(timedelta(seconds=unit.lasted))}"
    message = f"Flow run {run.title} ended as {run.state.name}{lasted}"
    return Event(name=events.RUN_ENDED, message=message, fields=fields)

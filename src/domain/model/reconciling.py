"""Compare what the Cloud says with what the platform has, and decide. Pure: promises P2 and P7.

The sweep is level-triggered: nothing here depends on having seen an event. It reads claims first, then units, then the
runs of units that ended, vanished or cannot start, in this order: whatever a unit reported before is then part of what
is compared.
"""

from collections.abc import Collection, Iterable, Mapping
from datetime import datetime, timedelta

import attrs

from prefect.agent.domain.model.flow_runs import Claimed, FlowRun, FlowRunId, SimpleAttempt
from prefect.agent.domain.model.states import CANCELLING, SUBMITTED
from prefect.agent.domain.model.units import Unit, UnitStatus, unit_name


@attrs.frozen
class Recover:
    """Claimed for this platform, but there is no unit: create it again, by the same name."""

    claimed: Claimed


@attrs.frozen
class ReportFailed:
    """Nothing executes or will execute in the unit, and its run never will report."""

    unit: Unit
    reason: str


@attrs.frozen
class ReportCancelled:
    """The run is being cancelled and nothing of its unit executes (once a hopeless one is stopped)."""

    unit: Unit


@attrs.frozen
class LookAgain:
    """The unit ended well, yet its run is not finished: believe it only if the next sweep finds the same."""

    unit: Unit


@attrs.frozen
class Settled:
    """Nothing more is to be said about the unit; it may be removed once its keep time is over."""

    unit: Unit


Conclusion = ReportFailed | ReportCancelled | Settled
Verdict = Conclusion | LookAgain


def to_recover(claimed: Iterable[FlowRun], units: Iterable[Unit], in_hand: Collection[FlowRunId]) -> list[Recover]:
    """Claims without a unit that was ever started. Runs *in_hand* are being seen to by this very process."""
    names = {unit.name for unit in units if unit.status is not UnitStatus.CREATED}
    found = []
    for run in claimed:
        record = run.claim
        if record is None or record.unit in names or run.id in in_hand:
            continue
        as_claimed = attrs.evolve(run, attempt=SimpleAttempt(record.attempt))
        if unit_name(as_claimed.id, as_claimed.attempt) == record.unit:
            found.append(Recover(Claimed(as_claimed, record)))
    return found


def last_ended(units: Iterable[Unit]) -> list[Unit]:
    """For every run without a living unit: the unit that was made last. Earlier ones say nothing any more."""
    last: dict[FlowRunId, Unit] = {}
    alive = set()
    for unit in units:
        if not unit.status.has_ended:
            alive.add(unit.flow_run_id)
        elif unit.flow_run_id not in last or _age(unit) > _age(last[unit.flow_run_id]):
            last[unit.flow_run_id] = unit
    return [unit for run_id, unit in last.items() if run_id not in alive]


def judge(unit: Unit, run: FlowRun | None, *, seen_before: bool) -> Verdict | None:
    """What an ended unit means for its run; None: leave both alone for now.

    Args:
        unit: The last unit of the run; it has ended.
        run: As the Cloud has it, read after the unit; None if it does not exist (any more).
        seen_before: Whether the last sweep answered ``LookAgain`` for this unit.
    """
    if run is None or run.state.is_finished:
        return Settled(unit)
    if run.state.type == CANCELLING:
        return ReportCancelled(unit)
    if run.state.type == SUBMITTED:
        if _claimed_anew(run, unit):
            return None
        return ReportFailed(unit, f"{_ended(unit)} before the flow run reported anything")
    if run.state.is_running and not run.due_task_runs and not run.tasks_wait:
        if unit.status is UnitStatus.FAILED:
            return ReportFailed(unit, f"{_ended(unit)} while the flow run was Running")
        if seen_before:
            return ReportFailed(unit, f"{_ended(unit)}, but the flow run is still Running and none of its tasks waits")
        return LookAgain(unit)
    return None


def vanished(remembered: Iterable[Unit], units: Collection[Unit]) -> list[Unit]:
    """Of the units that lived at the last sweep, those that are absent now and have something to say."""
    names = {unit.name for unit in units}
    return decisive([unit for unit in remembered if unit.name not in names], units)


def judge_vanished(unit: Unit, run: FlowRun | None, *, recovers: bool) -> Conclusion:
    """What it means for a run that somebody deleted its unit.

    Args:
        unit: As it was when it was last seen alive; proven to be gone.
        run: As the Cloud has it, read after that proof; None if it does not exist (any more).
        recovers: Whether claims without a unit are started again: a Submitted run then is none of our business here.
    """
    deleted = f"The unit of execution {unit.name} was deleted by somebody"
    if run is None or run.state.is_finished:
        return Settled(unit)
    if run.state.type == CANCELLING:
        return ReportCancelled(unit)
    if run.state.type == SUBMITTED and not recovers and not _claimed_anew(run, unit):
        return ReportFailed(unit, f"{deleted} before the flow run reported anything")
    if run.state.is_running and not run.due_task_runs and not run.tasks_wait:
        return ReportFailed(unit, f"{deleted} while the flow run was Running")
    return Settled(unit)


def waiting(units: Iterable[Unit], now: datetime) -> list[Unit]:
    """Units that wait to start, say what for, and may still get it."""
    return [
        unit
        for unit in units
        if unit.status is UnitStatus.PENDING and unit.evidence is not None and not is_hopeless(unit, now)
    ]


def is_hopeless(unit: Unit, now: datetime) -> bool:
    """Whether the unit waits for a start that will not come."""
    return unit.status is UnitStatus.PENDING and unit.hopeless_at is not None and unit.hopeless_at <= now


def hopeless(units: Iterable[Unit], now: datetime) -> list[Unit]:
    """Units that wait for a start that will not come."""
    return [unit for unit in units if is_hopeless(unit, now)]


def judge_hopeless(unit: Unit, run: FlowRun | None, *, is_decisive: bool) -> Conclusion:
    """What is to be said of a unit that cannot start, once it is stopped; it is to be stopped whatever the answer.

    Args:
        unit: It is hopeless.
        run: As the Cloud has it, read after the unit; None if it does not exist (any more).
        is_decisive: Whether the run has no other unit that will or may speak for it; see :func:`decisive`.
    """
    if run is None or run.state.is_finished or not is_decisive:
        return Settled(unit)
    if run.state.type == CANCELLING:
        return ReportCancelled(unit)
    if run.state.is_running or (run.state.type == SUBMITTED and not _claimed_anew(run, unit)):
        reason = f"The unit of execution {unit.name} could not start ({unit.evidence or 'no evidence'})"
        return ReportFailed(unit, reason)
    return Settled(unit)


def decisive(some: Collection[Unit], units: Iterable[Unit]) -> list[Unit]:
    """Of *some*, the last of each run; none of a run of which others of all *units* live or were made later."""
    last: dict[FlowRunId, Unit] = {}
    for unit in some:
        if unit.flow_run_id not in last or _age(unit) > _age(last[unit.flow_run_id]):
            last[unit.flow_run_id] = unit
    names = {unit.name for unit in some}
    for other in units:
        unit_of_run = last.get(other.flow_run_id)
        if unit_of_run is None or other.name in names:
            continue
        if not other.status.has_ended or _age(other) > _age(unit_of_run):
            del last[other.flow_run_id]
    return list(last.values())


def removable(unit: Unit, now: datetime, keep: float | None) -> bool:
    """Whether an ended unit has been kept long enough, *keep* seconds; one without an end time counts as old.

    None keeps it for ever.
    """
    return keep is not None and (unit.ended_at is None or now - unit.ended_at >= timedelta(seconds=keep))


def overdue(cancelled: Iterable[FlowRun], since: Mapping[FlowRunId, float], now: float, grace: float) -> list[FlowRun]:
    """Of the cancelled runs whose units still live, those whose *grace* seconds are over."""
    return [run for run in cancelled if now - since.get(run.id, now) >= grace]


def _claimed_anew(run: FlowRun, unit: Unit) -> bool:
    """Whether the run's present claim has, or will have, another unit."""
    return run.claim is not None and run.claim.unit != unit.name


def _age(unit: Unit) -> float:
    moment = unit.created_at or unit.ended_at
    return moment.timestamp() if moment else 0.0


def _ended(unit: Unit) -> str:
    return f"The unit of execution {unit.name} ended ({unit.evidence or 'no evidence'})"

"""Rules that compare what the Cloud says with what the platform has, and decide. Pure: promises P2 and P7.

The sweep is level-triggered: nothing here depends on having seen an event. It reads claims first, then units, then the
runs of units that ended, vanished or cannot start, in this order: whatever a unit reported before is then part of what
is compared. A run belongs to the unit named in the latest claim of its history; no other unit speaks for it.
"""

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta

import attrs

from prefect.agent.domain.model.ends import EndKind
from prefect.agent.domain.model.flow_runs import FlowRun, FlowRunId, SimpleAttempt
from prefect.agent.domain.model.giving_up import unit_not_started
from prefect.agent.domain.model.leases import waits_for_its_unit
from prefect.agent.domain.model.units import Unit, UnitStatus, unit_name


@attrs.frozen
class ReportFailed:
    """The verdict is to report the run Failed: nothing executes or will execute in the unit to report an end itself.

    Attributes:
        lease: Set if the unit may be created again by an agent that takes the claim over; see ``End.lease``.
    """

    unit: Unit
    reason: str
    lease: str = ""


@attrs.frozen
class ReportCancelled:
    """The verdict is to report the run Cancelled: nothing of its unit executes (once a hopeless one is stopped)."""

    unit: Unit


@attrs.frozen
class LookAgain:
    """The verdict is to wait: the unit ended well, but its run is not finished.

    Act only if the next sweep finds the same.
    """

    unit: Unit


@attrs.frozen
class Settled:
    """The verdict is that nothing is to be reported; the unit may be removed once its keep time is over."""

    unit: Unit


Conclusion = ReportFailed | ReportCancelled | Settled
Verdict = Conclusion | LookAgain


def own(units: Iterable[Unit], cloud: str) -> list[Unit]:
    """Return the units that carry the mark of *cloud* (``Owner.cloud``). All others are only read."""
    return [unit for unit in units if unit.owner is not None and unit.owner.cloud == cloud]


def without_unit(claimed: Iterable[FlowRun], units: Iterable[Unit]) -> list[FlowRun]:
    """Return runs whose latest claim has no unit.

    A unit that was made but never started counts as none while the run waits.

    Args:
        units: All units of the platform, whatever their owner.
    """
    status = {unit.name: unit.status for unit in units}
    found = []
    for run in claimed:
        there = status.get(run.claim.unit) if run.claim is not None else None
        if there is None or (there is UnitStatus.CREATED and waits_for_its_unit(run)):
            found.append(run)
    return found


def is_plausible(run: FlowRun) -> bool:
    """Return whether the record names its unit as this product does; no other unit is created from a record."""
    record = run.claim
    return record is not None and unit_name(run.id, SimpleAttempt(record.attempt)) == record.unit


def judge(unit: Unit, run: FlowRun | None, *, seen_before: bool) -> Verdict | None:
    """Judge what an ended unit means for its run; None leaves both alone for now.

    Args:
        unit: A unit that has ended.
        run: The run as the Cloud has it, read after the unit; None if it does not exist (any more).
        seen_before: Whether the previous sweep answered ``LookAgain`` for this unit.
    """
    if run is None or not speaks_for(unit, run):
        return Settled(unit)
    if run.state.is_cancelling:
        return None if unit.lingers else ReportCancelled(unit)
    if run.state.is_claimed:
        return ReportFailed(unit, f"{_ended(unit)} before the flow run reported anything")
    if run.state.is_running and not _is_awaited(run):
        if unit.status is UnitStatus.FAILED:
            return ReportFailed(unit, f"{_ended(unit)} while the flow run was {run.state.name}")
        if seen_before:
            reason = f"{_ended(unit)}, but the flow run is still {run.state.name} and none of its tasks waits"
            return ReportFailed(unit, reason)
        return LookAgain(unit)
    return None


def speaks_for(unit: Unit, run: FlowRun) -> bool:
    """Return whether the run is not over and its latest claim names the unit."""
    return not run.state.is_finished and run.claim is not None and run.claim.unit == unit.name


def judge_absent(run: FlowRun) -> tuple[EndKind, str] | None:
    """Judge what the proven absence of the unit of a run's latest claim means for the run; None means nothing yet.

    None also for a claim that waits for its unit; ``leases.judge_lease`` decides about those.
    """
    if run.claim is None or run.state.is_finished or waits_for_its_unit(run):
        return None
    message = f"The unit of execution {run.claim.unit} does not exist any more"
    if run.state.is_cancelling:
        return EndKind.CANCELLED, message
    if run.state.is_running and not _is_awaited(run):
        return EndKind.FAILED, f"{message}, and the flow run was still {run.state.name}: it was deleted externally"
    return None


def vanished(remembered: Iterable[Unit], units: Iterable[Unit]) -> list[Unit]:
    """Return the units alive at the previous sweep that are missing now."""
    names = {unit.name for unit in units}
    return [unit for unit in remembered if unit.name not in names]


def judge_vanished(unit: Unit, run: FlowRun | None) -> Conclusion:
    """Judge what it means for a run that a unit which was observed alive was deleted externally.

    Args:
        unit: The unit as it was last observed alive; it is proven to be gone.
        run: The run as the Cloud has it, read after that proof; None if it does not exist (any more).
    """
    deleted = f"The unit of execution {unit.name} was deleted externally"
    if run is None or not speaks_for(unit, run):
        return Settled(unit)
    if run.state.is_cancelling:
        return ReportCancelled(unit)
    if run.state.is_claimed and run.claim is not None:
        return ReportFailed(unit, f"{deleted} before the flow run reported anything", run.claim.lease)
    if run.state.is_running and not _is_awaited(run):
        return ReportFailed(unit, f"{deleted} while the flow run was {run.state.name}")
    return Settled(unit)


def waiting(units: Iterable[Unit], now: datetime) -> list[Unit]:
    """Return units that wait to start, say what for, and may still get it; and running ones that may not end well."""
    begun = {UnitStatus.PENDING, UnitStatus.RUNNING}
    return [unit for unit in units if unit.status in begun and unit.evidence is not None and not is_hopeless(unit, now)]


def is_hopeless(unit: Unit, now: datetime) -> bool:
    """Return whether the unit waits for a start that will not come."""
    return unit.status is UnitStatus.PENDING and unit.hopeless_at is not None and unit.hopeless_at <= now


def hopeless(units: Iterable[Unit], now: datetime) -> list[Unit]:
    """Return the units that wait for a start that will not come."""
    return [unit for unit in units if is_hopeless(unit, now)]


def judge_hopeless(unit: Unit, run: FlowRun | None) -> Conclusion:
    """Judge what to report of a unit that cannot start, once it is stopped; it is to be stopped whatever the answer.

    Args:
        unit: A hopeless unit.
        run: The run as the Cloud has it, read after the unit; None if it does not exist (any more).
    """
    if run is None or not speaks_for(unit, run):
        return Settled(unit)
    if run.state.is_cancelling:
        return ReportCancelled(unit)
    if run.state.is_running or run.state.is_claimed:
        return ReportFailed(unit, unit_not_started(unit.name, unit.evidence))
    return Settled(unit)


def removable(unit: Unit, now: datetime, keep: float | None) -> bool:
    """Return whether an ended unit has been kept for *keep* seconds; one without an end time counts as old.

    If *keep* is None, the unit is kept for ever.
    """
    return keep is not None and (unit.ended_at is None or now - unit.ended_at >= timedelta(seconds=keep))


def overdue(cancelled: Iterable[FlowRun], since: Mapping[FlowRunId, float], now: float, grace: float) -> list[FlowRun]:
    """Return the cancelled runs whose units still live although their *grace* seconds are over."""
    return [run for run in cancelled if now - since.get(run.id, now) >= grace]


def _is_awaited(run: FlowRun) -> bool:
    """Return whether a Running run is not over although nothing executes it: task runs wait for their next try.

    Task runs that are claimed already wait for the unit of the run's latest claim, and end with it.
    """
    return bool(run.due_task_runs) or run.tasks_wait


def _ended(unit: Unit) -> str:
    return f"The unit of execution {unit.name} ended ({unit.evidence or 'no evidence'})"

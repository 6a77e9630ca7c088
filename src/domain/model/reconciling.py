"""Compare what the Cloud says with what the platform has, and decide. Pure: promises P2 and P7.

The sweep is level-triggered: nothing here depends on having seen an event. It reads claims first, then units, then the
runs of ended units, in this order: whatever a unit reported before it ended is then part of what is compared.
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
    """The unit ended and its run never will report."""

    unit: Unit
    reason: str


@attrs.frozen
class ReportCancelled:
    """The run was being cancelled and its unit has ended."""

    unit: Unit


@attrs.frozen
class LookAgain:
    """The unit ended well, yet its run is not finished: believe it only if the next sweep finds the same."""

    unit: Unit


@attrs.frozen
class Settled:
    """Nothing more is to be said about the unit; it may be removed once its keep time is over."""

    unit: Unit


Verdict = ReportFailed | ReportCancelled | LookAgain | Settled


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
        if run.claim is not None and run.claim.unit != unit.name:
            return None  # claimed anew; that claim has a unit of its own
        return ReportFailed(unit, f"{_ended(unit)} before the flow run reported anything")
    if run.state.is_running and not run.due_task_runs and not run.tasks_wait:
        if unit.status is UnitStatus.FAILED:
            return ReportFailed(unit, f"{_ended(unit)} while the flow run was Running")
        if seen_before:
            return ReportFailed(unit, f"{_ended(unit)}, but the flow run is still Running and none of its tasks waits")
        return LookAgain(unit)
    return None


def removable(unit: Unit, now: datetime, keep: float) -> bool:
    """Whether an ended unit has been kept long enough, *keep* seconds; one without an end time counts as old."""
    return unit.ended_at is None or now - unit.ended_at >= timedelta(seconds=keep)


def overdue(cancelled: Iterable[FlowRun], since: Mapping[FlowRunId, float], now: float, grace: float) -> list[FlowRun]:
    """Of the cancelled runs whose units still live, those whose *grace* seconds are over."""
    return [run for run in cancelled if now - since.get(run.id, now) >= grace]


def _age(unit: Unit) -> float:
    moment = unit.created_at or unit.ended_at
    return moment.timestamp() if moment else 0.0


def _ended(unit: Unit) -> str:
    return f"The unit of execution {unit.name} ended ({unit.evidence or 'no evidence'})"

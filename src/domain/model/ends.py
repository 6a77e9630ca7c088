"""Ends of flow runs that their units did not report, and the fence that ties each end to its claim. Pure."""

import enum
from datetime import datetime, timedelta
from typing import Final

import attrs

from prefect.agent.domain.model.flow_runs import ClaimRecord, FlowRun, FlowRunId

HANDED_BACK_FOR: Final = timedelta(minutes=1)
"""How long a run that is handed back waits at least, so that agents do not pass it on without a pause."""


class EndKind(enum.Enum):
    """An end makes its flow run Failed, Cancelled or waiting again."""

    FAILED = "failed"
    """The run becomes Failed."""

    CANCELLED = "cancelled"
    """A Cancelling run becomes Cancelled: nothing of its unit executes."""

    HANDED_BACK = "handed_back"
    """A claim without a unit is given up: the run waits to be claimed again."""


@attrs.frozen(kw_only=True)
class End:
    """An end reports the outcome of one claim.

    Attributes:
        unit: Name of the unit of the claim that this end speaks for (``ClaimRecord.unit``).
        message: For people; the state's message.
        lease: ``ClaimRecord.lease`` of the holder, for an end that is about the claim itself (not started, handed
            back): the end is void once another agent has taken the claim over. Empty for an end that is about the
            unit: its claimant does not matter.
        lasted: For how many seconds the unit executed; None if that is not known.
        counts: Whether handing the claim back counts as a recovery; the number of recoveries is limited.
    """

    run_id: FlowRunId
    unit: str
    kind: EndKind
    message: str
    lease: str = ""
    counts: bool = True
    lasted: float | None = None


class EndVerdict(enum.Enum):
    """The Cloud's answer to an end, as the agent understands it."""

    SETTLED = "settled"
    """The Cloud has confirmed it: read back, the run is as the end wants it, or it was over already."""

    NOT_OURS = "not_ours"
    """The run belongs to another claim by now, or does not exist: there is nothing to report."""

    REFUSED = "refused"
    """The Cloud calls the request itself wrong. Try again later, behind all others."""

    UNKNOWN = "unknown"
    """Not confirmed: no answer, an error of the Cloud, or another state than expected was read back. Try again."""


@attrs.frozen(kw_only=True)
class EndOutcome:
    """The verdict about one end; *reason* says why it is not settled."""

    verdict: EndVerdict
    reason: str = ""


def judge_end(end: End, run: FlowRun | None) -> EndVerdict | None:
    """Return whether *end* is settled or void; None if it is still to be carried out.

    Args:
        run: The run as the Cloud has it now; None if it does not exist.
    """
    if run is None:
        return EndVerdict.NOT_OURS
    if run.state.is_finished:
        return EndVerdict.SETTLED
    if run.claim is None or run.claim.unit != end.unit:
        return EndVerdict.SETTLED if end.kind is EndKind.HANDED_BACK and run.claim is None else EndVerdict.NOT_OURS
    if end.lease and run.claim.lease != end.lease:
        return EndVerdict.NOT_OURS
    if end.kind is EndKind.CANCELLED and not run.state.is_cancelling:
        return EndVerdict.NOT_OURS
    if end.kind is EndKind.HANDED_BACK and not run.state.is_claimed and not run.claimed_task_runs:
        return EndVerdict.NOT_OURS
    return None


def waits_until(due: datetime | None, now: datetime) -> datetime:
    """Return the time for which a run waits that is handed back *now*; *due* is when it was due before its claim."""
    earliest = now + HANDED_BACK_FOR
    return max(due or earliest, earliest)


def recoveries_after(end: End, record: ClaimRecord | None) -> int:
    """Return how many recoveries a run counts once the claim of *record* is handed back by *end*."""
    return int(end.counts) + (record.recoveries if record else 0)

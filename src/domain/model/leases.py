"""The lease of a claim says who may create its unit, and until when. Pure.

A claimant may create the unit of its claim until the record's ``create_until``; later only after it has read the run
again. Another agent may take the claim over once the claimant is proven gone or that time is past, and only if it would
make the same unit. What no agent takes over is handed back, and given up after several rounds.
"""

import enum
import hashlib
import json
from collections.abc import Collection, Mapping
from datetime import datetime, timedelta
from typing import Final

import attrs

from prefect.agent.domain.model.flow_runs import ClaimRecord, FlowRun

MOST_RECOVERIES: Final = 5
"""How often one claim is recovered or handed back before its run fails: its unit does not last."""

PAUSES: Final = tuple(timedelta(seconds=seconds) for seconds in (0, 30, 60, 120, 300))
"""How long after the n-th recovery of a claim the next one may come."""

GRACE: Final = timedelta(seconds=30)
"""How long an expired claim is left for a sibling that may recover it, before it is handed back: one sweep."""

LATE: Final = timedelta(hours=1)
"""How long after its lease a claim of an agent that starts flow runs in its own way may wait without a report."""


@attrs.frozen(kw_only=True)
class Claimant:
    """An agent process as it describes itself in the records of its claims.

    Attributes:
        id: Unique to the process.
        platform: Identity of its platform.
        aliases: Older identities of the same platform.
    """

    id: str
    platform: str
    agent_name: str = "agent"
    place: str = ""
    fingerprint: str = ""
    aliases: tuple[str, ...] = ()

    @property
    def platforms(self) -> tuple[str, ...]:
        """Return all identities of its platform, the present one first."""
        return (self.platform, *self.aliases)


class LeaseVerdict(enum.Enum):
    """The decision about a claim that has no unit."""

    LEAVE = "leave"
    """Its claimant may still create the unit, or another agent may recover it, or the next try is not due yet."""

    RECOVER = "recover"
    """Take the claim over, then create the unit."""

    HAND_BACK = "hand_back"
    """Expired, and no agent has recovered it: let the run wait again."""

    GIVE_UP = "give_up"
    """Recovered or handed back too often, or it is not known whether the run was started: the run fails."""


def fingerprint(labels: Collection[str], env: Mapping[str, str], platform: str) -> str:
    """Return a short hash of everything that shapes an agent's units: equal for agents that would make the same unit.

    Args:
        env: Variables that the agent gives to every flow run.
        platform: The platform's own part, ``ExecutionPlatform.fingerprint``.
    """
    words = json.dumps([sorted(labels), sorted(env.items()), platform])
    return hashlib.sha256(words.encode(errors="surrogatepass")).hexdigest()[:16]


def new_record(run: FlowRun, unit: str, claimant: Claimant, *, now: datetime, create_within: timedelta) -> ClaimRecord:
    """Return the record of a first claim of *run* (times are the Cloud's)."""
    return ClaimRecord(
        claimant=claimant.id,
        platform=claimant.platform,
        unit=unit,
        attempt=str(run.attempt),
        agent_name=claimant.agent_name,
        place=claimant.place,
        fingerprint=claimant.fingerprint,
        claimed_at=now,
        create_until=now + create_within,
        recoveries=run.recoveries,
    )


def taken_over(record: ClaimRecord, claimant: Claimant, *, now: datetime, create_within: timedelta) -> ClaimRecord:
    """Return the record of a recovery: the same unit and attempt, another claimant."""
    return attrs.evolve(
        record,
        claimant=claimant.id,
        platform=claimant.platform,
        agent_name=claimant.agent_name,
        place=claimant.place,
        fingerprint=claimant.fingerprint,
        claimed_at=now,
        create_until=now + create_within,
        recoveries=record.recoveries + 1,
    )


def waits_for_its_unit(run: FlowRun) -> bool:
    """Return whether the unit of the run's latest claim is still to be created."""
    return run.claim is not None and (run.state.is_claimed or bool(run.claimed_task_runs))


def is_expired(record: ClaimRecord, now: datetime) -> bool:
    """Return whether the lease is over, so that the claimant must read the run again before it creates the unit."""
    return _is_past(record, now, timedelta(0))


def judge_lease(
    record: ClaimRecord,
    me: Claimant,
    now: datetime,
    *,
    claimant_is_gone: bool,
    recovers: bool,
    sees_units: bool = True,
) -> LeaseVerdict:
    """Decide about a claim without a unit that this process is not working on.

    Args:
        record: Of the run's latest claim.
        me: This process.
        now: The Cloud's time.
        claimant_is_gone: Whether the claimant's process is proven gone.
        recovers: Whether this agent's claims without a unit may be started again.
        sees_units: Whether what was started for a claim shows as a unit of the platform.
    """
    if not (recovers and sees_units):
        # A living claimant may have started the run: in a batch system, say, where it waits longer than the lease.
        # The claim of an agent that knew no leases cannot be dated; it is left alone as it was then.
        patience = timedelta(0) if claimant_is_gone else LATE
        is_late = record.create_until is not None and _is_past(record, now, patience)
        if not (is_late and recovers):
            return LeaseVerdict.GIVE_UP if is_late else LeaseVerdict.LEAVE
    if not (claimant_is_gone or record.claimant == me.id or is_expired(record, now)):
        return LeaseVerdict.LEAVE
    if record.recoveries >= MOST_RECOVERIES:
        return LeaseVerdict.GIVE_UP if _pause_is_over(record, now) else LeaseVerdict.LEAVE
    if record.fingerprint in {"", me.fingerprint}:
        return LeaseVerdict.RECOVER if _pause_is_over(record, now) else LeaseVerdict.LEAVE
    return LeaseVerdict.HAND_BACK if _is_past(record, now, GRACE) else LeaseVerdict.LEAVE


def _is_past(record: ClaimRecord, now: datetime, patience: timedelta) -> bool:
    """Return whether the lease ended at least *patience* ago."""
    return record.create_until is None or now >= record.create_until + patience


def _pause_is_over(record: ClaimRecord, now: datetime) -> bool:
    pause = PAUSES[min(record.recoveries, len(PAUSES) - 1)]
    return record.claimed_at is None or now >= record.claimed_at + pause

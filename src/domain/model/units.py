"""Units of execution: their names, their owners, their status and their ends."""

import enum
import hashlib
import json
import re
from collections.abc import Collection
from datetime import datetime
from typing import Final

import attrs

from prefect.agent.domain.model.flow_runs import Attempt, FlowRunId
from prefect.agent.domain.wait_kinds import WaitKind

UNIT_NAME_LIMIT: Final = 63
"""Longest DNS-1123 label (RFC 1123 section 2.1), the strictest rule of any platform."""

SIGNAL_CODES: Final = range(129, 193)
"""Exit codes that say which signal ended a process: 128 and its number, as a shell says it."""

_NOT_IN_A_NAME: Final = re.compile(r"[^a-z0-9]+")


def unit_name(run_id: FlowRunId, attempt: Attempt) -> str:
    """Return the name of the unit of execution for one attempt at one flow run: promise P1.

    A pure function, equal in every agent. The result is a DNS-1123 label of at most 63 characters. Ids that had to be
    altered to fit get a hash of the original, so that two different pairs never share a name.
    """
    slug = _NOT_IN_A_NAME.sub("-", f"prefect-{run_id}-{attempt}".lower()).strip("-")
    if slug == f"prefect-{run_id}-{attempt}" and len(slug) <= UNIT_NAME_LIMIT and _is_uuid(run_id):
        return slug
    digest = hashlib.sha256(json.dumps([run_id, str(attempt)]).encode()).hexdigest()[:12]
    return f"{slug[: UNIT_NAME_LIMIT - 13].strip('-')}-{digest}"


def _is_uuid(text: str) -> bool:
    """Return whether the id is a UUID: its length is fixed, so id and attempt cannot run into each other."""
    return re.fullmatch(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", text) is not None


@attrs.frozen(kw_only=True)
class Owner:
    """An owner consists of two marks. Platforms keep both with the unit and return them; they do not read them.

    Attributes:
        cloud: Mark of the Cloud and tenant: only units with the own one are judged, stopped and removed.
        agent: Mark of the agent by name and labels: what ``--limit`` counts.
    """

    cloud: str = attrs.field(validator=attrs.validators.matches_re(r"[0-9a-z]{1,32}"))
    agent: str = attrs.field(validator=attrs.validators.matches_re(r"[0-9a-z]{1,32}"))


def owner(cloud_identity: str, agent_name: str, labels: Collection[str]) -> Owner:
    """Return the marks of an agent's units: letters and digits that every platform takes as a label's value."""
    return Owner(cloud=_mark(cloud_identity), agent=_mark(agent_name, *sorted(labels)))


def _mark(*words: str) -> str:
    return hashlib.sha256(json.dumps(words).encode()).hexdigest()[:16]


class UnitStatus(enum.Enum):
    """The status says where a unit of execution is in its life."""

    CREATED = "created"
    """Created but never started: its creator stopped in between. Creating it again starts it."""

    PENDING = "pending"
    """Accepted by the platform, not executing yet (image pull, scheduling)."""

    RUNNING = "running"
    SUCCEEDED = "succeeded"
    """Ended by itself with exit code 0. Says nothing of the flow run: a flow that fails exits 0 (protocol 11.4)."""

    FAILED = "failed"
    """Ended in any other way; the evidence says how."""

    @property
    def has_ended(self) -> bool:
        """Return whether nothing of the unit executes any more."""
        return self in {UnitStatus.SUCCEEDED, UnitStatus.FAILED}


@attrs.frozen(kw_only=True)
class Evidence:
    """Evidence says how a unit ended, or what it waits for, in terms that a person can act on.

    Attributes:
        exit_code: Exit code of the unit's main process, if it had one.
        reason: The platform's own word, if it has one, for people: ``OOMKilled``, ``ImagePullBackOff``. Never compared
            with anything, except to tell one wait of a unit from the next.
        message: A sentence.
        wait_kind: What a unit that has not started waits for; set by the adapter that reads it.
        remedies: What to do about the wait in the platform's own words, for example a command; one of them is enough.
            They stand in place of ``wait_kind.remedies``, which are said if there are none.

    Raises:
        TypeError: The kind is not a :class:`WaitKind`.
    """

    exit_code: int | None = None
    reason: str = ""
    message: str = ""
    wait_kind: WaitKind = attrs.field(default=WaitKind.UNKNOWN, validator=attrs.validators.instance_of(WaitKind))
    remedies: tuple[str, ...] = ()

    @classmethod
    def of_exit_code(cls, code: int, *, reason: str = "", message: str = "") -> "Evidence":
        """Return the evidence of an exit code: none for 0, the signal for 128 and a signal's number, else an error.

        Args:
            reason: The platform's own word, if it has one that says more than ``Error``.
            message: The platform's own sentence, if it has one.
        """
        if code in SIGNAL_CODES:
            return cls(exit_code=code, reason="Killed", message=message or f"ended by signal {code - 128}")
        return cls(exit_code=code, reason=(reason or "Error") if code else "", message=message)

    @property
    def what_to_do(self) -> tuple[str, ...]:
        """What to do about the wait: in the platform's words if it has any, else in those of the kind."""
        return self.remedies or self.wait_kind.remedies

    def __str__(self) -> str:
        parts = [
            self.reason,
            self.message,
            "" if self.exit_code is None else f"exit code {self.exit_code}",
        ]
        return ", ".join(part for part in parts if part) or "no evidence"


@attrs.frozen(kw_only=True)
class Unit:
    """A unit of execution as its platform describes it now.

    Attributes:
        id: The platform's own handle (container id, Job uid, pid); empty if the name is all there is.
        info: Text about the unit for the run's log, for example ``Container ID: 3f9c``.
        evidence: How the unit ended. For a pending unit, what it waits for; for a running one, what threatens it, if
            the platform says so.
        hopeless_at: For a pending unit, the time (aware, UTC) from which no start is expected; None if there is none.
        ended_at: When it ended (aware, UTC), if it has and the platform remembers.
        owner: The marks that the unit carries; None if it carries none.
        lingers: For an ended unit, whether helpers beside its main process still execute; ``stop`` ends them.
    """

    name: str
    flow_run_id: FlowRunId
    attempt: str
    status: UnitStatus
    id: str = ""
    info: str = ""
    evidence: Evidence | None = None
    created_at: datetime | None = None
    ended_at: datetime | None = None
    hopeless_at: datetime | None = None
    owner: Owner | None = None
    lingers: bool = False

    @property
    def lasted(self) -> float | None:
        """For how many seconds it executed; None if it has not ended, or the platform does not remember."""
        if self.created_at is None or self.ended_at is None:
            return None
        return round(max(0.0, (self.ended_at - self.created_at).total_seconds()), 3)

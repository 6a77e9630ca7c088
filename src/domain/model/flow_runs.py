"""A flow run as the agent last read it, and the outcomes of claiming it."""

import abc
from collections.abc import Mapping
from datetime import datetime
from typing import Any, NewType

import attrs

from prefect.agent.domain.model.run_configs import RunConfig, Storage, UniversalRun, frozen_mapping
from prefect.agent.domain.model.run_titles import title
from prefect.agent.domain.model.states import State
from prefect.agent.domain.texts import readable_name

FlowRunId = NewType("FlowRunId", str)
TaskRunId = NewType("TaskRunId", str)


class Attempt(abc.ABC):
    """One attempt at executing a flow run, as the backend tells attempts apart. Opaque to the domain.

    ``str(attempt)`` is short, stable across agents and processes, and differs between two attempts of one run: unit
    names are made from it. Comparable and hashable. What else it carries (a version number, a row id) is the
    adapter's business.
    """

    __slots__ = ()

    @abc.abstractmethod
    def __str__(self) -> str: ...


@attrs.frozen
class SimpleAttempt(Attempt):
    """An attempt that is nothing but its name. For platforms that only ever read it back, and for tests."""

    name: str

    def __str__(self) -> str:
        return self.name


@attrs.frozen(kw_only=True)
class Flow:
    """A flow is a registered workflow; every flow run executes one.

    Attributes:
        image: The image of the environment of a flow that has no run config, as before 0.15; None if it names none.
    """

    id: str
    name: str = attrs.field(default="", converter=readable_name)
    core_version: str | None = None
    storage: Storage = Storage()
    image: str | None = None


@attrs.frozen(kw_only=True)
class TaskRun:
    """A task run of a Running flow run that is due again (protocol section 4.4)."""

    id: TaskRunId
    attempt: Attempt
    state: State


@attrs.frozen(kw_only=True)
class ClaimRecord:
    """The record says which agent claimed a flow run, and until when: the lease.

    It is kept in the Submitted state's context.

    A run belongs to the claim named in the latest Submitted state of its history. Times are the Cloud's.

    Attributes:
        claimant: Unique to one agent process: name and a random part.
        platform: Identity of the execution platform, as ``ExecutionPlatform.identity`` gives it.
        unit: Name of the unit of execution that the claimant will create, or has. It names the claim, too.
        attempt: ``str()`` of the attempt that was claimed.
        agent_name: For people.
        place: Where the claimant executes, as ``Presence.place`` gives it; empty if unknown.
        fingerprint: Hash of everything that shapes the claimant's units; see ``leases.fingerprint``.
        claimed_at: When the claim, or its latest recovery, was made (aware, UTC); None in records of older agents.
        create_until: End of the lease (aware, UTC): until then the claimant may create the unit without reading
            the run again.
        recoveries: How often the run was recovered: its unit created again, or the run handed back.
    """

    claimant: str
    platform: str
    unit: str
    attempt: str
    agent_name: str = ""
    place: str = ""
    fingerprint: str = ""
    claimed_at: datetime | None = None
    create_until: datetime | None = None
    recoveries: int = 0

    @property
    def lease(self) -> str:
        """Return a text that names the holder of the claim and its term: it changes with each recovery."""
        return f"{self.claimant}/{self.recoveries}"


@attrs.frozen(kw_only=True)
class FlowRun:
    """A flow run as the agent last read it from the Cloud.

    Attributes:
        attempt: The attempt that a claim is compared with; see :class:`Attempt`.
        due_task_runs: Only for a Running run: its task runs that wait to be started again and are due.
        tasks_wait: Whether any of its task runs waits to be started, due or not: the run is not over, though nothing
            may be executing it.
        claimed_task_runs: Only for a Running run: its task runs that are Submitted, for a recovery to claim again.
        claim: The record of the latest claim in the run's history, whatever its state is now; None if that claim
            carries no record of ours (another product made it), or the run was scheduled again since.
        recoveries: How often earlier claims of the run were recovered or handed back, if a waiting state says so.
        source: The backend's own row, for subclasses of ``Agent`` written against 1.x. Never read by the domain.
    """

    id: FlowRunId
    attempt: Attempt
    state: State
    flow: Flow
    name: str = attrs.field(default="", converter=readable_name)
    run_config: RunConfig = UniversalRun()
    due_task_runs: tuple[TaskRun, ...] = ()
    tasks_wait: bool = False
    claimed_task_runs: tuple[TaskRun, ...] = ()
    claim: ClaimRecord | None = None
    recoveries: int = 0
    source: Mapping[str, Any] = attrs.field(factory=dict, converter=frozen_mapping, eq=False, repr=False)

    @property
    def title(self) -> str:
        """Return flow, name and id, for people."""
        return title(self.id, self.flow.name, self.name)

    @property
    def fields(self) -> dict[str, str]:
        """Return the fields of an event that identify this run."""
        return {"flow_run_id": self.id, "flow_run_name": self.name, "flow_name": self.flow.name}

    @property
    def claimable_task_runs(self) -> tuple[TaskRun, ...]:
        """Return the task runs that a claim of this run takes: those due, else those to be claimed over.

        Empty if a claim takes the run itself.
        """
        return self.due_task_runs or self.claimed_task_runs

    @property
    def due(self) -> datetime | None:
        """Return when the run is to start (aware, UTC); None means now."""
        return self.state.start_time


# --- outcomes of a claim: expected answers, not errors ---


@attrs.frozen
class Claimed:
    """The run is ours: it is Submitted, and *record* says so in the Cloud."""

    run: FlowRun
    record: ClaimRecord


@attrs.frozen
class Lost:
    """Another agent was first, or the run moved on. This is normal; forget the run."""

    run: FlowRun


@attrs.frozen
class Deferred:
    """The Cloud defers the claim (a concurrency limit), or gave no clear answer.

    Forget the run as it was read: it is offered again.

    Attributes:
        until: Earliest time of the next claim, if the Cloud named one.
    """

    run: FlowRun
    until: datetime | None = None
    message: str = ""


@attrs.frozen
class Refused:
    """The Cloud calls this claim invalid. The run is left alone: an agent ends only runs that it has claimed."""

    run: FlowRun
    reason: str


ClaimOutcome = Claimed | Lost | Deferred | Refused

"""Values that many unit tests need, and a clock that only moves when it is told to."""

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta, timezone
from typing import Any

import attrs

from prefect.agent.adapters.phases import named_state
from prefect.agent.domain.model.flow_runs import (
    ClaimRecord,
    Flow,
    FlowRun,
    FlowRunId,
    SimpleAttempt,
    TaskRun,
    TaskRunId,
)
from prefect.agent.domain.model.run_configs import RunConfig, Storage, UniversalRun
from prefect.agent.domain.model.units import Evidence, Owner, Unit, UnitStatus, unit_name
from prefect.agent.ports.clock import Clock, Wake
from prefect.agent.ports.events import Event

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=timezone.utc)

OWNER = Owner(cloud="c1", agent="a1")
"""Marks of the units that these tests call their own."""

CLAIMED_STATES = frozenset({"Submitted", "Running", "Cancelling"})
"""Types of states in which :func:`a_run` has a claim."""


def an_id(number: int = 1) -> FlowRunId:
    """A UUID that shows its number."""
    return FlowRunId(f"00000000-0000-4000-8000-{number:012d}")


def a_run(
    number: int = 1,
    *,
    state: str = "Scheduled",
    attempt: str = "1",
    due: datetime | None = None,
    run_config: RunConfig | None = None,
    storage: Storage | None = None,
    waiting_tasks: int = 0,
    claim: ClaimRecord | None = None,
    source: Mapping[str, Any] | None = None,
) -> FlowRun:
    """A flow run. One in a state of CLAIMED_STATES belongs to the claim of its attempt unless *claim* says else."""
    run = FlowRun(
        id=an_id(number),
        name=f"run-{number}",
        attempt=SimpleAttempt(attempt),
        state=named_state(state, start_time=due),
        flow=Flow(id=an_id(900_000 + number), name="flow", storage=storage or Storage(type="Module")),
        run_config=run_config or UniversalRun(),
        due_task_runs=tuple(
            TaskRun(id=TaskRunId(f"task-{n}"), attempt=SimpleAttempt("1"), state=named_state("Retrying"))
            for n in range(waiting_tasks)
        ),
        tasks_wait=waiting_tasks > 0,
        claim=claim,
        source=source or {},
    )
    return attrs.evolve(run, claim=a_record(run)) if claim is None and state in CLAIMED_STATES else run


def a_record(
    run: FlowRun,
    *,
    claimant: str = "agent-1",
    platform: str = "memory:1",
    fingerprint: str = "",
    claimed_at: datetime | None = None,
    create_until: datetime | None = None,
    recoveries: int = 0,
) -> ClaimRecord:
    """The record of a claim of *run*; without times it is one of an older agent."""
    return ClaimRecord(
        claimant=claimant,
        platform=platform,
        unit=unit_name(run.id, run.attempt),
        attempt=str(run.attempt),
        fingerprint=fingerprint,
        claimed_at=claimed_at,
        create_until=create_until,
        recoveries=recoveries,
    )


def a_unit(
    number: int = 1,
    *,
    status: UnitStatus = UnitStatus.RUNNING,
    attempt: str = "1",
    name: str | None = None,
    created_at: datetime | None = NOW,
    ended_at: datetime | None = None,
    exit_code: int | None = None,
    owner: Owner | None = OWNER,
) -> Unit:
    """A unit of execution of :func:`a_run`, ours unless *owner* says else."""
    return Unit(
        name=name or unit_name(an_id(number), SimpleAttempt(attempt)),
        flow_run_id=an_id(number),
        attempt=attempt,
        status=status,
        evidence=None if exit_code is None else Evidence(exit_code=exit_code),
        created_at=created_at,
        ended_at=ended_at,
        owner=owner,
    )


class HandClock(Clock):
    """Stands still until it is moved; a pause moves it. For code that runs in one thread."""

    def __init__(self) -> None:
        self.seconds = 1000.0
        self.pauses: list[float] = []

    def now(self) -> datetime:
        """The time of day."""
        return NOW + timedelta(seconds=self.seconds - 1000.0)

    def monotonic(self) -> float:
        """Seconds moved so far, from an odd start."""
        return self.seconds

    def pause(self, seconds: float, wake: Wake | None = None) -> bool:
        """Move on by *seconds*, unless *wake* is set."""
        self.pauses.append(seconds)
        if wake is not None and wake.is_set():
            return True
        self.seconds += max(0.0, seconds)
        return False


class Heard:
    """An event sink that keeps what it hears."""

    def __init__(self) -> None:
        self.events: list[Event] = []

    def __call__(self, event: Event) -> None:
        """Keep *event*."""
        self.events.append(event)

    def names(self) -> list[str]:
        """Names of all events, in order."""
        return [event.name for event in self.events]


def ids(runs: Iterable[FlowRun]) -> list[FlowRunId]:
    """The ids of *runs*."""
    return [run.id for run in runs]

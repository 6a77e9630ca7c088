"""The steps of one state change, in every Cloud: rules decide, a store of runs reads and writes.

A run that wants to begin and finds no free place of a limit is Queued instead. A flow run that is cancelled takes its
unfinished task runs with it.
"""

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any, Protocol

from prefect.agent.domain.cloud.limits import FLOW_RUNS_QUEUED, TASK_RUNS_QUEUED, begins, queued
from prefect.agent.domain.cloud.states import CloudState
from prefect.agent.domain.cloud.strictness import Claims, Strictness
from prefect.agent.domain.cloud.transitions import Accepted, set_flow_run_state, set_task_run_state
from prefect.agent.domain.state_names import FINISHED, RUNNING, SUBMITTED

Columns = Mapping[str, Any]
"""A flow run or task run by its columns, as the store has it."""


class RunStore(Protocol):
    """Where a Cloud keeps its runs, while one change is made. What it raises leaves the change undone."""

    @property
    def now(self) -> datetime:
        """The Cloud's time."""
        ...

    @property
    def strictness(self) -> Strictness:
        """What this Cloud insists on."""
        ...

    @property
    def claims(self) -> Claims:
        """When flow runs were last claimed."""
        ...

    def is_version_locked(self, flow_run: Columns) -> bool:
        """Whether version locking is switched on for the flow of this run."""
        ...

    def full_limits_of_flow_run(self, flow_run: Columns) -> list[str]:
        """Names of the limits that keep the flow run from beginning."""
        ...

    def full_limits_of_task_run(self, task_run: Columns) -> list[str]:
        """Names of the limits that keep the task run from beginning."""
        ...

    def task_runs(self, flow_run: Columns) -> Iterable[Columns]:
        """All task runs of the flow run."""
        ...

    def write_flow_run(self, flow_run: Columns, accepted: Accepted) -> None:
        """Update the flow run, and add to its history."""
        ...

    def write_task_run(self, flow_run: Columns, task_run: Columns, accepted: Accepted) -> None:
        """Update the task run, add to its history, and update its flow run by ``flow_run_values``."""
        ...


def change_flow_run(store: RunStore, flow_run: Columns, state: CloudState, *, version: int | None = None) -> CloudState:
    """Update one flow run and what follows from it; return the state it got, which is Queued if it has to wait.

    Args:
        state: The state asked for.
        version: The version that the client believes in, if it says so.

    Raises:
        CloudRefusal: The rules refuse it.
    """
    accepted = set_flow_run_state(
        flow_run,
        state,
        now=store.now,
        version=version,
        locked=_is_locked(store, flow_run, state, version),
        strictness=store.strictness,
    )
    if state.type == SUBMITTED:
        store.claims.take(flow_run["id"], store.strictness, store.now)
    full = store.full_limits_of_flow_run(flow_run) if begins(flow_run["state"], state.type) else []
    if full:
        state = queued(flow_run["serialized_state"], full, FLOW_RUNS_QUEUED, store.now)
        accepted = set_flow_run_state(flow_run, state, now=store.now)
    store.write_flow_run(flow_run, accepted)
    if accepted.cancels_tasks:
        _cancel_task_runs(store, {**flow_run, **accepted.values}, state)
    return state


def change_task_run(
    store: RunStore, flow_run: Columns, task_run: Columns, state: CloudState, *, version: int | None = None
) -> CloudState:
    """Update one task run of *flow_run*; return the state it got, which is Queued if it has to wait.

    Raises:
        CloudRefusal: The rules refuse it.
    """
    accepted = set_task_run_state(
        task_run,
        state,
        now=store.now,
        flow_run_state=flow_run["state"],
        version=version,
        locked=_is_locked(store, flow_run, state, version),
        strictness=store.strictness,
    )
    full = store.full_limits_of_task_run(task_run) if begins(task_run["state"], state.type) else []
    if full:
        state = queued(task_run["serialized_state"], full, TASK_RUNS_QUEUED, store.now)
        accepted = set_task_run_state(task_run, state, now=store.now, flow_run_state=flow_run["state"])
    store.write_task_run(flow_run, task_run, accepted)
    return state


def _is_locked(store: RunStore, flow_run: Columns, state: CloudState, version: int | None) -> bool:
    return state.type == RUNNING and version is not None and store.is_version_locked(flow_run)


def _cancel_task_runs(store: RunStore, flow_run: Columns, state: CloudState) -> None:
    for task_run in store.task_runs(flow_run):
        if task_run["state"] not in FINISHED:
            done = set_task_run_state(task_run, state, now=store.now, flow_run_state=flow_run["state"])
            store.write_task_run(flow_run, task_run, done)

"""The backend's JSON is converted to the domain's values. Pure; nothing that a backend sends can make it raise."""

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timezone
from typing import Any, Final

import attrs

from prefect.agent.adapters.graphql.records import (
    Json,
    is_handed_back,
    items,
    mapping,
    moment,
    number,
    read_record,
    read_recoveries,
    text,
)
from prefect.agent.adapters.graphql.run_configs import read_environment_image, read_run_config, read_storage
from prefect.agent.adapters.phases import named_state
from prefect.agent.domain.errors import ForeignAttempt
from prefect.agent.domain.model.flow_runs import Attempt, ClaimRecord, Flow, FlowRun, FlowRunId, TaskRun, TaskRunId
from prefect.agent.domain.model.states import State
from prefect.agent.domain.state_names import PAUSED, RUNNING, SUBMITTED

_NEVER: Final = datetime.min.replace(tzinfo=timezone.utc)


@attrs.frozen
class VersionAttempt(Attempt):
    """An attempt consists of a version number; for a Running run also of the task runs that are due.

    Attributes:
        version: Of the flow run.
        due: Short hash of the due task runs and their versions; empty if the run itself is claimed.
        of: Id of the flow run that it was read from: no claim of another run is sent with it.
    """

    version: int
    due: str = ""
    of: str = attrs.field(default="", eq=False, repr=False)

    def __str__(self) -> str:
        return f"{self.version}-{self.due}" if self.due else str(self.version)


@attrs.frozen
class TaskAttempt(Attempt):
    """An attempt at a task run consists of its version, and its state as it came, which a claim wraps.

    Attributes:
        of: Id of the task run that it was read from.
    """

    version: int
    payload: Mapping[str, Any] = attrs.field(factory=dict, eq=False, repr=False)
    of: str = attrs.field(default="", eq=False, repr=False)

    def __str__(self) -> str:
        return str(self.version)


def fence_of(run: FlowRun) -> VersionAttempt:
    """Return the attempt that every change of *run* is compared with.

    Raises:
        ForeignAttempt: It was not read with this very run.
    """
    if isinstance(run.attempt, VersionAttempt) and run.attempt.of == run.id:
        return run.attempt
    raise ForeignAttempt(f"the attempt {run.attempt} of flow run {run.id:.100} was not read from this Cloud")


def fence_of_task(task_run: TaskRun) -> TaskAttempt:
    """Return the attempt that every change of *task_run* is compared with.

    Raises:
        ForeignAttempt: It was not read with this very task run.
    """
    if isinstance(task_run.attempt, TaskAttempt) and task_run.attempt.of == task_run.id:
        return task_run.attempt
    raise ForeignAttempt(f"the attempt {task_run.attempt} of task run {task_run.id:.100} was not read from this Cloud")


def read_flow_run(row: object, due_before: datetime) -> FlowRun | None:
    """Return a flow run from a row; None if its id or version is invalid.

    Args:
        due_before: Task runs of a Running run that wait for a time up to this one are due.
    """
    if not isinstance(row, Mapping):
        return None
    run_id, version = row.get("id"), number(row.get("version"))
    payload = _present_state(row, version)
    kind = row.get("state") or payload.get("type")
    if not isinstance(run_id, str) or not run_id or version is None or not isinstance(kind, str):
        return None
    flow = mapping(row.get("flow"))
    task_runs = [t for t in map(_read_task_run, items(row.get("task_runs"))) if t is not None]
    task_runs = sorted(task_runs, key=lambda t: t.id) if kind == RUNNING else []
    waiting = [t for t in task_runs if t.state.is_waiting]
    due = tuple(t for t in waiting if _is_due(t.state, due_before))
    state = _read_state(kind, payload, due=bool(due))
    return FlowRun(
        id=FlowRunId(run_id),
        attempt=VersionAttempt(version, _hash(due), run_id),
        state=state,
        flow=Flow(
            id=text(flow.get("id")),
            name=text(flow.get("name")),
            core_version=text(flow.get("core_version")) or None,
            storage=read_storage(flow.get("storage")),
            image=read_environment_image(flow.get("environment")) if row.get("run_config") is None else None,
        ),
        name=text(row.get("name")),
        run_config=read_run_config(row.get("run_config")),
        due_task_runs=due,
        tasks_wait=bool(waiting),
        claimed_task_runs=tuple(t for t in task_runs if t.state.is_claimed),
        claim=read_record(payload) if kind == SUBMITTED and payload else _latest_claim(row),
        recoveries=_recoveries_of(state, payload, waiting),
        source=row,
    )


def _present_state(row: Json, version: int | None) -> Json:
    """Return the state that the run is in; light rows have it only if it is the state that claims."""
    if "serialized_state" in row:
        return mapping(row["serialized_state"])
    latest = [mapping(state) for state in items(row.get("claims"))[:1]]
    return next((mapping(s.get("serialized_state")) for s in latest if number(s.get("version")) == version), {})


def _read_state(kind: str, payload: Json, *, due: bool) -> State:
    start = None if due else moment(payload.get("start_time"))
    return named_state(kind, text(payload.get("message")), start)


def _read_task_run(row: object) -> TaskRun | None:
    if not isinstance(row, Mapping):
        return None
    payload = mapping(row.get("serialized_state"))
    kind = row.get("state") or payload.get("type")
    task_run_id, version = row.get("id"), number(row.get("version"))
    if not isinstance(task_run_id, str) or version is None or not isinstance(kind, str):
        return None
    return TaskRun(
        id=TaskRunId(task_run_id),
        attempt=TaskAttempt(version, payload, task_run_id),
        state=_read_state(kind, payload, due=False),
    )


# --- claims ---


def _latest_claim(row: Json) -> ClaimRecord | None:
    """Return the record of the latest claim of the run itself or of a task run.

    A state that made the run wait again ends it.
    """
    latest = max(_claims(row), key=lambda claim: claim[0], default=None)
    return None if latest is None else latest[1]


def _claims(row: Json) -> Iterator[tuple[datetime, ClaimRecord | None]]:
    """Return everything in the history that claimed the run or ended its claim, with its time."""
    for state in map(mapping, items(row.get("claims"))):
        payload = mapping(state.get("serialized_state"))
        is_claim = (state.get("state") or payload.get("type")) == SUBMITTED
        yield moment(state.get("timestamp")) or _NEVER, read_record(payload) if is_claim else None
    for task_run in map(mapping, items(row.get("claimed"))):
        for state in map(mapping, items(task_run.get("claims"))):
            yield moment(state.get("timestamp")) or _NEVER, read_record(mapping(state.get("serialized_state")))
    for task_run in map(mapping, items(row.get("task_runs"))):
        payload = mapping(task_run.get("serialized_state"))
        is_claim = payload.get("type") == SUBMITTED
        if is_claim or is_handed_back(payload):
            yield moment(task_run.get("state_timestamp")) or _NEVER, read_record(payload) if is_claim else None


def _recoveries_of(state: State, payload: Json, waiting: Sequence[TaskRun]) -> int:
    """Return the number of recoveries in the waiting state of the run itself, or of its task runs."""
    if state.is_waiting:
        return read_recoveries(payload)
    return max((read_recoveries(t.attempt.payload) for t in waiting if isinstance(t.attempt, TaskAttempt)), default=0)


def _hash(due: Sequence[TaskRun]) -> str:
    if not due:
        return ""
    words = json.dumps([[task_run.id, str(task_run.attempt)] for task_run in due])
    return hashlib.sha256(words.encode()).hexdigest()[:8]


def _is_due(state: State, due_before: datetime) -> bool:
    if state.start_time is None:
        return state.name != PAUSED  # the others are due at once if they do not say when
    return state.start_time <= due_before

"""Between the backend's JSON and the domain's values. Pure; nothing a backend sends can make it raise."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final

import attrs

from prefect.agent.adapters.graphql.run_configs import read_run_config, read_storage
from prefect.agent.domain.model.flow_runs import Attempt, ClaimRecord, Flow, FlowRun, FlowRunId, TaskRun, TaskRunId
from prefect.agent.domain.model.states import RUNNING, SUBMITTED, State
from prefect.agent.domain.times import read_time

DIALECT: Final = "1.4.1"
"""Version of the protocol that is spoken; goes into states as information."""

RECORD_KEY: Final = "prefect_agent"
"""Where a Submitted state's context says who claimed it."""

MAX_MESSAGE: Final = 10_000

Json = Mapping[str, Any]


@attrs.frozen
class VersionAttempt(Attempt):
    """An attempt by version number; for a Running run also by the task runs that are due.

    Attributes:
        version: Of the flow run.
        due: Short hash of the due task runs and their versions; empty if the run itself is claimed.
    """

    version: int
    due: str = ""

    def __str__(self) -> str:
        return f"{self.version}-{self.due}" if self.due else str(self.version)


@attrs.frozen
class TaskAttempt(Attempt):
    """A task run's version, and its state as it came, which a claim wraps."""

    version: int
    payload: Mapping[str, Any] = attrs.field(factory=dict, eq=False, repr=False)

    def __str__(self) -> str:
        return str(self.version)


def read_flow_run(row: object, due_before: datetime) -> FlowRun | None:
    """A flow run from a row; None if not even its id or version makes sense.

    Args:
        due_before: Task runs of a Running run that wait for a time up to this one are due.
    """
    if not isinstance(row, Mapping):
        return None
    run_id, version = row.get("id"), _number(row.get("version"))
    payload = _object(row.get("serialized_state"))
    kind = row.get("state") or payload.get("type")
    if not isinstance(run_id, str) or not run_id or version is None or not isinstance(kind, str):
        return None
    flow = _object(row.get("flow"))
    task_runs = [t for t in map(_read_task_run, _list(row.get("task_runs"))) if t is not None]
    waiting = [t for t in task_runs if t.state.is_scheduled] if kind == RUNNING else []
    due = tuple(sorted((t for t in waiting if _is_due(t.state, due_before)), key=lambda t: t.id))
    return FlowRun(
        id=FlowRunId(run_id),
        attempt=VersionAttempt(version, _hash(due)),
        state=_read_state(kind, payload, due=bool(due)),
        flow=Flow(
            id=_text(flow.get("id")),
            name=_text(flow.get("name")),
            core_version=_text(flow.get("core_version")) or None,
            storage=read_storage(flow.get("storage")),
        ),
        name=_text(row.get("name")),
        run_config=read_run_config(row.get("run_config")),
        due_task_runs=due,
        tasks_wait=bool(waiting),
        claim=_claim_of(kind, payload, row.get("task_runs")),
        source=row,
    )


def submitted_state(wrapped: object, record: ClaimRecord) -> dict[str, Any]:
    """The Submitted state that claims a run: it wraps the state that the run waits in (protocol section 4.1)."""
    return _state("Submitted", "Submitted for execution", state=wrapped, context={RECORD_KEY: attrs.asdict(record)})


def ended_state(kind: str, message: str) -> dict[str, Any]:
    """A Failed or Cancelled state."""
    return _state(kind, message[:MAX_MESSAGE])


def _state(kind: str, message: str, **more: Any) -> dict[str, Any]:
    result = {"type": "NoResultType", "__version__": DIALECT}
    common = {"context": {}, "cached_inputs": {}, "_result": result, "__version__": DIALECT}
    return {"type": kind, "message": message, **common, **more}


def _read_state(kind: str, payload: Json, *, due: bool) -> State:
    start = None if due else _time(payload.get("start_time"))
    return State(type=kind, message=_text(payload.get("message")), start_time=start)


def _read_task_run(row: object) -> TaskRun | None:
    if not isinstance(row, Mapping):
        return None
    payload = _object(row.get("serialized_state"))
    kind = row.get("state") or payload.get("type")
    task_run_id, version = row.get("id"), _number(row.get("version"))
    if not isinstance(task_run_id, str) or version is None or not isinstance(kind, str):
        return None
    return TaskRun(
        id=TaskRunId(task_run_id), attempt=TaskAttempt(version, payload), state=_read_state(kind, payload, due=False)
    )


def _claim_of(kind: str, payload: Json, task_runs: object) -> ClaimRecord | None:
    """Who claimed the run: of its own state, or of the first of its claimed task runs."""
    if kind == SUBMITTED:
        return _read_record(payload)
    if kind != RUNNING:
        return None
    claimed = [row for row in _list(task_runs) if isinstance(row, Mapping)]
    states = [(_text(row.get("id")), _object(row.get("serialized_state"))) for row in claimed]
    records = [_read_record(p) for _, p in sorted(states, key=lambda s: s[0]) if p.get("type") == SUBMITTED]
    return next((record for record in records if record is not None), None)


def _read_record(payload: Json) -> ClaimRecord | None:
    found = _object(_object(payload.get("context")).get(RECORD_KEY))
    fields = {field.name: found.get(field.name) for field in attrs.fields(ClaimRecord)}
    if not all(isinstance(value, str) for value in fields.values()):
        return None
    return ClaimRecord(**fields)  # type: ignore[arg-type]


def _hash(due: Sequence[TaskRun]) -> str:
    if not due:
        return ""
    words = json.dumps([[task_run.id, str(task_run.attempt)] for task_run in due])
    return hashlib.sha256(words.encode()).hexdigest()[:8]


def _is_due(state: State, due_before: datetime) -> bool:
    if state.start_time is None:
        return state.type != "Paused"  # the others are due at once if they do not say when (protocol section 4A)
    return state.start_time <= due_before


def _time(value: object) -> datetime | None:
    if not isinstance(value, str):
        return None
    try:
        return read_time(value)
    except ValueError:
        return None


def _number(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _object(value: object) -> Json:
    return value if isinstance(value, Mapping) else {}


def _list(value: object) -> list[Any]:
    return value if isinstance(value, list) else []


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""

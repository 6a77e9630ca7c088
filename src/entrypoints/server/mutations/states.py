"""Mutations that update states; the rules are in ``domain.cloud.transitions``."""

from collections.abc import Callable, Iterable
from typing import Any, Final

import attrs

from prefect.agent.domain.cloud.errors import CloudRefusal, NotFound, PartlyDone
from prefect.agent.domain.cloud.limits import begins
from prefect.agent.domain.cloud.selection import READY_TYPES, due_time
from prefect.agent.domain.cloud.states import FINISHED, State, read_state
from prefect.agent.domain.cloud.transitions import Accepted, cancel, set_flow_run_state, set_task_run_state
from prefect.agent.domain.times import iso
from prefect.agent.entrypoints.server.mutations.limits import hold_flow_run, hold_task_run
from prefect.agent.entrypoints.server.mutations.registry import INPUTS, SUCCESS, Given, Payload, Request, mutation

INPUTS["set_flow_run_state_input"] = "flow_run_id: UUID!, state: JSON!, version: Int"
INPUTS["set_task_run_state_input"] = "task_run_id: UUID!, state: JSON!, version: Int, flow_run_version: Int"

_STATES: Final = "states: [run_state_result!]"

# One part per state: each reads no more than the first entry of its index, however many task runs there are.
_FIRST_OF_EACH: Final = " UNION ALL ".join(
    f"SELECT min(state_start_time) AS start FROM task_run WHERE flow_run_id = :run AND state = '{state}'"
    for state in READY_TYPES
)
_FIRST_TASK: Final = f"SELECT min(start) AS start FROM ({_FIRST_OF_EACH})"


@mutation("states: [set_flow_run_state_input!]!", _STATES)
def set_flow_run_states(request: Request, given: Given) -> Payload:
    """Set the states of flow runs."""
    return {"states": _each(request, given["states"], _set_flow_run)}


@mutation("states: [set_task_run_state_input!]!", _STATES)
def set_task_run_states(request: Request, given: Given) -> Payload:
    """Set the states of task runs."""
    return {"states": _each(request, given["states"], _set_task_run)}


@mutation("flow_run_id: UUID!", "state: String")
def cancel_flow_run(request: Request, given: Given) -> Payload:
    """Cancel a flow run; a run that has finished keeps its state."""
    row = request.tx.row("flow_run", "id = ?", [given["flow_run_id"]])
    if row is None:
        raise NotFound(f"Invalid flow run ID: {given['flow_run_id']}")
    target = cancel(row["state"])
    if target is None:
        return {"state": row["state"]}
    return {"state": put_flow_run(request, row, target).type}


@mutation("flow_run_id: UUID!", SUCCESS)
def update_flow_run_heartbeat(request: Request, given: Given) -> Payload:
    """Note a heartbeat of a flow run's process."""
    if not request.tx.update("flow_run", given["flow_run_id"], {"heartbeat": iso(request.now)}):
        raise NotFound(f"Invalid flow run ID: {given['flow_run_id']}")
    return {"success": True}


@mutation("task_run_id: UUID!", SUCCESS)
def update_task_run_heartbeat(request: Request, given: Given) -> Payload:
    """Note a heartbeat of a task run's process."""
    if not request.tx.update("task_run", given["task_run_id"], {"heartbeat": iso(request.now)}):
        raise NotFound(f"Invalid task run ID: {given['task_run_id']}")
    return {"success": True}


def put_flow_run(request: Request, row: dict[str, Any], state: State, version: int | None = None) -> State:
    """Set the state of a flow run, and cancel its tasks if need be; return the new state, Queued if it has to wait.

    Raises:
        CloudRefusal: The rules refuse the state.
    """
    locked = state.type == "Running" and version is not None and _locked(request, row["flow_id"])
    accepted = set_flow_run_state(
        row, state, now=request.now, version=version, locked=locked, strictness=request.strictness
    )
    if state.type == "Submitted":
        request.claims.take(row["id"], request.strictness, request.now)
    held = hold_flow_run(request, row) if begins(row["state"], state.type) else None
    if held is not None:
        state, accepted = held, set_flow_run_state(row, held, now=request.now)
    if state.type == "Submitted" and request.agent_id and request.tx.row("agent", "id = ?", [request.agent_id]):
        accepted = attrs.evolve(accepted, values={**accepted.values, "agent_id": request.agent_id})
    due = due_time(accepted.values, _first_task(request, row["id"]) if state.type == "Running" else None)
    _write(request, "flow_run", row, attrs.evolve(accepted, values={**accepted.values, "due": due}))
    if accepted.cancels_tasks:
        for task_run in request.tx.rows("task_run", "flow_run_id = ?", [row["id"]]):
            if task_run["state"] not in FINISHED:
                done = set_task_run_state(task_run, state, now=request.now, flow_run_state=state.type)
                _write(request, "task_run", task_run, done)
    return state


def _each(request: Request, entries: Iterable[Given], change: Callable[[Request, Given], Payload]) -> list[Payload]:
    """Apply the changes one after the other; the first refusal gives the error.

    Raises:
        CloudRefusal: A change was refused, and the caller must undo the others.
        PartlyDone: Some changes were refused, in a Cloud that keeps the others.
    """
    if request.strictness.all_or_none:
        return [change(request, entry) for entry in entries]
    answers, refusals = [], []
    for entry in entries:
        try:
            with request.tx.savepoint():
                answers.append(change(request, entry))
        except CloudRefusal as refusal:
            refusals.append(refusal)
    if refusals:
        raise PartlyDone(refusals[0].message, refusals[0].code)
    return answers


def _set_flow_run(request: Request, entry: Given) -> Payload:
    row = request.tx.row("flow_run", "id = ?", [entry["flow_run_id"]])
    if row is None:
        raise NotFound(f"State update failed for flow run ID {entry['flow_run_id']}")
    state = read_state(entry["state"])
    return _answer(row, state, put_flow_run(request, row, state, entry.get("version")))


def _set_task_run(request: Request, entry: Given) -> Payload:
    row = request.tx.row("task_run", "id = ?", [entry["task_run_id"]])
    if row is None:
        raise NotFound(f"State update failed for task run ID {entry['task_run_id']}")
    flow_run = request.get("flow_run", row["flow_run_id"])
    state, version = read_state(entry["state"]), entry.get("version")
    locked = state.type == "Running" and version is not None and _locked(request, flow_run["flow_id"])
    accepted = set_task_run_state(
        row,
        state,
        now=request.now,
        flow_run_state=flow_run["state"],
        version=version,
        locked=locked,
        strictness=request.strictness,
    )
    held = hold_task_run(request, row) if begins(row["state"], state.type) else None
    if held is not None:
        accepted = set_task_run_state(row, held, now=request.now, flow_run_state=flow_run["state"])
    _write(request, "task_run", row, accepted)
    follows = dict(accepted.flow_run_values)
    if flow_run["state"] == "Running" and not {row["state"], accepted.values["state"]}.isdisjoint(READY_TYPES):
        follows["due"] = _first_task(request, flow_run["id"])
    if follows:
        request.tx.update("flow_run", flow_run["id"], follows)
    return _answer(row, state, held or state)


def _answer(row: dict[str, Any], asked: State, got: State) -> Payload:
    if got is asked:
        return {"id": row["id"], "status": "SUCCESS", "message": None}
    return {"id": row["id"], "status": "QUEUED", "message": got.message}


def _write(request: Request, table: str, row: dict[str, Any], accepted: Accepted) -> None:
    request.tx.update(table, row["id"], accepted.values)
    owner = {f"{table}_id": row["id"], "tenant_id": row["tenant_id"]}
    request.tx.insert(f"{table}_state", {**owner, **accepted.history})


def _first_task(request: Request, run_id: str) -> str | None:
    """Return when the first of the waiting task runs is due; None if none waits."""
    found = request.tx.one(_FIRST_TASK, {"run": run_id})
    return found["start"] if found else None


def _locked(request: Request, flow_id: str) -> bool:
    flow = request.tx.row("flow", "id = ?", [flow_id])
    group = request.tx.row("flow_group", "id = ?", [flow["flow_group_id"]]) if flow else None
    return bool(group and group["settings"].get("version_locking_enabled"))

"""State updates: steps and rules are in ``domain.cloud``; here they meet the tables."""

from collections.abc import Callable, Iterable
from datetime import datetime
from typing import Final

import attrs

from prefect.agent.domain.cloud.changing import Columns, RunStore, change_flow_run, change_task_run
from prefect.agent.domain.cloud.errors import CloudRefusal, NotFound, PartlyDone
from prefect.agent.domain.cloud.selection import READY_TYPES, due_time
from prefect.agent.domain.cloud.states import CloudState, read_state
from prefect.agent.domain.cloud.strictness import Claims, Strictness
from prefect.agent.domain.cloud.transitions import Accepted, cancel
from prefect.agent.domain.state_names import RUNNING, SUBMITTED
from prefect.agent.domain.times import iso
from prefect.agent.entrypoints.server.mutations.limits import full_limits_of_flow_run, full_limits_of_task_run
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


def put_flow_run(request: Request, row: Columns, state: CloudState, version: int | None = None) -> CloudState:
    """Set the state of a flow run, and cancel its tasks if need be; return the new state, Queued if it has to wait.

    Raises:
        CloudRefusal: The rules refuse the state.
    """
    return change_flow_run(_Tables(request), row, state, version=version)


@attrs.frozen
class _Tables(RunStore):
    """The runs of the database, inside one request."""

    request: Request

    @property
    def now(self) -> datetime:
        return self.request.now

    @property
    def strictness(self) -> Strictness:
        return self.request.strictness

    @property
    def claims(self) -> Claims:
        return self.request.claims

    def is_version_locked(self, flow_run: Columns) -> bool:
        flow = self.request.tx.row("flow", "id = ?", [flow_run["flow_id"]])
        group = self.request.tx.row("flow_group", "id = ?", [flow["flow_group_id"]]) if flow else None
        return bool(group and group["settings"].get("version_locking_enabled"))

    def full_limits_of_flow_run(self, flow_run: Columns) -> list[str]:
        return full_limits_of_flow_run(self.request.tx, flow_run)

    def full_limits_of_task_run(self, task_run: Columns) -> list[str]:
        return full_limits_of_task_run(self.request.tx, task_run)

    def task_runs(self, flow_run: Columns) -> Iterable[Columns]:
        return self.request.tx.rows("task_run", "flow_run_id = ?", [flow_run["id"]])

    def write_flow_run(self, flow_run: Columns, accepted: Accepted) -> None:
        state, agent = accepted.values["state"], self.request.agent_id
        due = due_time(accepted.values, self._first_task(flow_run) if state == RUNNING else None)
        values = {**accepted.values, "due": due}
        if state == SUBMITTED and agent and self.request.tx.row("agent", "id = ?", [agent]):
            values["agent_id"] = agent
        self._write("flow_run", flow_run, attrs.evolve(accepted, values=values))

    def write_task_run(self, flow_run: Columns, task_run: Columns, accepted: Accepted) -> None:
        self._write("task_run", task_run, accepted)
        follows = dict(accepted.flow_run_values)
        is_queue_changed = not {task_run["state"], accepted.values["state"]}.isdisjoint(READY_TYPES)
        if flow_run["state"] == RUNNING and is_queue_changed:
            follows["due"] = self._first_task(flow_run)
        if follows:
            self.request.tx.update("flow_run", flow_run["id"], follows)

    def _write(self, table: str, row: Columns, accepted: Accepted) -> None:
        self.request.tx.update(table, row["id"], accepted.values)
        owner = {f"{table}_id": row["id"], "tenant_id": row["tenant_id"]}
        self.request.tx.insert(f"{table}_state", {**owner, **accepted.history})

    def _first_task(self, flow_run: Columns) -> str | None:
        """When the first of the task runs that wait is due."""
        found = self.request.tx.one(_FIRST_TASK, {"run": flow_run["id"]})
        return found["start"] if found else None


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
    flow_run, state = request.get("flow_run", row["flow_run_id"]), read_state(entry["state"])
    got = change_task_run(_Tables(request), flow_run, row, state, version=entry.get("version"))
    return _answer(row, state, got)


def _answer(row: Columns, asked: CloudState, got: CloudState) -> Payload:
    if got is asked:
        return {"id": row["id"], "status": "SUCCESS", "message": None}
    return {"id": row["id"], "status": "QUEUED", "message": got.message}

"""Mutations that flow processes use: task runs, logs and artifacts."""

from collections.abc import Iterable
from typing import Any, Final

from prefect.agent.domain.cloud.errors import NotFound
from prefect.agent.domain.cloud.logs import check_texts
from prefect.agent.domain.cloud.states import plain
from prefect.agent.domain.cloud.transitions import set_task_run_state
from prefect.agent.domain.times import iso
from prefect.agent.entrypoints.server.mutations.registry import ID, INPUTS, SUCCESS, Given, Payload, Request, mutation

INPUTS["run_log_input"] = (
    "flow_run_id: UUID!, task_run_id: UUID, timestamp: DateTime, name: String, level: log_level, "
    "message: String, info: JSON"
)

_TEXTS: Final = ("name", "message", "info")

_RUNS_AT_A_TIME: Final = 500

_WHICH: Final = "flow_run_id: UUID!, task_id: UUID!, map_index: Int"


@mutation(_WHICH, "id: UUID, version: Int, serialized_state: JSON")
def get_or_create_task_run_info(request: Request, given: Given) -> Payload:
    """Return a task run and its state; create the task run if it is missing, as children of a mapped task are."""
    row = _task_run(request, given)
    return {"id": row["id"], "version": row["version"], "serialized_state": row["serialized_state"]}


@mutation(_WHICH, ID)
def get_or_create_task_run(request: Request, given: Given) -> Payload:
    """Return the id of a task run; create the task run if it is missing."""
    return {"id": _task_run(request, given)["id"]}


@mutation("task_run_id: UUID!, name: String!", SUCCESS)
def set_task_run_name(request: Request, given: Given) -> Payload:
    """Rename a task run."""
    return {"success": request.tx.update("task_run", given["task_run_id"], {"name": given["name"]}) > 0}


@mutation("logs: [run_log_input!]!", SUCCESS)
def write_run_logs(request: Request, given: Given) -> Payload:
    """Append entries to the logs of runs: all of them, or none if one is refused."""
    logs = given["logs"]
    tenants = _tenants(request, "flow_run", {log["flow_run_id"] for log in logs})
    _tenants(request, "task_run", {log["task_run_id"] for log in logs if log.get("task_run_id")})
    check_texts(log.get(name) for log in logs for name in _TEXTS)
    now = iso(request.now)
    request.tx.insert_many("log", [_log(log, tenants[log["flow_run_id"]], now) for log in logs])
    return {"success": True}


@mutation("task_run_id: UUID!, kind: String!, data: JSON, tenant_id: UUID", ID)
def create_task_run_artifact(request: Request, given: Given) -> Payload:
    """Attach an artifact for people to a task run."""
    task_run = request.tx.row("task_run", "id = ?", [given["task_run_id"]])
    if task_run is None:
        raise NotFound(f"Task run {given['task_run_id']} not found")
    row = {"tenant_id": task_run["tenant_id"], "task_run_id": task_run["id"], "kind": given["kind"]}
    return {"id": request.tx.insert("task_run_artifact", {**row, "data": given.get("data")})}


@mutation("task_run_artifact_id: UUID!, data: JSON", SUCCESS)
def update_task_run_artifact(request: Request, given: Given) -> Payload:
    """Replace the data of an artifact."""
    changed = request.tx.update("task_run_artifact", given["task_run_artifact_id"], {"data": given.get("data")})
    return {"success": changed > 0}


@mutation("task_run_artifact_id: UUID!", SUCCESS)
def delete_task_run_artifact(request: Request, given: Given) -> Payload:
    """Delete an artifact."""
    gone = request.tx.execute("DELETE FROM task_run_artifact WHERE id = ?", [given["task_run_artifact_id"]])
    return {"success": gone > 0}


def add_task_runs(request: Request, flow_run: dict[str, Any], tasks: list[dict[str, Any]], map_index: int) -> list[str]:
    """Create one Pending task run, with its history, for each task; return their ids."""
    blank = {"version": 0, "state": None, "serialized_state": None}
    accepted = set_task_run_state(
        blank, plain("Pending", "Task run created"), now=request.now, flow_run_state=flow_run["state"] or ""
    )
    owner = {"tenant_id": flow_run["tenant_id"]}
    rows = [
        {
            **owner,
            "flow_run_id": flow_run["id"],
            "task_id": task["id"],
            "map_index": map_index,
            "cache_key": task["cache_key"],
            **accepted.values,
        }
        for task in tasks
    ]
    ids = request.tx.insert_many("task_run", rows)
    request.tx.insert_many("task_run_state", [{**owner, "task_run_id": i, **accepted.history} for i in ids])
    return ids


def _task_run(request: Request, given: Given) -> dict[str, Any]:
    index = -1 if given.get("map_index") is None else given["map_index"]
    key = [given["flow_run_id"], given["task_id"], index]
    row = request.tx.row("task_run", "flow_run_id = ? AND task_id = ? AND map_index = ?", key)
    if row is None:
        flow_run, task = request.get("flow_run", given["flow_run_id"]), request.get("task", given["task_id"])
        row = request.get("task_run", add_task_runs(request, flow_run, [task], index)[0])
    return row


def _tenants(request: Request, table: str, wanted: Iterable[str]) -> dict[str, str]:
    """Return the tenant of each run.

    Raises:
        NotFound: A run does not exist.
    """
    ids, known = sorted(wanted), {}
    for start in range(0, len(ids), _RUNS_AT_A_TIME):
        some = ids[start : start + _RUNS_AT_A_TIME]
        rows = request.tx.all(f"SELECT id, tenant_id FROM {table} WHERE id IN ({', '.join('?' * len(some))})", some)
        known.update({row["id"]: row["tenant_id"] for row in rows})
    missing = next((row_id for row_id in ids if row_id not in known), None)
    if missing is not None:
        kind = table.replace("_", " ")
        raise NotFound(f"Foreign key violation: there is no {kind} {missing}; none of these log lines was written")
    return known


def _log(log: Given, tenant_id: str, now: str) -> dict[str, Any]:
    return {
        "tenant_id": tenant_id,
        "flow_run_id": log["flow_run_id"],
        "task_run_id": log.get("task_run_id"),
        "timestamp": log.get("timestamp") or now,
        "name": log.get("name"),
        "level": log.get("level") or "INFO",
        "message": log.get("message"),
        "info": log.get("info"),
    }

"""Mutations of concurrency limits, and their check when a run begins (protocol section 13.2)."""

from collections.abc import Iterable, Mapping
from typing import Any

from prefect.agent.domain.cloud.limits import TAKING, check_limit, full
from prefect.agent.entrypoints.server.mutations.registry import ID, SUCCESS, Given, Payload, Request, mutation, required
from prefect.agent.entrypoints.server.storage.database import Tx

_TAKING = ", ".join(f"'{state}'" for state in TAKING)

_FLOW_RUNS = (
    "SELECT label.value AS name, count(*) AS taken FROM flow_run r, json_each(r.labels) label "
    f"WHERE r.state IN ({_TAKING}) AND r.tenant_id = ? AND r.id <> ? GROUP BY label.value"
)
# A task run that was left Running by a flow run that has ended takes no place.
_TASK_RUNS = (
    "SELECT tag.value AS name, count(*) AS taken FROM task_run r JOIN flow_run f ON f.id = r.flow_run_id "
    "JOIN task t ON t.id = r.task_id, json_each(t.tags) tag "
    f"WHERE r.state IN ({_TAKING}) AND f.state IN ({_TAKING}) AND r.tenant_id = ? AND r.id <> ? GROUP BY tag.value"
)


@mutation("label: String!, limit: Int!, tenant_id: UUID", ID)
def update_flow_concurrency_limit(request: Request, given: Given) -> Payload:
    """Let at most so many flow runs with a label run at a time."""
    return _set(request, "flow_concurrency_limit", "name", required(given, "label"), given)


@mutation("limit_id: UUID!", SUCCESS)
def delete_flow_concurrency_limit(request: Request, given: Given) -> Payload:
    """Delete a limit of flow runs."""
    return {"success": request.tx.execute("DELETE FROM flow_concurrency_limit WHERE id = ?", [given["limit_id"]]) > 0}


@mutation("tag: String!, limit: Int!, tenant_id: UUID", ID)
def update_task_tag_limit(request: Request, given: Given) -> Payload:
    """Let at most so many runs of tasks with a tag run at a time."""
    return _set(request, "task_tag_limit", "tag", required(given, "tag"), given)


@mutation("limit_id: UUID!", SUCCESS)
def delete_task_tag_limit(request: Request, given: Given) -> Payload:
    """Delete a limit of task runs."""
    return {"success": request.tx.execute("DELETE FROM task_tag_limit WHERE id = ?", [given["limit_id"]]) > 0}


def full_limits_of_flow_run(tx: Tx, row: Mapping[str, Any]) -> list[str]:
    """Return the names of the limits that keep a flow run from beginning."""
    limits = _limits(tx, "flow_concurrency_limit", "name", row["tenant_id"]) if row["labels"] else {}
    return _full(tx, limits, _FLOW_RUNS, row, row["labels"] or ())


def full_limits_of_task_run(tx: Tx, row: Mapping[str, Any]) -> list[str]:
    """Return the names of the limits that keep a task run from beginning."""
    limits = _limits(tx, "task_tag_limit", "tag", row["tenant_id"])
    if not limits:
        return []
    task = tx.row("task", "id = ?", [row["task_id"]])
    tags = task["tags"] if task and isinstance(task["tags"], list) else ()
    return _full(tx, limits, _TASK_RUNS, row, tags)


def taken_by_flow_runs(tx: Tx, tenant_id: str) -> dict[str, int]:
    """Return how many flow runs with each label take a place of a limit."""
    return {row["name"]: row["taken"] for row in tx.all(_FLOW_RUNS, [tenant_id, ""])}


def taken_by_task_runs(tx: Tx, tenant_id: str) -> dict[str, int]:
    """Return how many task runs with each tag take a place of a limit."""
    return {row["name"]: row["taken"] for row in tx.all(_TASK_RUNS, [tenant_id, ""])}


def _limits(tx: Tx, table: str, column: str, tenant_id: str) -> dict[str, int]:
    found = tx.all(f"SELECT {column} AS name, slots FROM {table} WHERE tenant_id = ?", [tenant_id])
    return {row["name"]: row["slots"] for row in found}


def _full(tx: Tx, limits: Mapping[str, int], sql: str, row: Mapping[str, Any], wanted: Iterable[object]) -> list[str]:
    names = {name for name in wanted if isinstance(name, str) and name in limits}
    if not names:
        return []
    return full(limits, {r["name"]: r["taken"] for r in tx.all(sql, [row["tenant_id"], row["id"]])}, names)


def _set(request: Request, table: str, column: str, name: str, given: Given) -> Payload:
    tenant_id, slots = request.tenant(given.get("tenant_id")), check_limit(given["limit"])
    known = request.tx.row(table, f"tenant_id = ? AND {column} = ?", [tenant_id, name])
    if known:
        request.tx.update(table, known["id"], {"slots": slots})
        return {"id": known["id"]}
    return {"id": request.tx.insert(table, {"tenant_id": tenant_id, column: name, "slots": slots})}

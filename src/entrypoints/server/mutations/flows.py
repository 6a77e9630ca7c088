"""Mutations that register, archive and delete flows (protocol sections 12.4 and 13.4)."""

import uuid
from typing import Any, Final

from prefect.agent.domain.cloud.errors import CloudRefusal, NotFound
from prefect.agent.domain.cloud.registration import (
    check_flow,
    core_version,
    decompress_flow,
    edge_ends,
    edge_slugs,
    task_columns,
)
from prefect.agent.domain.cloud.states import plain
from prefect.agent.entrypoints.server.mutations.registry import ID, SUCCESS, Given, Payload, Request, mutation
from prefect.agent.entrypoints.server.mutations.schedules import drop_planned, set_schedule_active
from prefect.agent.entrypoints.server.mutations.states import put_flow_run

_TAKES: Final = "project_id: UUID, set_schedule_active: Boolean, version_group_id: String, idempotency_key: String"
_GROUP_SETTINGS: Final = {"heartbeat_enabled": True, "lazarus_enabled": True, "version_locking_enabled": False}


@mutation(f"serialized_flow: String!, {_TAKES}", ID)
def create_flow_from_compressed_string(request: Request, given: Given) -> Payload:
    """Register a flow given as base64(gzip(JSON))."""
    return {"id": _register(request, given, decompress_flow(given["serialized_flow"]))}


@mutation(f"serialized_flow: JSON!, {_TAKES}", ID)
def create_flow(request: Request, given: Given) -> Payload:
    """Register a flow given as JSON."""
    return {"id": _register(request, given, check_flow(given["serialized_flow"]))}


@mutation("flow_id: UUID!, serialized_tasks: [JSON!]!", SUCCESS)
def register_tasks(request: Request, given: Given) -> Payload:
    """Add tasks to a flow that was registered without them. May be repeated."""
    flow = request.get("flow", given["flow_id"])
    _add_tasks(request, flow, given["serialized_tasks"])
    return {"success": True}


@mutation("flow_id: UUID!, serialized_edges: [JSON!]!", SUCCESS)
def register_edges(request: Request, given: Given) -> Payload:
    """Add edges between the tasks of a flow. May be repeated."""
    flow = request.get("flow", given["flow_id"])
    _add_edges(request, flow, given["serialized_edges"])
    return {"success": True}


@mutation("flow_id: UUID!", SUCCESS)
def archive_flow(request: Request, given: Given) -> Payload:
    """Archive a version of a flow: it gets no runs any more."""
    _archive(request, request.get("flow", given["flow_id"]))
    return {"success": True}


@mutation("flow_id: UUID!", SUCCESS)
def delete_flow(request: Request, given: Given) -> Payload:
    """Delete a flow and its runs."""
    return {"success": request.tx.execute("DELETE FROM flow WHERE id = ?", [given["flow_id"]]) > 0}


def _register(request: Request, given: Given, flow: dict[str, Any]) -> str:
    if not given.get("project_id"):
        raise CloudRefusal("A flow is registered into a project: give project_id")
    project = request.get("project", given["project_id"])
    group = _group(request, project, flow, given.get("version_group_id"))
    key = given.get("idempotency_key")
    current = request.tx.row("flow", "flow_group_id = ? AND NOT archived ORDER BY version DESC", [group["id"]])
    if key and current and group["settings"].get("idempotency_key") == key:
        return str(current["id"])
    request.tx.update("flow_group", group["id"], {"settings": {**group["settings"], "idempotency_key": key}})
    for old in request.tx.rows("flow", "flow_group_id = ? AND NOT archived", [group["id"]]):
        _archive(request, old)
    flow_id = _add_flow(request, project, group, flow)
    if given.get("set_schedule_active", True) is not False:
        set_schedule_active(request, {"flow_id": flow_id})
    return flow_id


def _group(request: Request, project: dict[str, Any], flow: dict[str, Any], name: str | None) -> dict[str, Any]:
    """Return the flow group of the named version group, else of the flow's last version, else a new one."""
    last = request.tx.row("flow", "project_id = ? AND name = ? ORDER BY created DESC", [project["id"], flow["name"]])
    name = name or (last["version_group_id"] if last else None) or str(uuid.uuid4())
    found = request.tx.row("flow_group", "tenant_id = ? AND name = ?", [project["tenant_id"], name])
    if found:
        return found
    row = {"tenant_id": project["tenant_id"], "name": name, "settings": dict(_GROUP_SETTINGS)}
    return request.get("flow_group", request.tx.insert("flow_group", row))


def _add_flow(request: Request, project: dict[str, Any], group: dict[str, Any], flow: dict[str, Any]) -> str:
    top = request.tx.one("SELECT max(version) AS top FROM flow WHERE flow_group_id = ?", [group["id"]])
    schedule = flow.get("schedule")
    row = {
        "tenant_id": project["tenant_id"],
        "project_id": project["id"],
        "flow_group_id": group["id"],
        "name": flow["name"],
        "version": ((top or {}).get("top") or 0) + 1,
        "version_group_id": group["name"],
        "core_version": core_version(flow),
        "description": flow.get("description"),
        "environment": flow.get("environment"),
        "run_config": flow.get("run_config"),
        "storage": flow.get("storage"),
        "parameters": flow.get("parameters") or [],
        "serialized_flow": flow,
        "schedule": schedule,
        # Flow processes ask for the settings of their flow (protocol section 12.5).
        "settings": {} if group["settings"].get("heartbeat_enabled", True) else {"heartbeat_enabled": False},
    }
    flow_id = request.tx.insert("flow", row)
    stored = request.get("flow", flow_id)
    _add_tasks(request, stored, flow.get("tasks") or [])
    _add_edges(request, stored, flow.get("edges") or [])
    return flow_id


def _add_tasks(request: Request, flow: dict[str, Any], tasks: list[Any]) -> None:
    reference = {
        t.get("slug") for t in (flow["serialized_flow"] or {}).get("reference_tasks") or [] if isinstance(t, dict)
    }
    known = {row["slug"] for row in request.tx.all("SELECT slug FROM task WHERE flow_id = ?", [flow["id"]])}
    owner = {"tenant_id": flow["tenant_id"], "flow_id": flow["id"], "is_root_task": True, "is_terminal_task": True}
    rows: dict[str, dict[str, Any]] = {}
    for task in tasks:
        columns = task_columns(task, reference=isinstance(task, dict) and task.get("slug") in reference)
        if columns["slug"] not in known:
            rows[columns["slug"]] = {**owner, **columns}
    request.tx.insert_many("task", rows.values())


def _add_edges(request: Request, flow: dict[str, Any], edges: list[Any]) -> None:
    ids = {
        row["slug"]: row["id"] for row in request.tx.all("SELECT id, slug FROM task WHERE flow_id = ?", [flow["id"]])
    }
    owner = {"tenant_id": flow["tenant_id"], "flow_id": flow["id"]}
    rows = []
    for edge in edges:
        up, down = edge_ends(edge)
        if up not in ids or down not in ids:
            raise NotFound(f"An edge names the task {up if up not in ids else down!r}, which the flow does not have")
        ends = {"upstream_task_id": ids[up], "downstream_task_id": ids[down]}
        rows.append({**owner, **ends, "key": edge.get("key"), "mapped": bool(edge.get("mapped"))})
    below, above, mapped = edge_slugs(edges)
    for sets, slugs in (("is_root_task = 0", below), ("is_terminal_task = 0", above), ("mapped = 1", mapped)):
        for slug in slugs:
            request.tx.execute(f"UPDATE task SET {sets} WHERE id = ?", [ids[slug]])
    known = {
        (row["upstream_task_id"], row["downstream_task_id"], row["key"])
        for row in request.tx.all("SELECT * FROM edge WHERE flow_id = ?", [flow["id"]])
    }
    request.tx.insert_many(
        "edge", [r for r in rows if (r["upstream_task_id"], r["downstream_task_id"], r["key"]) not in known]
    )


def _archive(request: Request, flow: dict[str, Any]) -> None:
    """Archive a version: delete the runs that its schedule planned, and cancel those that people planned."""
    request.tx.update("flow", flow["id"], {"archived": True, "is_schedule_active": False})
    drop_planned(request, flow["id"])
    for run in request.tx.rows("flow_run", "flow_id = ? AND state = 'Scheduled'", [flow["id"]]):
        put_flow_run(request, run, plain("Cancelled", "The flow was archived before the run began"))

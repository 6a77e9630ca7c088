"""Mutations that create, rename and delete flow runs (protocol section 13.3)."""

from typing import Any, Final

from prefect.agent.domain.cloud.errors import CloudRefusal, NotFound
from prefect.agent.domain.cloud.runs import run_labels, run_name, run_parameters
from prefect.agent.domain.cloud.states import read_time, scheduled
from prefect.agent.domain.times import iso
from prefect.agent.entrypoints.server.mutations.registry import ID, SUCCESS, Given, Payload, Request, mutation, required
from prefect.agent.entrypoints.server.mutations.states import put_flow_run
from prefect.agent.entrypoints.server.mutations.tasks import add_task_runs

_TAKES: Final = (
    "flow_id: UUID, version_group_id: String, idempotency_key: String, parameters: JSON, context: JSON, "
    "labels: [String!], run_config: JSON, scheduled_start_time: DateTime, flow_run_name: String"
)


@mutation(_TAKES, ID)
def create_flow_run(request: Request, given: Given) -> Payload:
    """Create a Scheduled run of a flow; a repeat with the same idempotency key returns the first run's id."""
    flow = _flow(request, given)
    key = given.get("idempotency_key")
    if key:
        known = request.tx.row("flow_run", "flow_id = ? AND idempotency_key = ?", [flow["id"], key])
        if known:
            return {"id": known["id"]}
    return {"id": add_flow_run(request, flow, given)}


@mutation("flow_run_id: UUID!, name: String!", SUCCESS)
def set_flow_run_name(request: Request, given: Given) -> Payload:
    """Rename a flow run."""
    changed = request.tx.update("flow_run", given["flow_run_id"], {"name": required(given, "name")})
    return {"success": changed > 0}


@mutation("flow_run_id: UUID!, labels: [String!]!", SUCCESS)
def set_flow_run_labels(request: Request, given: Given) -> Payload:
    """Change the labels of a flow run."""
    changed = request.tx.update("flow_run", given["flow_run_id"], {"labels": sorted(set(given["labels"]))})
    return {"success": changed > 0}


@mutation("flow_run_id: UUID!", SUCCESS)
def delete_flow_run(request: Request, given: Given) -> Payload:
    """Delete a flow run and all its data."""
    return {"success": request.tx.execute("DELETE FROM flow_run WHERE id = ?", [given["flow_run_id"]]) > 0}


def add_flow_run(request: Request, flow: dict[str, Any], given: Given, *, auto_scheduled: bool = False) -> str:
    """Create a Scheduled flow run with its task runs; return its id.

    Raises:
        CloudRefusal: A required parameter is missing, or an argument is invalid.
    """
    group = request.get("flow_group", flow["flow_group_id"])
    when = read_time(given["scheduled_start_time"]) if given.get("scheduled_start_time") else request.now
    for name in ("parameters", "context", "run_config"):
        if given.get(name) is not None and not isinstance(given[name], dict):
            raise CloudRefusal(f"{name} must be an object")
    config = next((c for c in (given.get("run_config"), group["run_config"], flow["run_config"]) if c), None)
    row = {
        "tenant_id": flow["tenant_id"],
        "flow_id": flow["id"],
        "name": given.get("flow_run_name") or run_name(request.choose),
        "labels": run_labels(given, group, flow),
        "parameters": run_parameters(flow["parameters"] or [], group["default_parameters"], given.get("parameters")),
        "context": given.get("context") or {},
        "run_config": config,
        "scheduled_start_time": iso(when),
        "auto_scheduled": auto_scheduled,
        "idempotency_key": given.get("idempotency_key"),
        "state": "Pending",
    }
    run_id = request.tx.insert("flow_run", row)
    stored = request.get("flow_run", run_id)
    tasks = request.tx.rows("task", "flow_id = ?", [flow["id"]])
    add_task_runs(request, stored, tasks, -1)
    put_flow_run(request, stored, scheduled(when, "Flow run scheduled."))
    return run_id


def _flow(request: Request, given: Given) -> dict[str, Any]:
    if given.get("flow_id"):
        flow = request.get("flow", given["flow_id"])
        if flow["archived"]:
            raise CloudRefusal(f"Flow {flow['id']} is archived: a newer version has taken its place")
        return flow
    if not given.get("version_group_id"):
        raise CloudRefusal("Name the flow by flow_id or by version_group_id")
    where = "version_group_id = ? AND NOT archived ORDER BY version DESC"
    newest = request.tx.row("flow", where, [given["version_group_id"]])
    if newest is None:
        raise NotFound(f"No unarchived flow of version group {given['version_group_id']} found")
    return newest

"""Mutations for settings of flow groups, projects and tenants (protocol section 12.1)."""

from collections.abc import Mapping
from datetime import timedelta
from typing import Any, Final

from prefect.agent.domain.cloud.calendar.clocks import read_zone
from prefect.agent.domain.cloud.calendar.schedules import read_schedule
from prefect.agent.domain.cloud.errors import CloudRefusal
from prefect.agent.domain.times import iso
from prefect.agent.entrypoints.server.mutations.projects import UNIQUE, tenant_slug
from prefect.agent.entrypoints.server.mutations.registry import (
    ID,
    INPUTS,
    SUCCESS,
    Given,
    Payload,
    Request,
    mutation,
    required,
)
from prefect.agent.entrypoints.server.mutations.schedules import drop_planned, set_schedule_active

INPUTS["cron_clock_input"] = "cron: String!, parameter_defaults: JSON, labels: [String!]"
INPUTS["interval_clock_input"] = "interval: Int!, parameter_defaults: JSON, labels: [String!]"

_GROUP: Final = "flow_group_id: UUID!"
_SECOND: Final = timedelta(seconds=1)


@mutation(f"{_GROUP}, description: String", SUCCESS)
def set_flow_group_description(request: Request, given: Given) -> Payload:
    """Set the description of a flow group."""
    return _set(request, "flow_group", given["flow_group_id"], {"description": given.get("description")})


@mutation(f"{_GROUP}, labels: [String!]", SUCCESS)
def set_flow_group_labels(request: Request, given: Given) -> Payload:
    """Set the labels of a flow group's runs; null restores those of the flow."""
    labels = given.get("labels")
    return _set(
        request, "flow_group", given["flow_group_id"], {"labels": None if labels is None else sorted(set(labels))}
    )


@mutation(f"{_GROUP}, run_config: JSON", SUCCESS)
def set_flow_group_run_config(request: Request, given: Given) -> Payload:
    """Set the run config of a flow group's runs; null restores that of the flow."""
    config = given.get("run_config")
    if config is not None and not (isinstance(config, Mapping) and isinstance(config.get("type"), str)):
        raise CloudRefusal("run_config must be an object with a type")
    return _set(request, "flow_group", given["flow_group_id"], {"run_config": config})


@mutation(f"{_GROUP}, parameters: JSON!", SUCCESS)
def set_flow_group_default_parameters(request: Request, given: Given) -> Payload:
    """Set the default parameters of a flow group's runs."""
    if not isinstance(given["parameters"], Mapping):
        raise CloudRefusal("parameters must be an object")
    return _set(request, "flow_group", given["flow_group_id"], {"default_parameters": given["parameters"]})


@mutation(
    f"{_GROUP}, cron_clocks: [cron_clock_input!], interval_clocks: [interval_clock_input!], timezone: String", SUCCESS
)
def set_flow_group_schedule(request: Request, given: Given) -> Payload:
    """Set a schedule that replaces the flow's own; intervals are in seconds."""
    zone = given.get("timezone") or "UTC"
    start = {"dt": request.now.astimezone(read_zone(zone)).replace(tzinfo=None).isoformat(), "tz": zone}
    clocks = [{**clock, "type": "CronClock", "start_date": start} for clock in given.get("cron_clocks") or []]
    for clock in given.get("interval_clocks") or []:
        interval = clock["interval"] * (_SECOND // timedelta.resolution)
        clocks.append({**clock, "type": "IntervalClock", "interval": interval, "start_date": start})
    schedule = {"clocks": clocks, "filters": [], "or_filters": [], "not_filters": [], "adjustments": []}
    read_schedule(schedule)
    return _set_schedule(request, given["flow_group_id"], schedule)


@mutation(_GROUP, SUCCESS)
def delete_flow_group_schedule(request: Request, given: Given) -> Payload:
    """Delete the schedule of a flow group, so that the flow's own applies again."""
    return _set_schedule(request, given["flow_group_id"], None)


@mutation(_GROUP, SUCCESS)
def delete_flow_group(request: Request, given: Given) -> Payload:
    """Delete a flow group, its flows and their runs."""
    return {"success": request.tx.execute("DELETE FROM flow_group WHERE id = ?", [given["flow_group_id"]]) > 0}


@mutation("flow_id: UUID!", SUCCESS)
def enable_flow_heartbeat(request: Request, given: Given) -> Payload:
    """Let the processes of a flow send heartbeats."""
    return _set_heartbeat(request, given["flow_id"], enabled=True)


@mutation("flow_id: UUID!", SUCCESS)
def disable_flow_heartbeat(request: Request, given: Given) -> Payload:
    """Stop the heartbeats of a flow's processes; Lazarus and the zombie killer ignore its runs."""
    return _set_heartbeat(request, given["flow_id"], enabled=False)


@mutation("flow_id: UUID!", SUCCESS)
def enable_flow_lazarus_process(request: Request, given: Given) -> Payload:
    """Let Lazarus schedule runs of a flow again whose process is lost."""
    return _set_setting(request, given["flow_id"], lazarus_enabled=True)


@mutation("flow_id: UUID!", SUCCESS)
def disable_flow_lazarus_process(request: Request, given: Given) -> Payload:
    """Keep Lazarus from scheduling runs of a flow again."""
    return _set_setting(request, given["flow_id"], lazarus_enabled=False)


@mutation("flow_id: UUID!", SUCCESS)
def enable_flow_version_lock(request: Request, given: Given) -> Payload:
    """Require the latest version of a run when one of the flow's runs is set Running."""
    return _set_setting(request, given["flow_id"], version_locking_enabled=True)


@mutation("flow_id: UUID!", SUCCESS)
def disable_flow_version_lock(request: Request, given: Given) -> Payload:
    """Accept any version of a run when one of the flow's runs is set Running."""
    return _set_setting(request, given["flow_id"], version_locking_enabled=False)


@mutation("flow_id: UUID!, project_id: UUID!", ID)
def update_flow_project(request: Request, given: Given) -> Payload:
    """Move a flow, with all its versions, to another project."""
    flow, project = request.get("flow", given["flow_id"]), request.get("project", given["project_id"])
    if flow["tenant_id"] != project["tenant_id"]:
        raise CloudRefusal("The project belongs to another tenant")
    where = "UPDATE flow SET project_id = ?, updated = ? WHERE flow_group_id = ?"
    request.tx.execute(where, [project["id"], iso(request.now), flow["flow_group_id"]])
    return {"id": flow["id"]}


@mutation("project_id: UUID!, name: String!", ID)
def set_project_name(request: Request, given: Given) -> Payload:
    """Rename a project; its name is unique in its tenant."""
    project, name = request.get("project", given["project_id"]), required(given, "name")
    same = request.tx.row("project", "tenant_id = ? AND name = ?", [project["tenant_id"], name])
    if same and same["id"] != project["id"]:
        raise CloudRefusal(UNIQUE)
    return _change(request, "project", project["id"], {"name": name})


@mutation("project_id: UUID!, description: String", ID)
def set_project_description(request: Request, given: Given) -> Payload:
    """Set the description of a project."""
    return _change(request, "project", given["project_id"], {"description": given.get("description")})


@mutation("tenant_id: UUID!, name: String!", ID)
def update_tenant_name(request: Request, given: Given) -> Payload:
    """Rename a tenant."""
    return _change(request, "tenant", given["tenant_id"], {"name": required(given, "name")})


@mutation("tenant_id: UUID!, slug: String!", ID)
def update_tenant_slug(request: Request, given: Given) -> Payload:
    """Change the slug of a tenant; it is unique."""
    return _change(request, "tenant", given["tenant_id"], {"slug": tenant_slug(request, given)})


@mutation("tenant_id: UUID!, settings: JSON", ID)
def update_tenant_settings(request: Request, given: Given) -> Payload:
    """Change the given settings of a tenant; leave the others."""
    settings = given.get("settings")
    if not isinstance(settings, Mapping):
        raise CloudRefusal("settings must be an object")
    known = request.get("tenant", given["tenant_id"])["settings"] or {}
    return _change(request, "tenant", given["tenant_id"], {"settings": {**known, **settings}})


@mutation("tenant_id: UUID!, confirm: Boolean!", SUCCESS)
def delete_tenant(request: Request, given: Given) -> Payload:
    """Delete a tenant and all its data."""
    if not given["confirm"]:
        raise CloudRefusal("A tenant is only deleted with confirm: true")
    return {"success": request.tx.execute("DELETE FROM tenant WHERE id = ?", [given["tenant_id"]]) > 0}


def _change(request: Request, table: str, row_id: str, values: Mapping[str, Any]) -> Payload:
    """Change columns of a row.

    Raises:
        NotFound: The row does not exist.
    """
    request.get(table, row_id)
    request.tx.update(table, row_id, {**values, "updated": iso(request.now)})
    return {"id": row_id}


def _set(request: Request, table: str, row_id: str, values: Mapping[str, Any]) -> Payload:
    _change(request, table, row_id, values)
    return {"success": True}


def _set_schedule(request: Request, group_id: str, schedule: Mapping[str, Any] | None) -> Payload:
    """Set the schedule, delete the runs planned by the previous one, and plan the next runs of active flows."""
    answer = _set(request, "flow_group", group_id, {"schedule": schedule})
    flows = request.tx.all("SELECT id, is_schedule_active, archived FROM flow WHERE flow_group_id = ?", [group_id])
    for flow in flows:
        drop_planned(request, flow["id"])
        if flow["is_schedule_active"] and not flow["archived"]:
            set_schedule_active(request, {"flow_id": flow["id"]})
    return answer


def _set_setting(request: Request, flow_id: str, **values: bool) -> Payload:
    group = request.get("flow_group", request.get("flow", flow_id)["flow_group_id"])
    return _set(request, "flow_group", group["id"], {"settings": {**(group["settings"] or {}), **values}})


def _set_heartbeat(request: Request, flow_id: str, *, enabled: bool) -> Payload:
    """Set whether processes send heartbeats, also in the flows, where processes look (protocol section 12.5)."""
    group_id = request.get("flow", flow_id)["flow_group_id"]
    for flow in request.tx.all("SELECT id FROM flow WHERE flow_group_id = ?", [group_id]):
        settings = request.get("flow", flow["id"])["settings"] or {}
        _change(request, "flow", flow["id"], {"settings": {**settings, "heartbeat_enabled": enabled}})
    return _set_setting(request, flow_id, heartbeat_enabled=enabled)

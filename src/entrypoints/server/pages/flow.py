"""A flow: its schedule, its defaults and its last runs."""

import json
from collections.abc import Mapping
from typing import Any, Final

from prefect.agent.entrypoints.server.pages.kinds import Page, Section
from prefect.agent.entrypoints.server.pages.run_list import begun, latest_runs
from prefect.agent.entrypoints.server.pages.schedules import shown_schedule
from prefect.agent.entrypoints.server.pages.view import NotThere, View, fields
from prefect.agent.entrypoints.server.storage.row_trees import Row

LAST_RUNS: Final = 50
MOST_VERSIONS: Final = 5000
MOST_CHOICES: Final = 500

TABS: Final = {"Overview": "", "Versions": "/versions", "Graph": "/graph"}
"""Tabs of a flow, in order: name and end of the address. A tab's template sets ``here`` to its name."""

_FLOW: Final = fields(
    "id name version archived description core_version created is_schedule_active flow_group_id",
    project=fields("id name"),
    flow_group=fields("id labels default_parameters run_config schedule description"),
)
_DETAILS: Final = fields("parameters run_config storage schedule")


def data(view: View) -> Mapping[str, Any]:
    """What ``flow_overview.html`` shows."""
    shown = flow_head(view)
    flow = shown["flow"]
    group = {"flow_group_id": {"_eq": flow["flow_group_id"]}}
    versions = [one["id"] for one in view.rows("flow", fields("id"), group, limit=MOST_VERSIONS)]
    schedule = shown_schedule(flow["schedule"], flow["flow_group"]["schedule"], view.now)
    return {
        **shown,
        "runs": latest_runs(view, {"flow_id": {"_in": versions}, **begun(view.now)}, LAST_RUNS),
        "schedule": schedule,
        "filled": {"cron": schedule.cron, "minutes": schedule.minutes, "zone": schedule.zone},
        "defaults": _defaults(flow["flow_group"]),
        "projects": other_projects(view, flow["project"]["id"]),
        "problems": {},
    }


def other_projects(view: View, own: str) -> list[Row]:
    """Projects that a flow can be moved to."""
    where = {"id": {"_neq": own}}
    return view.rows("project", fields("id name"), where, order_by={"name": "asc"}, limit=MOST_CHOICES)


def _defaults(group: Row) -> dict[str, str]:
    """What was set for the runs of all versions, as the form has it."""
    return {
        "labels": ", ".join(group["labels"] or ()),
        "parameters": as_json(group["default_parameters"]),
        "run_config": as_json(group["run_config"]),
    }


def as_json(value: object) -> str:
    """A JSON value in a form; empty if it is nothing."""
    return json.dumps(value, indent=2, ensure_ascii=False) if value else ""


def flow_head(view: View) -> dict[str, Any]:
    """What every tab of a flow shows.

    Raises:
        NotThere: There is no such flow.
    """
    flow = flow_of(view)
    count = view.count("flow", {"flow_group_id": {"_eq": flow["flow_group_id"]}})
    return {"flow": flow, "version_count": count, "flow_tabs": TABS, "problem": ""}


FLOW: Final = Page("/flow/{flow_id}", "flow_overview.html", data, tab="Flows")


def flow_of(view: View) -> Row:
    """The flow that the address names: by its id, or by its group's, then the newest version.

    Raises:
        NotThere: There is none.
    """
    given = view.path["flow_id"]
    try:
        return view.row("flow", given, (*_FLOW, *_DETAILS))
    except NotThere:
        group = {"flow_group_id": {"_eq": given}}
        found = view.rows("flow", (*_FLOW, *_DETAILS), group, whole=True, order_by={"version": "desc"}, limit=1)
        if not found:
            raise
        return found[0]


SECTION: Final = Section(pages=(FLOW,))

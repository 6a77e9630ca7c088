"""The page of all flows: the newest version of each, by project, with its latest runs as a strip."""

import json
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from typing import Any, Final

from prefect.agent.domain.times import iso
from prefect.agent.entrypoints.server.pages.kinds import Page, Section
from prefect.agent.entrypoints.server.pages.paging import part
from prefect.agent.entrypoints.server.pages.view import View, fields
from prefect.agent.entrypoints.server.storage.row_trees import Row

SHOWN: Final = 100
MOST: Final = 5000
STRIP: Final = 12
"""Runs of a flow in its strip."""

RECENT: Final = 2000
"""Runs of all flows that are looked at for the strips."""

_COLUMNS: Final = fields("id name version archived created is_schedule_active flow_group_id", project=fields("id name"))
_NEWEST: Final = f"SELECT id, max(version) FROM flow WHERE tenant_id = ? GROUP BY flow_group_id LIMIT {MOST}"
_RECENT: Final = (
    "SELECT flow_id, state FROM (SELECT flow_id, state, state_start_time FROM flow_run WHERE tenant_id = ? "
    f"ORDER BY created DESC LIMIT {RECENT}) WHERE state <> 'Scheduled' OR state_start_time <= ?"
)
_GROUPS: Final = "SELECT id, flow_group_id FROM flow WHERE id IN (SELECT value FROM json_each(?))"


def data(view: View) -> Mapping[str, Any]:
    """What ``flows.html`` shows."""
    name, project = view.query.get("name", "").lower(), view.query.get("project", "")
    known = _newest(view)
    found = [flow for flow in known if name in flow["name"].lower() and project in {"", flow["project"]["id"]}]
    sheet = part(view.query, SHOWN, found)
    strips = _strips(view)
    return {
        "flows": [{**flow, "strip": strips.get(flow["flow_group_id"], [])} for flow in sheet.rows],
        "counted": _counted,
        "projects": sorted({(flow["project"]["name"], flow["project"]["id"]) for flow in known}),
        "has_projects": bool(known) or view.count("project") > 0,
        "is_filtered": bool(name or project),
        "sheet": sheet,
    }


def _newest(view: View) -> list[Row]:
    ids = [row["id"] for row in view.sql("flow", _NEWEST, [view.tenant["id"]])]
    order = [{"project": {"name": "asc"}}, {"name": "asc"}]
    return view.rows("flow", _COLUMNS, {"id": {"_in": ids}}, order_by=order) if ids else []


def _counted(states: Sequence[str]) -> str:
    return ", ".join(f"{count} {state}" for state, count in Counter(states).most_common())


def _strips(view: View) -> Mapping[str, Sequence[str]]:
    """States of the latest runs that are not scheduled for later, the newest first, by flow group."""
    runs = view.sql("flow_run", _RECENT, [view.tenant["id"], iso(view.now)])
    ids = json.dumps(list({row["flow_id"] for row in runs}))
    groups = {row["id"]: row["flow_group_id"] for row in view.sql("flow", _GROUPS, [ids])}
    found: dict[str, list[str]] = defaultdict(list)
    for row in runs:
        states = found[groups[row["flow_id"]]]
        if len(states) < STRIP:
            states.append(row["state"])
    return found


SECTION: Final = Section(pages=(Page("/flows", "flows.html", data, tab="Flows"),))

"""The page of all flows: the newest version of each."""

from collections.abc import Mapping
from typing import Any, Final

from prefect.agent.entrypoints.server.pages.kinds import Page, Section
from prefect.agent.entrypoints.server.pages.view import View, fields
from prefect.agent.entrypoints.server.storage.row_trees import Row

SHOWN: Final = 500

_COLUMNS: Final = fields("id name version archived created is_schedule_active flow_group_id", project=fields("id name"))


def data(view: View) -> Mapping[str, Any]:
    """What ``flows.html`` shows."""
    name = view.query.get("name", "").lower()
    found = [flow for flow in _newest(view) if name in flow["name"].lower()]
    return {"flows": found[:SHOWN], "more": max(0, len(found) - SHOWN)}


def _newest(view: View) -> list[Row]:
    statement = (
        "SELECT id FROM flow f WHERE tenant_id = ? AND version = "
        "(SELECT max(version) FROM flow o WHERE o.flow_group_id = f.flow_group_id) LIMIT 5000"
    )
    ids = [row["id"] for row in view.sql("flow", statement, [view.tenant["id"]])]
    order = [{"project": {"name": "asc"}}, {"name": "asc"}]
    return view.rows("flow", _COLUMNS, {"id": {"_in": ids}}, order_by=order) if ids else []


SECTION: Final = Section(pages=(Page("/flows", "flows.html", data, tab="Flows"),))

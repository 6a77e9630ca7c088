"""The page of all flow runs."""

from collections.abc import Mapping
from typing import Any, Final

from prefect.agent.domain.times import iso
from prefect.agent.entrypoints.server.pages.addresses import SPANS, changed, moment, only
from prefect.agent.entrypoints.server.pages.kinds import Page, Section
from prefect.agent.entrypoints.server.pages.run_list import FILTERS, SORTS, TIMES, list_runs
from prefect.agent.entrypoints.server.pages.view import View, fields

STATES: Final = (
    "Scheduled", "Queued", "Submitted", "Running", "Retrying", "Paused", "Success", "Failed", "Cancelling", "Cancelled",
)  # fmt: skip
"""States that a flow run comes into; the list is filtered by them."""

_MOST_CHOICES: Final = 500


def data(view: View) -> Mapping[str, Any]:
    """What ``flow_runs.html`` shows."""
    filters = set(FILTERS) - {"time", "sort", "way"}
    return {
        "listing": list_runs(view),
        "states": STATES,
        "spans": list(SPANS),
        "sorts": list(SORTS),
        "times": list(TIMES),
        "flows": flow_choices(view),
        "projects": view.rows("project", fields("id name"), order_by={"name": "asc"}, limit=_MOST_CHOICES),
        "is_filtered": any(view.query.get(name) for name in filters),
        "between": {"start": moment(view.query, "from"), "end": moment(view.query, "to")},
        "until": iso(view.now),
        "kept": only(view.query, FILTERS),
        "changed": lambda **values: changed(view.query, **values),
    }


def flow_choices(view: View) -> list[tuple[str, str]]:
    """Flow groups of the tenant to choose from, the one that is chosen among them: id and the flow's name."""
    statement = (
        "SELECT flow_group_id AS id, substr(max(name), 1, 300) AS name FROM flow WHERE tenant_id = ? "
        f"GROUP BY flow_group_id ORDER BY flow_group_id <> ?, 2 LIMIT {_MOST_CHOICES}"
    )
    rows = view.sql("flow", statement, [view.tenant["id"], view.query.get("flow", "")])
    return sorted(((row["id"], row["name"]) for row in rows), key=lambda one: one[1])


SECTION: Final = Section(pages=(Page("/flow-runs", "flow_runs.html", data, tab="Flow runs"),))

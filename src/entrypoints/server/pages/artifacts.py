"""Artifacts of a flow run: what its task runs attached for people. Links and markdown are text here, never HTML."""

import json
from collections.abc import Mapping
from typing import Any, Final

from prefect.agent.entrypoints.server.pages.flow_run import head
from prefect.agent.entrypoints.server.pages.kinds import Page, Section
from prefect.agent.entrypoints.server.pages.paging import Stretch, sheet
from prefect.agent.entrypoints.server.pages.view import View
from prefect.agent.entrypoints.server.storage.row_trees import Row

SHOWN: Final = 50
LONGEST: Final = 100_000
"""Characters of an artifact that are read; of a longer one the beginning is shown, as JSON."""

_ARTIFACTS: Final = (
    f"SELECT a.id, a.kind, substr(a.data, 1, {LONGEST}) AS data, length(a.data) AS size, a.created, "
    "a.created AS place, r.id AS task_run_id, r.map_index, r.name, t.name AS task_name "
    "FROM task_run_artifact a JOIN task_run r ON r.id = a.task_run_id LEFT JOIN task t ON t.id = r.task_id "
    "WHERE r.flow_run_id = ? AND a.tenant_id = ? AND "
)


def data(view: View) -> Mapping[str, Any]:
    """What ``flow_run_artifacts.html`` shows: the oldest first."""
    shown = head(view)

    def read(stretch: Stretch) -> list[Row]:
        beyond, start, end = stretch.sql("a.created", "a.id", descending=False)
        given = [view.path["run_id"], view.tenant["id"], *start]
        return view.sql("task_run_artifact", f"{_ARTIFACTS}{beyond} {end}", given)

    found = sheet(view.query, SHOWN, read)
    for row in found.rows:
        is_cut = (row["size"] or 0) > LONGEST
        row["data"] = row["data"] if is_cut or not row["data"] else json.loads(row["data"])
    return {
        **shown,
        "artifacts": [{**row, "text": text_of(row["data"])} for row in found.rows],
        "sheet": found,
    }


def text_of(content: object) -> str | None:
    """The text of a link or of markdown; None if it is something else, which is shown as JSON."""
    if isinstance(content, Mapping) and len(content) == 1:
        [content] = content.values()
    return content if isinstance(content, str) else None


SECTION: Final = Section(
    pages=(Page("/flow-run/{run_id}/artifacts", "flow_run_artifacts.html", data, tab="Flow runs"),)
)

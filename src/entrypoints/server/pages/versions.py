"""The versions of a flow, each with what changed since the one before."""

import itertools
import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any, Final

from prefect.agent.entrypoints.server.pages.flow import flow_head
from prefect.agent.entrypoints.server.pages.kinds import Page, Section
from prefect.agent.entrypoints.server.pages.paging import sheet_of
from prefect.agent.entrypoints.server.pages.version_changes import Version, changes
from prefect.agent.entrypoints.server.pages.view import View, fields
from prefect.agent.entrypoints.server.storage.row_trees import Row

SHOWN: Final = 10
MOST_READ: Final = 20_000
"""Tasks, and edges, of all versions of a page together."""

_COLUMNS: Final = fields("id version created archived core_version parameters storage run_config schedule")
_TASK: Final = ("name", "type", "max_retries", "retry_delay", "trigger", "mapped", "cache_key", "tags")
_TASKS: Final = (
    f"SELECT flow_id, slug, {', '.join(_TASK)} FROM task WHERE tenant_id = ? "
    f"AND flow_id IN (SELECT value FROM json_each(?)) LIMIT {MOST_READ + 1}"
)
_EDGES: Final = (
    "SELECT e.flow_id, u.slug AS up, d.slug AS down, e.key FROM edge e "
    "JOIN task u ON u.id = e.upstream_task_id JOIN task d ON d.id = e.downstream_task_id "
    f"WHERE e.tenant_id = ? AND e.flow_id IN (SELECT value FROM json_each(?)) LIMIT {MOST_READ + 1}"
)


def data(view: View) -> Mapping[str, Any]:
    """What ``flow_versions.html`` shows."""
    shown = flow_head(view)
    where: dict[str, Any] = {"flow_group_id": {"_eq": shown["flow"]["flow_group_id"]}}
    found = sheet_of(view, "flow", _COLUMNS, "t0.version", size=SHOWN, where=where, descending=True)
    rows = [*found.rows, *_one_before(view, found.rows, where)]
    versions, is_complete = _read(view, rows)
    differences = [changes(old, new) for new, old in itertools.pairwise(versions)]
    told = itertools.zip_longest(found.rows, differences)
    return {
        **shown,
        "is_complete": is_complete,
        "versions": [{**row, "changes": found} for row, found in told],
        "sheet": found,
    }


def _one_before(view: View, rows: Sequence[Row], where: Mapping[str, Any]) -> list[Row]:
    """The version that the last of *rows* is compared with, if there is one."""
    if not rows:
        return []
    older = {**where, "version": {"_lt": rows[-1]["version"]}}
    return view.rows("flow", _COLUMNS, older, order_by={"version": "desc"}, limit=1)


def _read(view: View, rows: Sequence[Row]) -> tuple[list[Version], bool]:
    """Versions, and whether their tasks and edges were read: too many of them are left out."""
    given = [view.tenant["id"], json.dumps([row["id"] for row in rows])]
    tasks: dict[str, dict[str, Mapping[str, Any]]] = defaultdict(dict)
    edges: dict[str, set[tuple[str, str, str]]] = defaultdict(set)
    found = [view.sql("task", _TASKS, given), view.sql("edge", _EDGES, given)]
    is_complete = max(map(len, found)) <= MOST_READ
    for one in found[0] if is_complete else []:
        tasks[one["flow_id"]][one["slug"]] = {name: one[name] for name in _TASK}
    for one in found[1] if is_complete else []:
        edges[one["flow_id"]].add((one["up"], one["down"], one["key"] or ""))
    return [_version(row, tasks[row["id"]], frozenset(edges[row["id"]])) for row in rows], is_complete


def _version(row: Row, tasks: Mapping[str, Mapping[str, Any]], edges: frozenset[tuple[str, str, str]]) -> Version:
    return Version(
        parameters=row["parameters"],
        tasks=tasks,
        edges=edges,
        settings={
            "run config": row["run_config"],
            "storage": row["storage"],
            "schedule": row["schedule"],
            "Prefect": row["core_version"],
        },
    )


SECTION: Final = Section(pages=(Page("/flow/{flow_id}/versions", "flow_versions.html", data, tab="Flows"),))

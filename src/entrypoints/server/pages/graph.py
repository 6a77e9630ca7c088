"""The graph of a flow run: its flow's tasks and edges as a layered drawing, in the colours of their task runs."""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from typing import Any, Final

from prefect.agent.entrypoints.server.pages.flow_run import head
from prefect.agent.entrypoints.server.pages.kinds import Page, Section
from prefect.agent.entrypoints.server.pages.layers import HEIGHT, WIDTH, Place, draw
from prefect.agent.entrypoints.server.pages.view import View, fields
from prefect.agent.entrypoints.server.storage.row_trees import Row

MOST_TASKS: Final = 500
MOST_EDGES: Final = 3000
NAME: Final = 22
"""Characters of a task's name that its box has room for."""

_WORST_FIRST: Final = (
    "Failed", "TriggerFailed", "TimedOut", "Cancelled", "Running", "Retrying", "Queued", "Paused", "Scheduled",
    "Pending",
)  # fmt: skip

_STATES: Final = (
    "SELECT task_id AS id, state, count(*) AS n, min(id) AS first FROM task_run "
    "WHERE flow_run_id = ? AND tenant_id = ? AND (map_index >= 0 OR NOT state = 'Mapped') GROUP BY 1, 2"
)


def data(view: View) -> Mapping[str, Any]:
    """What ``flow_run_graph.html`` shows."""
    shown = head(view)
    own = {"flow_id": {"_eq": shown["run"]["flow"]["id"]}}
    tasks = view.rows("task", fields("id name slug"), own, order_by={"slug": "asc"}, limit=MOST_TASKS + 1)
    if len(tasks) > MOST_TASKS:
        return {**shown, "boxes": [], "too_many": MOST_TASKS}
    columns = fields("upstream_task_id downstream_task_id")
    edges = view.rows("edge", columns, own, order_by={"id": "asc"}, limit=MOST_EDGES + 1)
    known = {task["id"] for task in tasks}
    pairs = {(edge["upstream_task_id"], edge["downstream_task_id"]): None for edge in edges[:MOST_EDGES]}
    drawing = draw([task["id"] for task in tasks], [pair for pair in pairs if known.issuperset(pair)])
    states = _states(view)
    return {
        **shown,
        "boxes": [_box(view, task, drawing.places[task["id"]], states.get(task["id"], [])) for task in tasks],
        "too_many": None,
        "lines": [_path(points) for points in drawing.edges],
        "most_edges": MOST_EDGES if len(edges) > MOST_EDGES else None,
        "drawing": drawing,
        "size": (WIDTH, HEIGHT),
    }


def _states(view: View) -> dict[str, list[Row]]:
    """How many task runs are in which state, by task."""
    found: dict[str, list[Row]] = defaultdict(list)
    for row in view.sql("task_run", _STATES, [view.path["run_id"], view.tenant["id"]]):
        found[row["id"]].append(row)
    return found


def _box(view: View, task: Row, place: Place, states: Sequence[Row]) -> Row:
    """One task: where its box is, its worst state, and where a click leads."""
    counts = Counter({row["state"]: row["n"] for row in states})
    total = counts.total()
    name = task["name"] or task["slug"] or ""
    run = view.link("flow-run", view.path["run_id"])
    link = f"{run}/logs?task_run={states[0]['first']}" if total == 1 else f"{run}/timeline?open={task['id']}"
    return {
        "name": name,
        "short": name if len(name) <= NAME else f"{name[: NAME - 1]}…",
        "x": place[0],
        "y": place[1],
        "state": next((state for state in (*_WORST_FIRST, *counts) if counts[state]), "no task run"),
        "counts": counts.most_common(),
        "total": total,
        "link": link,
    }


def _path(points: Sequence[Place]) -> str:
    """An edge as an SVG path, curved between its points."""
    (x, y), *others = points
    parts = [f"M{x:g} {y:g}"]
    for end_x, end_y in others:
        middle = (x + end_x) / 2
        parts.append(f"C{middle:g} {y:g} {middle:g} {end_y:g} {end_x:g} {end_y:g}")
        x, y = end_x, end_y
    return "".join(parts)


SECTION: Final = Section(pages=(Page("/flow-run/{run_id}/graph", "flow_run_graph.html", data, tab="Flow runs"),))

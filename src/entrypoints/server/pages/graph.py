"""Graphs: tasks and edges of a flow as a layered drawing; of a flow run in the colours of its task runs."""

from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from prefect.agent.entrypoints.server.pages.flow import flow_head
from prefect.agent.entrypoints.server.pages.flow_run import head
from prefect.agent.entrypoints.server.pages.kinds import Page, Section
from prefect.agent.entrypoints.server.pages.layers import HEIGHT, WIDTH, Place, draw
from prefect.agent.entrypoints.server.pages.view import View, fields
from prefect.agent.entrypoints.server.storage.row_trees import Row

MOST_TASKS: Final = 500
MOST_EDGES: Final = 3000
NAME: Final = 22
"""Characters of a task's name that its box has room for."""

_TASK: Final = fields("id name slug type mapped max_retries tags")
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
    flow, states = shown["run"]["flow"], _states(view)
    return {**shown, **drawn(view, flow, lambda task: _of_run(view, task, states.get(task["id"], [])))}


def flow_graph(view: View) -> Mapping[str, Any]:
    """What ``flow_graph.html`` shows."""
    shown = flow_head(view)
    return {**shown, **drawn(view, shown["flow"], _of_flow)}


def drawn(view: View, flow: Row, box_of: Callable[[Row], Row]) -> dict[str, Any]:
    """What ``graph_drawing.html`` shows of a flow.

    Args:
        box_of: What a task's box says, and where it leads.
    """
    own = {"flow_id": {"_eq": flow["id"]}}
    tasks = view.rows("task", _TASK, own, order_by={"slug": "asc"}, limit=MOST_TASKS + 1)
    if len(tasks) > MOST_TASKS:
        return {"boxes": [], "too_many": MOST_TASKS}
    columns = fields("upstream_task_id downstream_task_id")
    edges = view.rows("edge", columns, own, order_by={"id": "asc"}, limit=MOST_EDGES + 1)
    known = {task["id"] for task in tasks}
    pairs = {(edge["upstream_task_id"], edge["downstream_task_id"]): None for edge in edges[:MOST_EDGES]}
    drawing = draw([task["id"] for task in tasks], [pair for pair in pairs if known.issuperset(pair)])
    return {
        "boxes": [{**_box(task, drawing.places[task["id"]]), **box_of(task)} for task in tasks],
        "too_many": None,
        "lines": [_path(points) for points in drawing.edges],
        "most_edges": MOST_EDGES if len(edges) > MOST_EDGES else None,
        "drawing": drawing,
        "size": (WIDTH, HEIGHT),
        "flow_name": flow["name"],
    }


def _states(view: View) -> dict[str, list[Row]]:
    """How many task runs are in which state, by task."""
    found: dict[str, list[Row]] = defaultdict(list)
    for row in view.sql("task_run", _STATES, [view.path["run_id"], view.tenant["id"]]):
        found[row["id"]].append(row)
    return found


def _box(task: Row, place: Place) -> Row:
    """Where a task's box is, and its name."""
    name = task["name"] or task["slug"] or ""
    short = name if len(name) <= NAME else f"{name[: NAME - 1]}…"
    return {"name": name, "short": short, "x": place[0], "y": place[1]}


def _of_run(view: View, task: Row, states: Sequence[Row]) -> Row:
    """What a box says of its task runs: the worst state; a click leads to the log of one, or to the rows of many."""
    counts = Counter({row["state"]: row["n"] for row in states})
    total = counts.total()
    run = view.link("flow-run", view.path["run_id"])
    state = next((state for state in (*_WORST_FIRST, *counts) if counts[state]), "no task run")
    said = ", ".join(f"{count} {one}" for one, count in counts.most_common()) or "no task run"
    return {
        "state": state,
        "under": f"{state}, {total:,} task runs" if total > 1 else state,
        "said": said,
        "link": f"{run}/logs?task_run={states[0]['first']}" if total == 1 else f"{run}/timeline?open={task['id']}",
    }


def _of_flow(task: Row) -> Row:
    """What a box says of its task."""
    most = task["max_retries"]
    retries = f"{most} {'retry' if most == 1 else 'retries'}" if most else ""
    kind = str(task["type"] or "").rpartition(".")[2]
    words = [word for word in ("mapped" if task["mapped"] else "", retries, *(task["tags"] or ())) if word]
    return {"state": "", "under": ", ".join(words)[:NAME] or kind[:NAME], "said": ", ".join([kind, *words]), "link": ""}


def _path(points: Sequence[Place]) -> str:
    """An edge as an SVG path, curved between its points."""
    (x, y), *others = points
    parts = [f"M{x:g} {y:g}"]
    for end_x, end_y in others:
        middle = (x + end_x) / 2
        parts.append(f"C{middle:g} {y:g} {middle:g} {end_y:g} {end_x:g} {end_y:g}")
        x, y = end_x, end_y
    return "".join(parts)


SECTION: Final = Section(
    pages=(
        Page("/flow-run/{run_id}/graph", "flow_run_graph.html", data, tab="Flow runs"),
        Page("/flow/{flow_id}/graph", "flow_graph.html", flow_graph, tab="Flows"),
    )
)

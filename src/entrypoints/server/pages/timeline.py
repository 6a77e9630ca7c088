"""The timeline of a flow run: task runs as bars over time, those of one mapped task in one row until it is opened."""

import json
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from typing import Any, Final

import attrs

from prefect.agent.entrypoints.server.pages.addresses import changed
from prefect.agent.entrypoints.server.pages.flow_run import head
from prefect.agent.entrypoints.server.pages.kinds import Page, Section
from prefect.agent.entrypoints.server.pages.paging import part
from prefect.agent.entrypoints.server.pages.task_bars import (
    HEIGHT,
    WIDTH,
    Scale,
    Span,
    TaskBar,
    attempts,
    bars,
    folded,
    seconds,
)
from prefect.agent.entrypoints.server.pages.view import View
from prefect.agent.entrypoints.server.storage.row_trees import Row

MOST: Final = 20_000
"""Task runs that are read."""

ROWS: Final = 200
"""Rows of a page."""

CHILDREN: Final = 200
"""Children that an opened row shows at a time."""

_TASK_RUNS: Final = (
    "SELECT r.id, r.task_id, r.map_index, substr(r.name, 1, 300) AS name, r.state, r.start_time, r.end_time, "
    "substr(r.state_message, 1, 300) AS state_message, substr(t.name, 1, 300) AS task_name, "
    "substr(t.slug, 1, 300) AS slug FROM task_run r LEFT JOIN task t ON t.id = r.task_id "
    f"WHERE r.flow_run_id = ? AND r.tenant_id = ? LIMIT {MOST + 1}"
)
_HISTORIES: Final = (
    "SELECT task_run_id AS id, state, timestamp FROM task_run_state WHERE tenant_id = ? "
    "AND task_run_id IN (SELECT value FROM json_each(?)) ORDER BY task_run_id, timestamp, version LIMIT 20000"
)
_RETRIES: Final = (
    "SELECT r.task_id AS id, count(*) AS n FROM task_run r JOIN task_run_state s ON s.task_run_id = r.id "
    "WHERE r.flow_run_id = ? AND r.tenant_id = ? AND s.state = 'Retrying' GROUP BY r.task_id"
)


@attrs.frozen(kw_only=True)
class Lane:
    """One row.

    Attributes:
        link: Where a click leads: to the log of the task run, or to the same page with the row opened.
        states: How many task runs are in which state.
        seconds: From the first start to the last end; None before it has started.
        retries: How often it was tried again.
        kind: ``task``, ``folded``, ``opened`` or ``child``.
    """

    name: str
    link: str
    states: Sequence[tuple[str, int]]
    bars: Sequence[TaskBar]
    seconds: float | None
    retries: int
    kind: str
    message: str = ""


def data(view: View) -> Mapping[str, Any]:
    """What ``flow_run_timeline.html`` shows."""
    shown = head(view)
    found = view.sql("task_run", _TASK_RUNS, [view.path["run_id"], view.tenant["id"]])
    by_task: dict[str, list[Row]] = defaultdict(list)
    for row in found[:MOST]:
        by_task[row["task_id"]].append(row)
    groups = sorted(by_task.values(), key=_first_start)
    sheet = part(view.query, ROWS, groups)
    children = part(view.query, CHILDREN, _children(by_task.get(view.query.get("open", ""), ())), "child")
    whole = _scale(shown["run"], found, view.now.timestamp())
    scale = _zoomed(view, whole) if whole else None
    return {
        **shown,
        "lanes": _lanes(view, sheet.rows, children.rows, scale),
        "ticks": scale.ticks() if scale else [],
        "scale": scale,
        "zooms": _zooms(view, whole, scale) if whole and scale else {},
        "size": (WIDTH, HEIGHT),
        "most": MOST if len(found) > MOST else None,
        "sheet": sheet,
        "children": children,
    }


def _zoomed(view: View, whole: Scale) -> Scale:
    """The part of the run that ``?since=`` and ``?until=`` name, in seconds since it began."""
    try:
        return whole.part(float(view.query.get("since") or 0), float(view.query.get("until") or "inf"))
    except ValueError:
        return whole


def _zooms(view: View, whole: Scale, scale: Scale) -> dict[str, str]:
    """Names and addresses of other parts."""
    return {
        name: changed(view.query, since=f"{part[0]:.3f}" if part else None, until=f"{part[1]:.3f}" if part else None)
        for name, part in scale.steps(whole).items()
    }


def _lanes(view: View, groups: Sequence[Sequence[Row]], children: Sequence[Row], scale: Scale | None) -> list[Lane]:
    opened = view.query.get("open", "")
    retries = {
        row["id"]: row["n"] for row in view.sql("task_run_state", _RETRIES, [view.path["run_id"], view.tenant["id"]])
    }
    singles = [row for rows in groups if not _is_mapped(rows) for row in rows]
    histories = _histories(view, [row["id"] for row in (*singles, *children)])
    lanes = []
    for rows in groups:
        task, shown = rows[0]["task_id"], rows
        if _is_mapped(rows):
            lanes.append(_folded(view, rows, scale, retries.get(task, 0), is_open=task == opened))
            shown = children if task == opened else ()
        lanes += [_single(view, row, histories.get(row["id"], []), scale) for row in shown]
    return lanes


def _children(rows: Sequence[Row]) -> list[Row]:
    """The children of a mapped task, in order."""
    return sorted((row for row in rows if row["map_index"] >= 0), key=lambda row: int(row["map_index"]))


def _single(view: View, row: Row, history: Sequence[tuple[str, str]], scale: Scale | None) -> Lane:
    now = view.now.timestamp()
    spans = attempts(history, now) or _span(row, now)
    name = _name(row)
    return Lane(
        name=f"{name} [{row['map_index']}]" if row["map_index"] >= 0 else name,
        link=f"{view.link('flow-run', view.path['run_id'], 'logs')}?task_run={row['id']}",
        states=[(row["state"], 1)],
        bars=bars(spans, scale) if scale else [],
        seconds=_length(spans),
        retries=sum(state == "Retrying" for state, _, _ in spans),
        kind="child" if row["map_index"] >= 0 else "task",
        message=row["state_message"] or "",
    )


def _folded(view: View, rows: Sequence[Row], scale: Scale | None, retries: int, *, is_open: bool) -> Lane:
    now = view.now.timestamp()
    children = _children(rows)
    spans = [span for row in children for span in _span(row, now)]
    return Lane(
        name=_name(rows[0]),
        link=changed(view.query, open=None if is_open else rows[0]["task_id"], child=None),
        states=Counter(row["state"] for row in children).most_common(),
        bars=folded(spans, scale) if scale else [],
        seconds=_length(spans),
        retries=retries,
        kind="opened" if is_open else "folded",
    )


def _histories(view: View, ids: Sequence[str]) -> dict[str, list[tuple[str, str]]]:
    """State and time, oldest first, by task run."""
    found: dict[str, list[tuple[str, str]]] = defaultdict(list)
    for row in view.sql("task_run_state", _HISTORIES, [view.tenant["id"], json.dumps(ids)]):
        found[row["id"]].append((row["state"], row["timestamp"]))
    return found


def _scale(run: Row, rows: Sequence[Row], now: float) -> Scale | None:
    """From the first start to the last end, or to this moment; None before anything has started."""
    started = [row for row in rows if row["start_time"]]
    if not started:
        return None
    # Stored times are in the order of their texts: only the first and the last are read.
    start = seconds(min(one["start_time"] for one in (*started, run) if one["start_time"]))
    still_runs = any(row["end_time"] is None for row in started)
    return Scale(start=start, end=now if still_runs else max(start, seconds(max(row["end_time"] for row in started))))


def _span(row: Row, now: float) -> list[Span]:
    """When a task run ran, as one span; empty before it has started."""
    if not row["start_time"]:
        return []
    start = seconds(row["start_time"])
    return [(row["state"], start, max(start, seconds(row["end_time"]) if row["end_time"] else now))]


def _length(spans: Sequence[Span]) -> float | None:
    return max(end for _, _, end in spans) - min(start for _, start, _ in spans) if spans else None


def _first_start(rows: Sequence[Row]) -> tuple[str, str]:
    """Where a task's row is: by its first start; what has not started comes last."""
    return (min((row["start_time"] for row in rows if row["start_time"]), default="~"), _name(rows[0]))


def _is_mapped(rows: Sequence[Row]) -> bool:
    return any(row["map_index"] >= 0 for row in rows)


def _name(row: Row) -> str:
    return (
        str(row["name"] or row["task_name"] or row["slug"] or "")
        if row["map_index"] < 0
        else str(row["task_name"] or row["slug"] or "")
    )


SECTION: Final = Section(pages=(Page("/flow-run/{run_id}/timeline", "flow_run_timeline.html", data, tab="Flow runs"),))

"""The first page of a tenant: what needs attention, what comes next, what was."""

import itertools
import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Final

from prefect.agent.domain.state_names import PAUSED, QUEUED, ancestors
from prefect.agent.domain.times import iso
from prefect.agent.entrypoints.server.pages.addresses import SPANS, changed
from prefect.agent.entrypoints.server.pages.causes import claim_of, stuck_because, with_first_failure
from prefect.agent.entrypoints.server.pages.charts import HEIGHT, WIDTH, bars
from prefect.agent.entrypoints.server.pages.kinds import Page, Section
from prefect.agent.entrypoints.server.pages.reasons import cause, reasons
from prefect.agent.entrypoints.server.pages.run_list import COLUMNS
from prefect.agent.entrypoints.server.pages.view import View, fields
from prefect.agent.entrypoints.server.pages.zones import edges
from prefect.agent.entrypoints.server.storage.row_trees import Ask, Row

SHOWN: Final = 6
COUNTED: Final = 1000
"""Flow runs of one kind that are counted."""

LATE: Final = timedelta(minutes=1)
STUCK: Final = timedelta(minutes=5)
AGENT_ASKED: Final = timedelta(minutes=1)
FORGOTTEN: Final = timedelta(days=7)

_FAILED: Final = ["Failed", "TimedOut", "TriggerFailed", "ValidationFailed"]
_WAITING: Final = ["Scheduled", "Queued", "Retrying", "Resume"]
_STUCK: Final = (*COLUMNS, *fields("heartbeat"))
_HELD: Final = [QUEUED, PAUSED]
_STEPS: Final = {
    "1h": timedelta(hours=1),
    "24h": timedelta(hours=1),
    "7d": timedelta(hours=6),
    "30d": timedelta(days=1),
    "26w": timedelta(weeks=1),
}

_BAR_IS: Final = {"24h": "an hour", "7d": "a quarter of a day", "30d": "a day", "26w": "a week from Monday on"}

_HISTORY: Final = (
    "SELECT b.key AS bar, r.flow_id, r.state, count(*) AS n FROM json_each(?) b CROSS JOIN flow_run r "
    "WHERE r.state_timestamp >= json_extract(b.value, '$[0]') AND r.state_timestamp < json_extract(b.value, '$[1]') "
    "AND r.tenant_id = ? GROUP BY 1, 2, 3"
)


def data(view: View) -> Mapping[str, Any]:
    """What ``home.html`` shows."""
    span = view.query.get("span", "24h")
    span = span if span in _STEPS and span != "1h" else "24h"
    step = _STEPS[span]
    at = edges(view.now, step, SPANS[span] // step, view.zone)
    counts = _history(view, at)
    return {
        "failed": _failed(view),
        "late": _late(view),
        "stuck": _stuck(view),
        "totals": {
            "failed": _total(view, _failed_ones(view)),
            "late": _total(view, _late_ones(view)),
            "stuck": _total(view, _stuck_ones(view)),
        },
        "silent_agents": _silent_agents(view),
        "upcoming": _upcoming(view),
        "bars": bars([(row["bar"], row["state"], row["n"]) for row in counts], at),
        "chart": (WIDTH, HEIGHT),
        "span": span,
        "spans": [one for one in _STEPS if one != "1h"],
        "bar_is": _BAR_IS[span],
        "late_before": iso(view.now - LATE),
        "flows": _by_flow(view, counts),
        "is_new": view.tx.one("SELECT 1 FROM flow_run WHERE tenant_id = ? LIMIT 1", [view.tenant["id"]]) is None,
        "changed": lambda **values: changed(view.query, **values),
    }


def _history(view: View, at: Sequence[datetime]) -> list[Row]:
    """Runs by the bar that their last change lies in, by flow and state."""
    stretches = [(iso(start), iso(end)) for start, end in itertools.pairwise(at)]
    return view.sql("flow_run", _HISTORY, [json.dumps(stretches), view.tenant["id"]])


def _failed_ones(view: View) -> list[Row]:
    return [{"state": {"_in": _FAILED}, "state_timestamp": {"_gte": iso(view.now - timedelta(days=1))}}]


def _failed(view: View) -> list[Row]:
    [where] = _failed_ones(view)
    return [with_first_failure(view, run) for run in _runs(view, where, state_timestamp="desc")]


def _late_ones(view: View) -> list[Row]:
    """What is held, which is late by the time that it was made for, and what should have begun."""
    before = {"_lt": iso(view.now - LATE)}
    held = {"state": {"_in": _HELD}, "scheduled_start_time": before, "state_start_time": {"_gte": before["_lt"]}}
    return [held, {"state": {"_in": _WAITING}, "state_start_time": before}]


def _late(view: View) -> list[Row]:
    """Runs that should have begun, each with its ``reason``."""
    held, due = _late_ones(view)
    rows = [*_runs(view, held, state_start_time="asc"), *_runs(view, due, state_start_time="desc")][:SHOWN]
    found = reasons(view, [row["id"] for row in rows])
    return [{**row, "reason": cause(found.get(row["id"], ()))} for row in rows]


def _stuck_ones(view: View) -> list[Row]:
    """What was claimed and has not begun, and what has begun and sent no heartbeat since."""
    before = {"_lt": iso(view.now - STUCK)}
    silent = {"state": {"_in": ["Running", "Cancelling"]}, "heartbeat": before}
    return [silent, {"state": {"_eq": "Submitted"}, "state_timestamp": before}]


def _stuck(view: View) -> list[Row]:
    """Stuck runs, each with its ``reason``."""
    several = [_runs(view, where, _STUCK, state_timestamp="asc") for where in _stuck_ones(view)]
    rows = [row for rows in several for row in rows][:SHOWN]
    return [{**row, "reason": stuck_because(row, claim_of(view, row["id"]), view.now)} for row in rows]


def _total(view: View, several: Sequence[Row]) -> str:
    """How many flow runs these filters leave, for people; empty if all of them are shown."""
    found = sum(len(view.rows("flow_run", fields("id"), where, limit=COUNTED + 1)) for where in several)
    if found <= SHOWN:
        return ""
    return f"{found:,}" if found <= COUNTED else f"more than {COUNTED:,}"


def _upcoming(view: View) -> list[Row]:
    where = {"state": {"_eq": "Scheduled"}, "state_start_time": {"_gte": iso(view.now)}}
    return _runs(view, where, state_start_time="asc")


def _runs(view: View, where: Mapping[str, Any], columns: tuple[Ask, ...] = COLUMNS, **order: str) -> list[Row]:
    return view.rows("flow_run", columns, where, order_by=order, limit=SHOWN)


def _silent_agents(view: View) -> list[Row]:
    between = {"_lt": iso(view.now - AGENT_ASKED), "_gte": iso(view.now - FORGOTTEN)}
    columns = fields("id name type labels last_queried")
    return view.rows("agent", columns, {"last_queried": between}, order_by={"last_queried": "desc"}, limit=SHOWN)


def _by_flow(view: View, counts: list[Row]) -> list[Row]:
    """Flows by how often they ran: their runs by kind of state."""
    flows: dict[str, Row] = {}
    known = {row["id"]: row for row in view.rows("flow", fields("id name flow_group_id"), _ids(counts), limit=5000)}
    totals: dict[str, dict[str, int]] = defaultdict(lambda: defaultdict(int))
    for row in counts:
        flow = known.get(row["flow_id"])
        if flow is not None:
            flows[flow["flow_group_id"]] = flow
            totals[flow["flow_group_id"]][_kind(row["state"])] += row["n"]
    rows = [{**flows[group], "counts": dict(kinds), "total": sum(kinds.values())} for group, kinds in totals.items()]
    return sorted(rows, key=lambda row: (-row["total"], row["name"]))[: 2 * SHOWN]


def _ids(counts: list[Row]) -> dict[str, Any]:
    return {"id": {"_in": sorted({row["flow_id"] for row in counts})[:5000]}}


def _kind(state: str) -> str:
    """The state that stands for *state* in a count."""
    line = ancestors(state)
    return next((one for one in ("Success", "Failed", "Cancelled", "Running", "Submitted") if one in line), "Scheduled")


SECTION: Final = Section(pages=(Page("", "home.html", data, tab="Home"), Page("/", "home.html", data, tab="Home")))

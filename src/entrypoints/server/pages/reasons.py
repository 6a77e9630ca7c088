"""Why flow runs wait: the rules of ``prefect agent why``, with facts from the tables."""

from collections.abc import Iterable, Mapping
from functools import cache
from typing import Any, Final

from prefect.agent.domain.state_names import EXECUTING, PAUSED, QUEUED, SCHEDULED
from prefect.agent.domain.times import iso, read_time
from prefect.agent.domain.waiting import (
    FORGOTTEN,
    Finding,
    Hold,
    SeenAgent,
    WaitFacts,
    causes_first,
    machine_label,
    waiting,
)
from prefect.agent.entrypoints.server.pages.view import View, fields
from prefect.agent.entrypoints.server.storage.row_trees import Row

AGENTS_READ: Final = 200
HOLDERS: Final = 20

_HOLDS: Final[Mapping[str, Hold]] = {QUEUED: Hold.LIMIT, PAUSED: Hold.PAUSE}
_RUN: Final = fields(
    "id state state_message state_timestamp state_start_time labels",
    flow=fields("archived is_schedule_active schedule storage", flow_group=fields("schedule")),
)


def reasons(view: View, run_ids: Iterable[str]) -> dict[str, list[Finding]]:
    """Findings about those of these runs that wait, by id: what keeps each, then what is well."""
    ids = list(run_ids)
    where = {"id": {"_in": ids}, "state": {"_in": sorted(SCHEDULED)}}
    rows = view.rows("flow_run", _RUN, where) if ids else []
    agents = seen_agents(view) if rows else ()
    holders = cache(lambda labels: _holders(view, labels))
    return {row["id"]: causes_first(waiting(_facts(view, row, agents, holders))) for row in rows}


def cause(findings: Iterable[Finding]) -> str:
    """The sentence about what keeps a run first; empty if nothing does."""
    return next((finding.text for finding in findings if finding.stops), "")


def seen_agents(view: View) -> tuple[SeenAgent, ...]:
    """The tenant's agents that are not forgotten."""
    where = {"last_queried": {"_gte": iso(view.now - FORGOTTEN)}}
    rows = view.rows("agent", fields("name type labels last_queried"), where, limit=AGENTS_READ)
    return tuple(seen_agent(row) for row in rows)


def seen_agent(row: Row) -> SeenAgent:
    """An agent's row as the rules take it."""
    return SeenAgent(
        name=row["name"] or "agent",
        kind=row["type"] or "",
        labels=label_set(row["labels"]),
        last_seen=read_time(row["last_queried"]) if row["last_queried"] else None,
    )


def label_set(stored: object) -> frozenset[str]:
    """Labels as the rules take them."""
    return frozenset(label for label in stored if isinstance(label, str)) if isinstance(stored, list) else frozenset()


def _facts(view: View, row: Row, agents: tuple[SeenAgent, ...], holders: Any) -> WaitFacts:
    flow, labels, hold = row["flow"], label_set(row["labels"]), _HOLDS.get(row["state"])
    has_schedule = bool(flow["schedule"] or flow["flow_group"]["schedule"])
    storage = flow["storage"] if isinstance(flow["storage"], Mapping) else {}
    return WaitFacts(
        flow_is_archived=bool(flow["archived"]),
        hold=hold,
        message=row["state_message"] or "",
        due=read_time(row["state_start_time"]) if row["state_start_time"] else None,
        since=read_time(row["state_timestamp"]) if row["state_timestamp"] else None,
        labels=labels,
        machine_label=machine_label(storage.get("type"), labels),
        limited=holders(labels) if hold is Hold.LIMIT else (),
        agents=agents,
        at=view.now,
        schedule_is_off=has_schedule and not flow["is_schedule_active"],
    )


def _holders(view: View, labels: frozenset[str]) -> tuple[str, ...]:
    """Names of the runs that take a place of one of the labels, those first that have held theirs longest."""
    names: dict[str, None] = {}
    for label in sorted(labels):
        where = {"labels": {"_contains": [label]}, "state": {"_in": sorted(EXECUTING)}}
        order = {"state_timestamp": "asc"}
        rows = view.rows("flow_run", fields("id name"), where, order_by=order, limit=HOLDERS)
        names |= dict.fromkeys(row["name"] or row["id"] for row in rows)
    return tuple(names)

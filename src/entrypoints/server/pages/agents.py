"""Agents: what each is, what it runs now, which waiting runs it could take, and which no agent can."""

import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any, Final

import attrs

from prefect.agent.domain.state_names import OPEN
from prefect.agent.domain.times import iso, read_time
from prefect.agent.domain.waiting import ALIVE, Finding, SeenAgent, WaitFacts, takes, waiting
from prefect.agent.entrypoints.server.pages.kinds import Action, Page, Section
from prefect.agent.entrypoints.server.pages.paging import sheet_of
from prefect.agent.entrypoints.server.pages.reasons import label_set, seen_agent
from prefect.agent.entrypoints.server.pages.view import Form, View, fields
from prefect.agent.entrypoints.server.storage.row_trees import Row
from prefect.agent.entrypoints.server.storage.short_values import short_sql
from prefect.agent.entrypoints.server.storage.tables import JSON

SHOWN: Final = 100
READ: Final = 200
"""Agents that may take the runs that wait: those that asked last."""

RUNS_SHOWN: Final = 5
RUNS_READ: Final = 1000
SETS_SHOWN: Final = 100

_AGENT: Final = fields("id name type labels core_version created last_queried")
_RUN: Final = fields("id name state agent_id", flow=fields("id name"))
_WAITING: Final = (
    f"SELECT {short_sql(JSON, 'labels')} AS labels, count(*) AS runs, sum(due <= ?) AS due_now, min(due) AS first "
    "FROM flow_run WHERE tenant_id = ? AND due IS NOT NULL GROUP BY flow_run.labels "
    "ORDER BY due_now DESC, runs DESC LIMIT ?"
)


@attrs.frozen(kw_only=True)
class WaitingRuns:
    """Runs that wait, of one set of labels.

    Attributes:
        runs: How many there are.
        due_now: How many of these are due.
        agents: Names of agents that ask for work and take them.
        findings: Why no agent takes them; empty if one does.
    """

    labels: Sequence[str]
    runs: int
    due_now: int
    agents: Sequence[str]
    findings: Sequence[Finding]


def data(view: View) -> Mapping[str, Any]:
    """What ``agents.html`` shows."""
    found = sheet_of(view, "agent", _AGENT, "coalesce(t0.last_queried, '')", size=SHOWN, descending=True)
    latest = view.rows("agent", _AGENT, order_by={"last_queried": "desc"}, limit=READ)
    seen = tuple(map(seen_agent, latest))
    sets = view.sql("flow_run", _WAITING, [iso(view.now), view.tenant["id"], SETS_SHOWN])
    running = _running(view, [row["id"] for row in found.rows])
    agents = [
        {**row, "is_alive": _is_alive(view, one), "running": running[row["id"]], "could_take": _due_for(one, sets)}
        for row, one in zip(found.rows, map(seen_agent, found.rows), strict=True)
    ]
    return {
        "agents": agents,
        "sheet": found,
        "waiting": [_waiting_runs(view, one, seen) for one in sets],
        "runs_shown": RUNS_SHOWN,
    }


def _running(view: View, ids: Sequence[str]) -> Mapping[str, list[Row]]:
    """Runs that are claimed or run, by the id of their agent."""
    where = {"agent_id": {"_in": list(ids)}, "state": {"_in": sorted(OPEN)}}
    found: dict[str, list[Row]] = defaultdict(list)
    for row in view.rows("flow_run", _RUN, where, limit=RUNS_READ) if ids else []:
        found[row["agent_id"]].append(row)
    return found


def _due_for(agent: SeenAgent, sets: Sequence[Row]) -> int:
    """How many due runs an agent could take."""
    return sum(one["due_now"] for one in sets if takes(agent, label_set(json.loads(one["labels"]))))


def _waiting_runs(view: View, stored: Row, agents: tuple[SeenAgent, ...]) -> WaitingRuns:
    labels = label_set(json.loads(stored["labels"]))
    names = sorted({one.name for one in agents if takes(one, labels) and _is_alive(view, one)})
    facts = WaitFacts(labels=labels, agents=agents, at=view.now, due=read_time(stored["first"]))
    findings = [] if names else [one for one in waiting(facts) if one.cause not in {"not-due", "agents"}]
    return WaitingRuns(
        labels=sorted(labels),
        runs=stored["runs"],
        due_now=stored["due_now"],
        agents=names,
        findings=findings,
    )


def _is_alive(view: View, agent: SeenAgent) -> bool:
    return agent.last_seen is not None and view.now - agent.last_seen <= ALIVE


def delete(form: Form) -> str:
    """Delete an agent; its runs stay, and one that still asks registers again when it starts."""
    with form.look() as view:
        agent = view.row("agent", form.path["agent_id"], fields("id"))
    form.change("delete_agent", agent_id=agent["id"])
    return form.back("agents")


SECTION: Final = Section(
    pages=(Page("/agents", "agents.html", data, tab="Agents"),),
    actions=(Action("/agent/{agent_id}/delete", delete, "delete_agent"),),
)

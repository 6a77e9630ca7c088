"""The mutations that agents use: register, and fetch the flow runs that are due."""

import json
from typing import Final

from prefect.agent.domain.cloud.errors import NotFound
from prefect.agent.domain.cloud.selection import LIMIT, STARTED
from prefect.agent.domain.cloud.states import read_time
from prefect.agent.domain.labels import labels_match
from prefect.agent.domain.times import iso
from prefect.agent.entrypoints.server.mutations.registry import ID, SUCCESS, Given, Payload, Request, mutation
from prefect.agent.entrypoints.server.storage.database import Tx


@mutation("type: String!, name: String, labels: [String!], tenant_id: UUID, agent_config_id: UUID", ID)
def register_agent(request: Request, given: Given) -> Payload:
    """Register an agent; a repeated registration returns the same id."""
    row = {
        "tenant_id": request.tenant(given.get("tenant_id")),
        "agent_config_id": given.get("agent_config_id"),
        "name": given.get("name"),
        "type": given["type"],
        "core_version": request.core_version,
        "labels": sorted(given.get("labels") or []),
    }
    alike = request.tx.rows(
        "agent",
        "tenant_id = ? AND name IS ? AND type = ? AND core_version IS ?",
        [row["tenant_id"], row["name"], row["type"], row["core_version"]],
    )
    known = next((agent for agent in alike if agent["labels"] == row["labels"]), None)
    moment = iso(request.now)
    if known:
        request.tx.update("agent", known["id"], {"last_queried": moment, "agent_config_id": row["agent_config_id"]})
        return {"id": known["id"]}
    return {"id": request.tx.insert("agent", {**row, "last_queried": moment})}


@mutation("agent_id: UUID!", SUCCESS)
def delete_agent(request: Request, given: Given) -> Payload:
    """Delete an agent; its flow runs stay."""
    request.tx.execute("UPDATE flow_run SET agent_id = NULL WHERE agent_id = ?", [given["agent_id"]])
    return {"success": request.tx.execute("DELETE FROM agent WHERE id = ?", [given["agent_id"]]) > 0}


@mutation("before: DateTime, labels: [String!], tenant_id: UUID", "flow_run_ids: [UUID!]")
def get_runs_in_queue(request: Request, given: Given) -> Payload:
    """Return the ids of flow runs that are due for an agent with these labels, oldest first."""
    before = iso(read_time(given["before"]) if given.get("before") else request.now)
    if request.agent_id:
        request.tx.execute("UPDATE agent SET last_queried = ? WHERE id = ?", [iso(request.now), request.agent_id])
    try:
        tenant_id = request.tenant(given.get("tenant_id"))
    except NotFound:
        if request.strictness.knows_tenants:
            raise
        return _queue(request, [])
    labels, first = given.get("labels") or [], request.strictness.queue_reads
    if first is None:
        return _queue(request, _labels_first(request.tx, tenant_id, labels, before)[:LIMIT])
    return _queue(request, _labels_last(request.tx, tenant_id, labels, before, first)[:LIMIT])


def _queue(request: Request, ids: list[str]) -> Payload:
    """Return the ids as the answer, and note in the request that it asked for flow runs that are ready."""
    request.ready_runs.append(ids)
    return {"flow_run_ids": ids}


_STARTED: Final = ", ".join(f"'{state}'" for state in STARTED)
_QUEUE: Final = (
    "SELECT id, due FROM flow_run WHERE tenant_id = ? AND labels = ? AND due <= ? AND due IS NOT NULL "
    f"AND state {{}} ({_STARTED}) ORDER BY due, id LIMIT {LIMIT}"
)
_DUE: Final = (
    "SELECT id, labels FROM flow_run WHERE tenant_id = ? AND due <= ? AND due IS NOT NULL ORDER BY due, id LIMIT ?"
)
_NEXT: Final = "SELECT min(labels) FROM flow_run WHERE tenant_id = :tenant AND due IS NOT NULL"
_LABELS: Final = f"""
WITH RECURSIVE sets (labels) AS (
  SELECT ({_NEXT}) UNION ALL SELECT ({_NEXT} AND labels > sets.labels) FROM sets WHERE sets.labels IS NOT NULL
)
SELECT labels FROM sets WHERE labels IS NOT NULL
"""


def _labels_first(tx: Tx, tenant_id: str, agent: list[str], before: str) -> list[str]:
    """Return the due runs that fit the agent; runs that agents start come first, so that others do not hide them."""
    sets = _fitting(tx, tenant_id, agent)
    found: list[str] = []
    for kind in ("IN", "NOT IN"):
        rows = [row for labels in sets for row in tx.all(_QUEUE.format(kind), [tenant_id, labels, before])]
        found += [row["id"] for row in sorted(rows, key=lambda row: (row["due"], row["id"]))]
        if len(found) >= LIMIT:
            break
    return found


def _labels_last(tx: Tx, tenant_id: str, agent: list[str], before: str, first: int) -> list[str]:
    """Return those of the *first* due runs that fit the agent."""
    rows = tx.all(_DUE, [tenant_id, before, first])
    return [row["id"] for row in rows if labels_match(json.loads(row["labels"]), agent)]


def _fitting(tx: Tx, tenant_id: str, agent: list[str]) -> list[str]:
    """Return the stored sets of labels of waiting runs that fit an agent.

    There are few sets, however many runs wait, and the index is read from one set to the next. So runs that no agent
    serves cost nothing, and runs are filtered before their number is limited.
    """
    if not agent:
        return ["[]"]
    sets = [row["labels"] for row in tx.all(_LABELS, {"tenant": tenant_id})]
    return [labels for labels in sets if labels_match(json.loads(labels), agent)]

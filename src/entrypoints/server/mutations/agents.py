"""What agents ask (protocol sections 2.2, 3.1 and 3.2)."""

from typing import Any

from prefect.agent.domain.cloud.selection import LIMIT, READY_TYPES
from prefect.agent.domain.cloud.states import read_time
from prefect.agent.domain.times import iso
from prefect.agent.entrypoints.server.mutation import ID, SUCCESS, Answer, Given, Request, mutation


@mutation("type: String!, name: String, labels: [String!], tenant_id: UUID, agent_config_id: UUID", ID)
def register_agent(request: Request, given: Given) -> Answer:
    """Make an agent known; the same agent gets the same id again."""
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
def delete_agent(request: Request, given: Given) -> Answer:
    """Forget an agent; its flow runs stay."""
    request.tx.execute("UPDATE flow_run SET agent_id = NULL WHERE agent_id = ?", [given["agent_id"]])
    return {"success": request.tx.execute("DELETE FROM agent WHERE id = ?", [given["agent_id"]]) > 0}


@mutation("before: DateTime, labels: [String!], tenant_id: UUID", "flow_run_ids: [UUID!]")
def get_runs_in_queue(request: Request, given: Given) -> Answer:
    """Ids of flow runs that are due, oldest first."""
    before = iso(read_time(given["before"]) if given.get("before") else request.now)
    sql, params = _queue_sql(request.tenant(given.get("tenant_id")), before, given.get("labels") or [])
    if request.agent_id:
        request.tx.execute("UPDATE agent SET last_queried = ? WHERE id = ?", [iso(request.now), request.agent_id])
    return {"flow_run_ids": [row["id"] for row in request.tx.all(sql, params)]}


def _queue_sql(tenant_id: str, before: str, labels: list[str]) -> tuple[str, list[Any]]:
    """Labels first, limit afterwards; a part per state, so that each reads its index from the old end and stops."""
    marks = ", ".join("?" * len(labels))
    fits = (
        f"labels <> '[]' AND NOT EXISTS (SELECT 1 FROM json_each(labels) WHERE value NOT IN ({marks}))"
        if labels
        else "labels = '[]'"
    )
    parts, params = [], []
    for state in READY_TYPES:
        parts.append(
            "SELECT * FROM (SELECT id, state_start_time AS due FROM flow_run WHERE tenant_id = ? AND state = ? "
            f"AND state_start_time <= ? AND {fits} ORDER BY state_start_time LIMIT {LIMIT})"
        )
        params += [tenant_id, state, before, *labels]
    ready = ", ".join("?" * len(READY_TYPES))
    # From the task runs that are due, which are few, to their flow runs: there may be very many Running ones.
    parts.append(
        "SELECT id, due FROM (SELECT flow_run_id, min(state_start_time) AS due FROM task_run "
        f"WHERE state IN ({ready}) AND state_start_time <= ? GROUP BY flow_run_id) "
        f"JOIN flow_run ON flow_run.id = flow_run_id WHERE tenant_id = ? AND state = 'Running' AND {fits}"
    )
    params += [*READY_TYPES, before, tenant_id, *labels]
    return f"SELECT id FROM ({' UNION ALL '.join(parts)}) ORDER BY due, id LIMIT {LIMIT}", params

"""Why a flow run failed or hangs: its failed task runs, and who claimed it for which unit of execution."""

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final

import attrs

from prefect.agent.domain.times import read_time
from prefect.agent.domain.waiting import span
from prefect.agent.entrypoints.server.pages.view import View
from prefect.agent.entrypoints.server.storage.row_trees import Row

_FAILED: Final = (
    "SELECT r.id, r.map_index, coalesce(nullif(r.name, ''), t.name, t.slug, '') AS name, r.state, "
    "r.state_message AS message FROM task_run r JOIN task t ON t.id = r.task_id "
    "WHERE r.flow_run_id = ? AND r.tenant_id = ? AND r.state IN ('Failed', 'TimedOut') "
    "ORDER BY r.state_timestamp, r.id LIMIT ?"
)
_RECORD: Final = (
    "SELECT CASE json_type(serialized_state, '$.context.prefect_agent') WHEN 'object' "
    "THEN json_extract(serialized_state, '$.context.prefect_agent') ELSE '{}' END AS record, timestamp "
    "FROM flow_run_state WHERE flow_run_id = ? AND tenant_id = ? AND state = 'Submitted' "
    "ORDER BY timestamp DESC LIMIT 1"
)


@attrs.frozen(kw_only=True)
class Claim:
    """What a claim's record says; texts are empty if it does not say.

    Attributes:
        agent: Who claimed the run.
        unit: Name of the container, Job or process.
        platform: Which platform it is on.
        place: Where the agent executes.
        at: When it was claimed, as a stored time.
        recoveries: How often the claim was recovered.
    """

    agent: str = ""
    unit: str = ""
    platform: str = ""
    place: str = ""
    at: str = ""
    recoveries: int = 0


def failed_tasks(view: View, run_id: str, most: int) -> list[Row]:
    """The task runs of a flow run that failed first; those whose trigger failed are only consequences."""
    return view.sql("task_run", _FAILED, [run_id, view.tenant["id"], most])


def with_first_failure(view: View, run: Row) -> Row:
    """A failed flow run with its ``reason``: its message, and that of the task run that failed first."""
    first = failed_tasks(view, run["id"], 1)
    message = str(run["state_message"] or "")
    return {**run, "reason": " ".join(part for part in (message, *map(_sentence, first)) if part)}


def _sentence(task: Row) -> str:
    name = task["name"] if task["map_index"] < 0 else f"{task['name']} [{task['map_index']}]"
    return f"{name}: {task['message'] or task['state']}"


def claim_of(view: View, run_id: str) -> Claim | None:
    """The latest claim of a flow run; None if no agent has claimed it. Official agents leave no record."""
    found = view.sql("flow_run_state", _RECORD, [run_id, view.tenant["id"]])
    if not found:
        return None
    return read_claim(json.loads(found[0]["record"]), found[0]["timestamp"])


def read_claim(record: Mapping[str, Any], at: str) -> Claim:
    """Read a record. Anybody may have written it: what is of a wrong type is left out."""
    texts = {name: record.get(name) for name in ("agent_name", "claimant", "unit", "platform", "place")}
    known = {name: value for name, value in texts.items() if isinstance(value, str)}
    recoveries = record.get("recoveries")
    return Claim(
        agent=known.get("agent_name") or known.get("claimant", ""),
        unit=known.get("unit", ""),
        platform=known.get("platform", ""),
        place=known.get("place", ""),
        at=at,
        recoveries=recoveries if type(recoveries) is int else 0,
    )


def stuck_because(run: Row, claim: Claim | None, now: datetime) -> str:
    """A sentence on a flow run that was claimed and does not begin, or that sends no heartbeats."""
    unit = f" Its unit of execution is {claim.unit}." if claim and claim.unit else ""
    if run["state"] == "Submitted":
        who = f" by {claim.agent}" if claim and claim.agent else ""
        return f"It was claimed{who} {_since(run['state_timestamp'], now)} ago and has not begun.{unit}"
    silence = f"no heartbeat has come for {_since(run['heartbeat'], now)}"
    if run["state"] == "Cancelling":
        return f"It is to be cancelled for {_since(run['state_timestamp'], now)}; {silence}.{unit}"
    return f"It should be running, but {silence}.{unit}"


def _since(stored: str, now: datetime) -> str:
    return span(now - read_time(stored))


def shown_claim(claim: Claim | None) -> Sequence[tuple[str, str]]:
    """Where a claim's unit is, as names and values."""
    pairs = (("Unit", claim.unit), ("Platform", claim.platform), ("Place", claim.place)) if claim else ()
    return [(name, value) for name, value in pairs if value]

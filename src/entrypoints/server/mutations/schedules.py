"""Mutations that switch schedules on and off, and the creation of their runs (protocol sections 13.4 and 13.5)."""

import logging
from typing import Any, Final

from prefect.agent.domain.cloud.calendar.schedules import (
    KEY,
    Schedule,
    check_covered,
    missing_events,
    next_events,
    read_schedule,
)
from prefect.agent.domain.cloud.errors import CloudRefusal
from prefect.agent.domain.times import read_time
from prefect.agent.entrypoints.server.mutations.registry import SUCCESS, Given, Payload, Request, mutation
from prefect.agent.entrypoints.server.mutations.runs import add_flow_run

_log: Final = logging.getLogger(__name__)


@mutation("flow_id: UUID!", SUCCESS)
def set_schedule_active(request: Request, given: Given) -> Payload:
    """Switch the schedule of a flow on, if it is supported, and create its next runs."""
    flow = request.get("flow", given["flow_id"])
    try:
        schedule = usable_schedule(request, flow)
        if schedule is not None:
            next_events(schedule, request.now)  # refuses a schedule that takes too much work
    except CloudRefusal as problem:
        _log.warning("The schedule of flow %s (%s) stays inactive: %s", flow["name"], flow["id"], problem.message)
        return {"success": False, "error": problem.message}
    if schedule is None:
        return {"success": False, "error": "The flow has no schedule"}
    request.tx.update("flow", flow["id"], {"is_schedule_active": True})
    plan_runs(request, flow, schedule)
    return {"success": True}


@mutation("flow_id: UUID!", SUCCESS)
def set_schedule_inactive(request: Request, given: Given) -> Payload:
    """Switch the schedule of a flow off and delete the runs that it has planned."""
    request.tx.update("flow", given["flow_id"], {"is_schedule_active": False})
    drop_planned(request, given["flow_id"])
    return {"success": True}


def usable_schedule(request: Request, flow: dict[str, Any]) -> Schedule | None:
    """Return the schedule of a flow: that of its group, else its own; None if it has none.

    Raises:
        CloudRefusal: The schedule is not supported, or its runs would lack parameters.
    """
    group = request.get("flow_group", flow["flow_group_id"])
    serialized = group["schedule"] or flow["schedule"]
    if not serialized:
        return None
    if flow["archived"]:
        raise CloudRefusal("The flow is archived: a newer version has taken its place")
    schedule = read_schedule(serialized)
    check_covered(schedule, flow["parameters"], group["default_parameters"])
    return schedule


def plan_runs(request: Request, flow: dict[str, Any], schedule: Schedule, limit: int | None = None) -> int:
    """Create the next runs of a schedule that do not exist yet; return how many were created.

    Args:
        limit: How many runs to create at most; None: all.
    """
    events = next_events(schedule, request.now)
    if not events:
        return 0
    first = min(event.key for event in events)
    planned = request.tx.all(
        "SELECT idempotency_key, state, scheduled_start_time FROM flow_run "
        f"WHERE flow_id = ? AND idempotency_key >= ? AND idempotency_key < '{KEY[:-1]};' AND auto_scheduled",
        [flow["id"], first],
    )
    waiting = {
        row["idempotency_key"]: read_time(row["scheduled_start_time"]) if row["state"] == "Scheduled" else None
        for row in planned
    }
    missing = missing_events(events, waiting)[:limit]
    for event in missing:
        given = {
            "idempotency_key": event.key,
            "scheduled_start_time": event.time,
            "parameters": dict(event.parameter_defaults),
            "labels": None if event.labels is None else list(event.labels),
        }
        add_flow_run(request, flow, given, auto_scheduled=True)
    return len(missing)


def drop_planned(request: Request, flow_id: str) -> None:
    """Delete the runs that a schedule has planned and that no agent has claimed."""
    drop = "DELETE FROM flow_run WHERE flow_id = ? AND auto_scheduled AND state = 'Scheduled'"
    request.tx.execute(drop, [flow_id])

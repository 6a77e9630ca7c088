"""Lazarus and the zombie killer: rules for runs whose process is lost (protocol section 13.5)."""

from collections.abc import Collection, Mapping
from datetime import datetime, timedelta
from typing import Any, Final

import attrs

from prefect.agent.domain.cloud.states import CloudState, plain, scheduled
from prefect.agent.domain.times import iso, read_time

LOST: Final = timedelta(minutes=10)
"""The default age of the last heartbeat from which on a flow run's process counts as lost."""

RESURRECTIONS: Final = 3
"""How often a flow run is scheduled again before it fails."""

RESURRECTED_FROM: Final = ("Queued", "Running", "Submitted")
"""State types of flow runs that Lazarus examines. The process of a Queued run sends no heartbeat, but asks again before
the run is due; agents do not start such runs."""

BUSY: Final = ("Scheduled", "Resume", "Retrying", "Paused", "Queued", "Running", "Cancelling")
"""State types of task runs whose flow run Lazarus ignores: an agent or the zombie killer handles it."""

_LONGEST_DELAY: Final = timedelta(days=365)


@attrs.frozen
class Rescue:
    """The change of a rescued run.

    Attributes:
        state: The new state of the run.
        level: The level of the entry in the run's log, whose text is the state's message.
        values: Further new values of the run's row.
    """

    state: CloudState
    level: str = "ERROR"
    values: Mapping[str, Any] = attrs.field(factory=dict)


def lost_before(now: datetime, since: datetime, lost: timedelta = LOST) -> str | None:
    """Return the time before which a last heartbeat means that the process is lost; None if it is too early to say.

    Args:
        now: The Cloud's time.
        since: When the Cloud began to listen; it may have missed heartbeats before that.
        lost: How old the last heartbeat of a process may be.
    """
    return iso(now - lost) if since <= now - lost else None


def resurrect_flow_run(
    run: Mapping[str, Any], task_states: Collection[str], settings: Mapping[str, Any], *, now: datetime, limit: str
) -> Rescue | None:
    """Return what Lazarus does with a flow run; None if nothing.

    Args:
        run: The flow run.
        task_states: State types of its task runs.
        settings: The settings of its flow group.
        now: The Cloud's time.
        limit: The result of :func:`lost_before`.
    """
    wanted = settings.get("lazarus_enabled") is not False and _sends_heartbeats(settings)
    if not wanted or run["state"] not in RESURRECTED_FROM or not _is_lost(run, limit):
        return None
    if run["state"] == "Queued" and not (run["state_start_time"] and run["state_start_time"] < limit):
        return None
    if any(state in BUSY for state in task_states):
        return None
    if run["times_resurrected"] >= RESURRECTIONS:
        return Rescue(plain("Failed", f"Given up by Lazarus: rescheduled {RESURRECTIONS} times, no heartbeat since"))
    times = run["times_resurrected"] + 1
    silent = run["state_start_time"] if run["state"] == "Queued" else run["heartbeat"]
    message = f"Rescheduled by Lazarus, for the {times}. time: no heartbeat since {silent}"
    return Rescue(scheduled(now, message), "INFO", {"times_resurrected": times})


def bury_task_run(
    task_run: Mapping[str, Any],
    run: Mapping[str, Any],
    task: Mapping[str, Any],
    settings: Mapping[str, Any],
    *,
    attempts: int,
    now: datetime,
    limit: str,
) -> Rescue | None:
    """Return what the zombie killer does with a task run; None if nothing.

    Args:
        task_run: The task run.
        run: Its flow run.
        task: Its task.
        settings: The settings of its flow group.
        attempts: How often the task run has begun.
        now: The Cloud's time.
        limit: The result of :func:`lost_before`.
    """
    if task_run["state"] != "Running" or not _sends_heartbeats(settings) or not _is_lost(run, limit):
        return None
    message = f"No heartbeat of its flow run since {run['heartbeat']}"
    if run["state"] != "Running" or attempts > task["max_retries"]:
        return Rescue(plain("Failed", f"{message}: marked as failed"))
    message, start = f"{message}: to be tried again", now + _delay(task["retry_delay"])
    payload = {"type": "Retrying", "message": message, "start_time": start.isoformat(), "run_count": attempts}
    return Rescue(CloudState(type="Retrying", message=message, start_time=start, payload=payload))


def bury_flow_run(run: Mapping[str, Any], settings: Mapping[str, Any], *, limit: str) -> Rescue | None:
    """Return what the zombie killer does with a flow run whose process was lost while cancelling; None if nothing."""
    if run["state"] != "Cancelling" or not _sends_heartbeats(settings) or not _is_lost(run, limit):
        return None
    return Rescue(plain("Failed", f"No heartbeat since {run['heartbeat']} while it was cancelling: marked as failed"))


def _sends_heartbeats(settings: Mapping[str, Any]) -> bool:
    return settings.get("heartbeat_enabled") is not False


def _is_lost(run: Mapping[str, Any], limit: str) -> bool:
    return run["heartbeat"] is not None and iso(read_time(run["heartbeat"])) < limit


def _delay(stored: str | None) -> timedelta:
    """Return a stored number of seconds as a duration; zero if it is invalid."""
    try:
        return min(max(timedelta(seconds=float(stored or 0)), timedelta()), _LONGEST_DELAY)
    except (ValueError, OverflowError):
        return timedelta()

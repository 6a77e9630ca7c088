"""Which flow runs an agent is given (protocol section 3.2), filtered by labels first and limited afterwards."""

from collections.abc import Collection, Iterable, Mapping
from datetime import datetime
from typing import Any, Final

from prefect.agent.domain.state_names import SCHEDULED
from prefect.agent.domain.times import iso

LIMIT: Final = 25
"""Most flow runs in one answer."""

READY_TYPES: Final = tuple(sorted(SCHEDULED))
"""State types of flow runs, and of task runs of Running flow runs, that wait for their start time."""

STARTED: Final = ("Running", "Scheduled")
"""State types of due flow runs that agents start; they leave others alone (protocol section 3.3). So these come first:
what nobody starts must not fill the answer."""


def labels_match(run_labels: Collection[str], agent_labels: Collection[str]) -> bool:
    """Whether an agent gets a run: all of the run's labels, and no unlabelled runs for an agent that has labels."""
    if not run_labels:
        return not agent_labels
    return set(run_labels) <= set(agent_labels)


def is_due(row: Mapping[str, Any], before: datetime) -> bool:
    """Whether a flow run or task run waits to be started before *before*."""
    start = row.get("state_start_time")
    return row["state"] in SCHEDULED and start is not None and start <= iso(before)


def due_time(row: Mapping[str, Any], first_task: str | None) -> str | None:
    """From when on a flow run is to be given to agents; None if it is not.

    Args:
        row: The flow run.
        first_task: The earliest start time of its task runs that wait (``READY_TYPES``), if one does.
    """
    if row["state"] == "Running":
        return first_task
    return row.get("state_start_time") if row["state"] in SCHEDULED else None


def is_ready(row: Mapping[str, Any], task_runs: Iterable[Mapping[str, Any]], before: datetime) -> bool:
    """Whether a flow run is to be given to an agent, labels aside."""
    waiting = (each["state_start_time"] for each in task_runs if each["state"] in SCHEDULED)
    due = due_time(row, min((start for start in waiting if start is not None), default=None))
    return due is not None and due <= iso(before)

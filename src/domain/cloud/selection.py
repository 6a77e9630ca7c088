"""The flow runs that an agent receives (protocol section 3.2): filtered by labels, then limited in number."""

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any, Final

from prefect.agent.domain.state_names import SCHEDULED
from prefect.agent.domain.times import iso

LIMIT: Final = 25
"""How many flow runs one answer has at most."""

READY_TYPES: Final = tuple(sorted(SCHEDULED))
"""State types of flow runs, and of task runs of Running flow runs, that wait for their start time."""

STARTED: Final = ("Running", "Scheduled")
"""State types of due flow runs that agents start (protocol section 3.3). These come first in an answer, so that runs
which no agent starts do not fill it."""


def is_due(row: Mapping[str, Any], before: datetime) -> bool:
    """Return whether a flow run or task run waits to be started before *before*."""
    start = row.get("state_start_time")
    return row["state"] in SCHEDULED and start is not None and start <= iso(before)


def due_time(row: Mapping[str, Any], first_task: str | None) -> str | None:
    """Return from when on agents receive a flow run; None if they do not.

    Args:
        row: The flow run.
        first_task: The earliest start time of its waiting task runs (``READY_TYPES``), if there are any.
    """
    if row["state"] == "Running":
        return first_task
    return row.get("state_start_time") if row["state"] in SCHEDULED else None


def is_ready(row: Mapping[str, Any], task_runs: Iterable[Mapping[str, Any]], before: datetime) -> bool:
    """Return whether agents receive a flow run, apart from its labels."""
    waiting = (each["state_start_time"] for each in task_runs if each["state"] in SCHEDULED)
    due = due_time(row, min((start for start in waiting if start is not None), default=None))
    return due is not None and due <= iso(before)

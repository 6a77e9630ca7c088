"""Which flow runs an agent is given (protocol section 3.2), filtered by labels first and limited afterwards."""

from collections.abc import Collection, Iterable, Mapping
from datetime import datetime
from typing import Any, Final

from prefect.agent.domain.cloud.states import SCHEDULED
from prefect.agent.domain.times import iso

LIMIT: Final = 25
"""Most flow runs in one answer."""

READY_TYPES: Final = tuple(sorted(SCHEDULED))
"""State types of flow runs, and of task runs of Running flow runs, that wait for their start time."""


def labels_match(run_labels: Collection[str], agent_labels: Collection[str]) -> bool:
    """Whether an agent gets a run: all of the run's labels, and no unlabelled runs for an agent that has labels."""
    if not run_labels:
        return not agent_labels
    return set(run_labels) <= set(agent_labels)


def is_due(row: Mapping[str, Any], before: datetime) -> bool:
    """Whether a flow run or task run waits to be started before *before*."""
    start = row.get("state_start_time")
    return row["state"] in SCHEDULED and start is not None and start <= iso(before)


def is_ready(row: Mapping[str, Any], task_runs: Iterable[Mapping[str, Any]], before: datetime) -> bool:
    """Whether a flow run is to be given to an agent, labels aside."""
    if row["state"] == "Running":
        return any(is_due(task_run, before) for task_run in task_runs)
    return is_due(row, before)

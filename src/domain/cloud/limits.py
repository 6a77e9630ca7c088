"""Concurrency limits: which runs may begin, and the state of those that have to wait (protocol sections 12.5, 13.2).

A limit is a name (a label of flow runs, or a tag of tasks) with a number of slots. A run takes a slot of each of its
limits while its state is one of :data:`TAKING`. There is no counter that could become wrong.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from typing import Any, Final

from prefect.agent.domain.cloud.errors import CloudRefusal
from prefect.agent.domain.cloud.states import CloudState
from prefect.agent.domain.state_names import EXECUTING

TAKING: Final = tuple(sorted(EXECUTING))
"""State types of runs that take slots."""

FLOW_RUNS_QUEUED: Final = "Queued by flow run label concurrency limit"
TASK_RUNS_QUEUED: Final = "Queued by task run tag concurrency limit"

WAIT: Final = timedelta(seconds=120)
"""How far ahead a queued run is due. Its process asks again long before, every 30 seconds by default. If that time
comes, the process is lost, and Lazarus schedules the run again (:mod:`.rescue`)."""


def begins(present: str, asked: str) -> bool:
    """Return whether a run begins to take slots, by the types of its present state and of the requested one."""
    return asked == "Running" and present not in TAKING


def count_taken(taking: Iterable[Iterable[str]]) -> dict[str, int]:
    """Return how many slots of each limit are taken, from the labels or tags of each run that takes some."""
    return dict(Counter(name for names in taking for name in set(names)))


def full(limits: Mapping[str, int], taken: Mapping[str, int], wanted: Iterable[str]) -> list[str]:
    """Return the names of those limits of a run that have no free slot.

    Args:
        limits: The number of slots of each limit.
        taken: The slots that other runs take.
        wanted: Labels or tags of the run.
    """
    return sorted(name for name in set(wanted) if name in limits and taken.get(name, 0) >= limits[name])


def queued(before: Mapping[str, Any] | None, names: Iterable[str], reason: str, now: datetime) -> CloudState:
    """Return the Queued state of a run that has to wait.

    Args:
        before: The run's present state as JSON. The Queued state wraps it, and the process continues with it later; a
            wrapped Running state would let the process begin without asking.
        names: The limits without a free slot.
        reason: One of the texts of this module.
        now: The Cloud's time.
    """
    message = f"{reason}: {', '.join(names)}"
    start = now + WAIT
    payload = {"type": "Queued", "message": message, "start_time": start.isoformat(), "state": _innermost(before)}
    return CloudState(type="Queued", message=message, start_time=start, payload=payload)


def check_limit(value: object) -> int:
    """Return *value* if it is a number of slots.

    Raises:
        CloudRefusal: The value is not such a number.
    """
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise CloudRefusal("A limit must be a whole number, 0 or more")
    return value


def _innermost(state: Mapping[str, Any] | None) -> Mapping[str, Any] | None:
    """Return the innermost wrapped state, so that the state of a run that waits for long does not grow."""
    while state is not None and state.get("type") in {"Queued", "Submitted"}:
        inner = state.get("state")
        state = inner if isinstance(inner, Mapping) else None
    return None if state is None or state.get("type") in EXECUTING else state

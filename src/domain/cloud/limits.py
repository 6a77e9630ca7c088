"""Concurrency limits: who may begin, and what those get who have to wait (protocol sections 12.5 and 13.2).

A limit is a name - a label of flow runs, a tag of tasks - and a number of places. A run takes a place of each of its
limits while it is in one of :data:`TAKING`; nothing is counted up or down, so nothing can be lost.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from typing import Any, Final

from prefect.agent.domain.cloud.errors import CloudRefusal
from prefect.agent.domain.cloud.states import RUNNING, State

TAKING: Final = tuple(sorted(RUNNING))
"""State types of runs that take places."""

FLOW_RUNS_QUEUED: Final = "Queued by flow run label concurrency limit"
TASK_RUNS_QUEUED: Final = "Queued by task run tag concurrency limit"

WAIT: Final = timedelta(seconds=120)
"""How far ahead a queued run is due. Its process asks again long before, every 30 seconds if it is not told otherwise;
when the time does come the process is gone, and Lazarus takes the run up again (:mod:`.rescue`)."""


def begins(present: str, asked: str) -> bool:
    """Whether a run that takes no place yet asks for one, by the types of its state and of the one it asks for."""
    return asked == "Running" and present not in TAKING


def count_taken(taking: Iterable[Iterable[str]]) -> dict[str, int]:
    """Places that runs take, by name, from the labels or tags of each run that takes some."""
    return dict(Counter(name for names in taking for name in set(names)))


def full(limits: Mapping[str, int], taken: Mapping[str, int], wanted: Iterable[str]) -> list[str]:
    """The limits without a free place, by name, among those that a run falls under.

    Args:
        limits: Places of each limit.
        taken: Places that other runs take.
        wanted: Labels or tags of the run that asks.
    """
    return sorted(name for name in set(wanted) if name in limits and taken.get(name, 0) >= limits[name])


def queued(before: Mapping[str, Any] | None, names: Iterable[str], reason: str, now: datetime) -> State:
    """The state of a run that has to wait.

    Args:
        before: The run's present state as JSON. It is wrapped, and comes out again when the run is resumed: a process
            that finds Running inside would begin without asking.
        names: The limits that are exhausted.
        reason: One of the texts of this module.
    """
    message = f"{reason}: {', '.join(names)}"
    start = now + WAIT
    payload = {"type": "Queued", "message": message, "start_time": start.isoformat(), "state": _innermost(before)}
    return State(type="Queued", message=message, start_time=start, payload=payload)


def check_limit(value: object) -> int:
    """*value* if it is a number of places.

    Raises:
        CloudRefusal: It is not.
    """
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise CloudRefusal("A limit is a number, 0 or more")
    return value


def _innermost(state: Mapping[str, Any] | None) -> Mapping[str, Any] | None:
    """What is wrapped, however often; runs that wait for long must not grow."""
    while state is not None and state.get("type") in {"Queued", "Submitted"}:
        inner = state.get("state")
        state = inner if isinstance(inner, Mapping) else None
    return None if state is None or state.get("type") in RUNNING else state

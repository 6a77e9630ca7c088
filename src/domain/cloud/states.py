"""States and the JSON they travel in (protocol section 4A); their names are in ``domain.state_names``."""

import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

import attrs

from prefect.agent.domain import times
from prefect.agent.domain.cloud.errors import CloudRefusal
from prefect.agent.domain.state_names import PARENTS

ENDING: Final = frozenset({"Success", "Failed", "Cached", "TimedOut", "Looped", "Cancelled"})
"""Types whose time becomes the run's end time (protocol section 13.1)."""

MAX_BYTES: Final = 1_000_000
"""Largest state payload (protocol section 13.1)."""


@attrs.frozen(kw_only=True)
class CloudState:
    """One state, read from its JSON.

    Attributes:
        start_time: When a scheduled state is due; aware, UTC.
        payload: The JSON object, as it is stored and given out again.
    """

    type: str
    message: str | None = None
    start_time: datetime | None = None
    payload: Mapping[str, Any] = attrs.field(factory=dict, repr=False)


def scheduled(start_time: datetime, message: str) -> CloudState:
    """A Scheduled state made by the Cloud itself."""
    payload = {"type": "Scheduled", "message": message, "start_time": start_time.isoformat()}
    return CloudState(type="Scheduled", message=message, start_time=start_time, payload=payload)


def plain(state_type: str, message: str) -> CloudState:
    """A state without extras made by the Cloud itself."""
    return CloudState(type=state_type, message=message, payload={"type": state_type, "message": message})


def read_state(payload: object) -> CloudState:
    """Read a state from what a client sent.

    Raises:
        CloudRefusal: It is not a state, its type is unknown, or it is too large.
    """
    if isinstance(payload, str):  # a JSON scalar written as a quoted literal (protocol section 1.3)
        try:
            payload = json.loads(payload)
        except (ValueError, RecursionError) as problem:
            raise CloudRefusal(f"State update failed: the state is not JSON: {problem}") from problem
    if not isinstance(payload, Mapping):
        raise CloudRefusal("State update failed: a state is an object")
    kind = payload.get("type")
    if not isinstance(kind, str) or kind not in PARENTS:
        raise CloudRefusal(f"State update failed: {kind!r:.80} is not a state type")
    if _size(payload) > MAX_BYTES:
        raise CloudRefusal(f"State update failed: the state is larger than {MAX_BYTES} bytes")
    message = payload.get("message")
    start = read_time(payload["start_time"]) if payload.get("start_time") is not None else None
    return CloudState(
        type=kind, message=message if isinstance(message, str) else None, start_time=start, payload=dict(payload)
    )


def read_time(value: object) -> datetime:
    """A time as clients write it.

    Raises:
        CloudRefusal: It is not a time.
    """
    try:
        return times.read_time(value)
    except ValueError as problem:
        raise CloudRefusal(f"{value!r:.80} is not a time") from problem


def _size(payload: object) -> int:
    """Length as JSON; nested too deeply counts as too large."""
    try:
        return len(json.dumps(payload))
    except RecursionError:
        return MAX_BYTES + 1

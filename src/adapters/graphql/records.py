"""Claim records and the states that carry them are converted from and to the backend's JSON.

Pure; no answer makes it raise.
"""

import re
from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

import attrs

from prefect.agent.domain.model.ends import waits_until
from prefect.agent.domain.model.flow_runs import ClaimRecord
from prefect.agent.domain.state_names import SCHEDULED, SUBMITTED
from prefect.agent.domain.times import iso, read_time

DIALECT: Final = "1.4.1"
"""Version of the protocol that is spoken; goes into states as information."""

RECORD_KEY: Final = "prefect_agent"
"""Where a state's context keeps what this agent wrote."""

RECOVERIES: Final = "recoveries"
MAX_RECOVERIES: Final = 1_000_000
"""Largest count that is believed: a record comes from outside."""

MAX_MESSAGE: Final = 10_000
"""Characters of a state's message."""

_NEEDED: Final = ("claimant", "platform", "unit", "attempt", "agent_name")
_UNPRINTABLE: Final = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff]")
"""What no log needs, and databases refuse: control characters but line breaks and tabs, and half surrogate pairs."""

Json = Mapping[str, Any]


def read_record(payload: Json) -> ClaimRecord | None:
    """Return the record in a Submitted state; None if there is none that names a claim.

    Fields that an older agent did not write, or that are of a wrong type, have their defaults.
    """
    found = marks(payload)
    needed = {name: found.get(name) for name in _NEEDED}
    if not all(isinstance(value, str) for value in needed.values()):
        return None
    return ClaimRecord(
        **needed,  # type: ignore[arg-type]
        place=text(found.get("place")),
        fingerprint=text(found.get("fingerprint")),
        claimed_at=moment(found.get("claimed_at")),
        create_until=moment(found.get("create_until")),
        recoveries=read_recoveries(payload),
    )


def read_recoveries(payload: Json) -> int:
    """Return the number of recoveries in a state: the record's, or that of a waiting state that was handed back."""
    count = number(marks(payload).get(RECOVERIES))
    return min(max(0, count or 0), MAX_RECOVERIES)


def is_handed_back(payload: Json) -> bool:
    """Return whether :func:`handed_back_state` wrote a waiting state."""
    return number(marks(payload).get(RECOVERIES)) is not None


def marks(payload: Json) -> Json:
    """Return what this agent wrote into the context of a state."""
    return mapping(mapping(payload.get("context")).get(RECORD_KEY))


def waiting_state(payload: object) -> Json | None:
    """Return the waiting state that a claim wraps, also if the claim was made already."""
    for _ in range(8):
        if not isinstance(payload, Mapping) or payload.get("type") != SUBMITTED:
            break
        payload = payload.get("state")
    return payload if isinstance(payload, Mapping) else None


def submitted_state(wrapped: object, record: ClaimRecord) -> dict[str, Any]:
    """Return the Submitted state that claims a run.

    Args:
        wrapped: The present state of the run: the one that waits, or the Submitted one of the claim before.
    """
    written = {
        name: iso(value) if isinstance(value, datetime) else value for name, value in attrs.asdict(record).items()
    }
    state = waiting_state(wrapped)
    return _state(SUBMITTED, "Submitted for execution", state=state, context={RECORD_KEY: written})


def ended_state(kind: str, message: str) -> dict[str, Any]:
    """Return a Failed or Cancelled state."""
    return _state(kind, message)


def handed_back_state(submitted: object, message: str, *, now: datetime, recoveries: int) -> dict[str, Any]:
    """Return the state that *submitted* wraps, to wait as before, for a while at least.

    Args:
        recoveries: Number of recoveries for the state to keep.
    """
    waited = mapping(waiting_state(submitted))
    if waited.get("type") not in SCHEDULED:
        waited = _state("Scheduled", "")
    start = waits_until(moment(waited.get("start_time")), now)
    context = {**mapping(waited.get("context")), RECORD_KEY: {RECOVERIES: recoveries}}
    return {**waited, "message": printable(message, MAX_MESSAGE), "start_time": iso(start), "context": context}


def _state(kind: str, message: str, **more: Any) -> dict[str, Any]:
    result = {"type": "NoResultType", "__version__": DIALECT}
    common = {"context": {}, "cached_inputs": {}, "_result": result, "__version__": DIALECT}
    return {"type": kind, "message": printable(message, MAX_MESSAGE), **common, **more}


# --- values of any type ---


def printable(words: str, limit: int) -> str:
    """Return *words* with a replacement for every character that databases refuse, cut at *limit* characters."""
    return _UNPRINTABLE.sub("\ufffd", words[:limit].replace("\r\n", "\n"))


def moment(value: object) -> datetime | None:
    """Return a time (aware, UTC), or None."""
    if not isinstance(value, str):
        return None
    try:
        return read_time(value)
    except ValueError:
        return None


def number(value: object) -> int | None:
    """Return a whole number, or None."""
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def mapping(value: object) -> Json:
    """Return the value if it is an object, else an empty one."""
    return value if isinstance(value, Mapping) else {}


def items(value: object) -> list[Any]:
    """Return the value if it is a list, else an empty one."""
    return value if isinstance(value, list) else []


def text(value: object) -> str:
    """Return the value if it is a text, else an empty one."""
    return value if isinstance(value, str) else ""

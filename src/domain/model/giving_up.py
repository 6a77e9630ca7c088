"""The last messages of flow runs that an agent gave up before they began: written by one agent, read by any. Pure."""

import re
from typing import Final

from prefect.agent.domain.model.units import Evidence
from prefect.agent.domain.wait_kinds import WaitKind

CANNOT_START: Final = "The flow run cannot be started"
"""Begins the message of the state in which an agent leaves a run that it refuses."""

NOT_STARTED: Final = "The flow run could not be started"
"""Begins the message of the state in which an agent leaves a run whose unit it could not create in time."""

_UNIT: Final = "The unit of execution"
_GAVE_UP: Final = re.compile(rf"(?:{NOT_STARTED}|{_UNIT} \S+ could not start)(?: for lack of (?P<what>[^:(]*[^:( ]))?")


def not_started(problem: str, kind: WaitKind) -> str:
    """Return the message of a run whose unit was not created: what was lacking, and the problem in other words."""
    return f"{NOT_STARTED}{_for_lack(kind)}: {problem}"


def unit_not_started(name: str, evidence: Evidence | None) -> str:
    """Return the message of a run whose unit was created and waited in vain, with what it waited for."""
    said = evidence or Evidence()
    return f"{_UNIT} {name} could not start{_for_lack(said.wait_kind)} ({said})"


def lacked(message: str) -> WaitKind | None:
    """Return what was lacking by such a message, ``UNKNOWN`` if it does not say; None for a message of another kind.

    Agents of earlier versions do not say it.
    """
    found = _GAVE_UP.match(message)
    if found is None:
        return None
    return next((kind for kind in WaitKind if kind.what == found["what"]), WaitKind.UNKNOWN)


def _for_lack(kind: WaitKind) -> str:
    return f" for lack of {kind.what}" if kind.what else ""

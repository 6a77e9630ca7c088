"""Names of the states of Prefect 0.x and 1.x, with the state that each one specialises (protocol section 4A). Pure.

One table for the rules of a Cloud (``domain.cloud``) and for adapters that speak to one. The agent's own rules
(``domain.model``, ``domain.services``) know phases only and never import this module.
"""

from collections.abc import Mapping
from typing import Final

SUBMITTED: Final = "Submitted"
RUNNING: Final = "Running"
CANCELLING: Final = "Cancelling"
CANCELLED: Final = "Cancelled"
FAILED: Final = "Failed"
SUCCESS: Final = "Success"
QUEUED: Final = "Queued"
PAUSED: Final = "Paused"

PARENTS: Final[Mapping[str, str | None]] = {
    "Pending": None,
    "Scheduled": "Pending",
    "Resume": "Scheduled",
    "Retrying": "Scheduled",
    "Paused": "Scheduled",
    "Submitted": None,
    "Queued": None,
    "ClientFailed": None,
    "Running": None,
    "Cancelling": "Running",
    "Finished": None,
    "Looped": "Finished",
    "Success": "Finished",
    "Cached": "Success",
    "Mapped": "Success",
    "Skipped": "Success",
    "Failed": "Finished",
    "TimedOut": "Failed",
    "TriggerFailed": "Failed",
    "ValidationFailed": "Failed",
    "Cancelled": "Finished",
}
"""Every state and the one it specialises."""


def ancestors(name: str) -> frozenset[str]:
    """Return *name* and every state that it specialises."""
    found: list[str] = []
    current: str | None = name
    while current is not None:
        found.append(current)
        current = PARENTS.get(current)
    return frozenset(found)


SCHEDULED: Final = frozenset(name for name in PARENTS if "Scheduled" in ancestors(name)) | {QUEUED}
"""States from which a run can be started: a claim moves on from one of these."""

FINISHED: Final = frozenset(name for name in PARENTS if "Finished" in ancestors(name))
"""States after which nothing more happens, unless the run is scheduled again."""

SUCCESSFUL: Final = frozenset(name for name in PARENTS if SUCCESS in ancestors(name))
"""Finished states of a run that did what it was to do."""

EXECUTING: Final = frozenset(name for name in PARENTS if RUNNING in ancestors(name))
"""States of a run that takes a place in a concurrency limit."""

OPEN: Final = frozenset({SUBMITTED, *EXECUTING})
"""States of a run that was claimed and has not finished."""

"""States of flow runs as the agent needs them: a type, a message, a time.

The type names are those of the backend (protocol section 4A); the agent invents none. A type the table does not know
belongs to no group: such a run is left alone.
"""

from datetime import datetime
from typing import Final

import attrs

SCHEDULED_TYPES: Final = frozenset({"Scheduled", "Resume", "Retrying", "Paused", "Queued"})
"""Waiting to be started. A claim moves on from one of these."""

FINISHED_TYPES: Final = frozenset(
    {
        "Finished", "Looped", "Success", "Cached", "Mapped", "Skipped",
        "Failed", "TimedOut", "TriggerFailed", "ValidationFailed", "Cancelled",
    }
)  # fmt: skip
"""Nothing more will happen, unless somebody schedules the run again."""

SUBMITTED: Final = "Submitted"
RUNNING: Final = "Running"
CANCELLING: Final = "Cancelling"
CANCELLED: Final = "Cancelled"
FAILED: Final = "Failed"


@attrs.frozen(kw_only=True)
class State:
    """One state of a flow run or task run.

    Attributes:
        type: The backend's own name, for example ``Scheduled``.
        message: For people; may be empty.
        start_time: When the run is due (aware, UTC), if the state says so.
    """

    type: str = attrs.field(validator=attrs.validators.instance_of(str))
    message: str = ""
    start_time: datetime | None = None

    @property
    def is_scheduled(self) -> bool:
        """Whether the run waits to be started."""
        return self.type in SCHEDULED_TYPES

    @property
    def is_finished(self) -> bool:
        """Whether the run has come to an end."""
        return self.type in FINISHED_TYPES

    @property
    def is_running(self) -> bool:
        """Whether a process executes the run now, as far as the backend knows."""
        return self.type == RUNNING

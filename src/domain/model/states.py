"""States of flow runs as the agent needs them: a phase to decide by, a name and a message for people, a time.

Backends name their states differently. The adapter that reads a state says which phase it is; no rule of the agent
ever looks at the name.
"""

import enum
from datetime import datetime

import attrs


class Phase(enum.Enum):
    """The phase says how far a run is, in any backend."""

    WAITING = "waiting"
    """The run waits to be started, or for something before that (a person, a free place). A claim begins here."""

    CLAIMED = "claimed"
    """An agent has taken the run; its process has not reported yet."""

    RUNNING = "running"
    """A process executes the run now, as far as the backend knows."""

    CANCELLING = "cancelling"
    """The run is being cancelled: its unit is to be stopped."""

    FINISHED = "finished"
    """Nothing more happens, unless the run is scheduled again. :attr:`State.outcome` says how it ended."""

    OTHER = "other"
    """None of these, or a state that the adapter does not know. The agent leaves such a run alone."""


class Outcome(enum.Enum):
    """The outcome says how a finished run ended."""

    SUCCESS = "success"
    FAILURE = "failure"
    """It ended without success, for any reason but a cancellation."""

    CANCELLED = "cancelled"
    """It was cancelled. A unit of it that still executes is stopped."""


OPEN = frozenset({Phase.CLAIMED, Phase.RUNNING, Phase.CANCELLING})
"""Phases of a run that was claimed and has not finished."""


@attrs.frozen(kw_only=True)
class State:
    """A state says where one flow run or task run stands.

    Attributes:
        phase: What the agent decides by; set by the adapter that reads the state.
        name: The backend's own name, for people: ``Scheduled``, ``COMPLETED``. Never compared with anything.
        message: For people; may be empty.
        start_time: When the run is due (aware, UTC), if the state says so.
        outcome: How a finished run ended; None for every other phase.

    Raises:
        TypeError: The name is not a text, or the phase is not a :class:`Phase`.
        ValueError: A finished state without an outcome, or an outcome of a state that is not finished.
    """

    phase: Phase = attrs.field(validator=attrs.validators.instance_of(Phase))
    name: str = attrs.field(validator=attrs.validators.instance_of(str))
    message: str = ""
    start_time: datetime | None = None
    outcome: Outcome | None = None

    def __attrs_post_init__(self) -> None:
        if self.is_finished != (self.outcome is not None):
            raise ValueError(f"a state has an outcome if, and only if, it is finished: {self.name!r:.80}")

    @property
    def is_waiting(self) -> bool:
        """Return whether the run waits to be started."""
        return self.phase is Phase.WAITING

    @property
    def is_claimed(self) -> bool:
        """Return whether an agent has taken the run and its process has not reported yet."""
        return self.phase is Phase.CLAIMED

    @property
    def is_running(self) -> bool:
        """Return whether a process executes the run now, as far as the backend knows."""
        return self.phase is Phase.RUNNING

    @property
    def is_cancelling(self) -> bool:
        """Return whether the run is being cancelled."""
        return self.phase is Phase.CANCELLING

    @property
    def is_finished(self) -> bool:
        """Return whether the run has come to an end."""
        return self.phase is Phase.FINISHED

    @property
    def is_open(self) -> bool:
        """Return whether the run was claimed and has not finished."""
        return self.phase in OPEN

    @property
    def is_cancelled(self) -> bool:
        """Return whether the run has ended by a cancellation."""
        return self.outcome is Outcome.CANCELLED

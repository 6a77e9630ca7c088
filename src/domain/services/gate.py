"""Whether the platform answers: while it does not, nothing is claimed."""

from typing import Final

import attrs

from prefect.agent.domain.errors import CreateBlocked, PlatformError
from prefect.agent.ports import events
from prefect.agent.ports.clock import Clock
from prefect.agent.ports.events import Event, EventSink
from prefect.agent.ports.platform import ExecutionPlatform

LOOK_EVERY: Final = 5.0
"""Seconds between two checks of a platform that does not answer, or of one that was just found to answer."""


@attrs.define(kw_only=True)
class PlatformGate:
    """Closed from the moment the platform fails its check until it passes it. Any thread may use it."""

    platform: ExecutionPlatform
    clock: Clock
    tell: EventSink = events.ignore
    problem: str = attrs.field(default="", init=False)
    """Why the gate is closed; empty while it is open."""
    blocked: CreateBlocked | None = attrs.field(default=None, init=False)
    """The error that the gate is closed for, if the platform answers and only creates nothing."""
    _looked: float | None = attrs.field(default=None, init=False)

    @property
    def is_open(self) -> bool:
        """Whether flow runs may be claimed."""
        return not self.problem

    def check(self) -> bool:
        """Whether the platform answers; asked anew at most every few seconds."""
        now = self.clock.monotonic()
        if self._looked is not None and now - self._looked < LOOK_EVERY:
            return self.is_open
        self._looked = now
        try:
            self.platform.check()
        except CreateBlocked as problem:
            self.block(problem)
        except PlatformError as problem:
            self.close(str(problem))
        else:
            self.open()
        return self.is_open

    def close(self, problem: str) -> None:
        """Note that the platform does not answer."""
        if self.is_open:
            message = f"The platform does not answer; nothing is claimed until it does: {problem}"
            self.tell(Event(name=events.PLATFORM_TROUBLE, level="WARNING", message=message))
        self.problem, self.blocked = problem or "no answer", None

    def block(self, problem: CreateBlocked) -> None:
        """Note that the platform answers, but creates nothing at present."""
        if self.is_open:
            message = f"Nothing is claimed until the platform takes flow runs again: {problem}"
            self.tell(Event(name=events.PLATFORM_TROUBLE, level="WARNING", message=message))
        self.problem, self.blocked = str(problem), problem

    def open(self) -> None:
        """Note that the platform answers."""
        if not self.is_open:
            self.tell(Event(name=events.PLATFORM_BACK, message="The platform answers again"))
        self.problem, self.blocked = "", None

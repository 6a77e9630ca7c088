"""A stopping agent says what it still waits for."""

from collections.abc import Callable, Sequence
from typing import Final

import attrs

from prefect.agent.domain.services.work_in_hand import WorkInHand
from prefect.agent.entrypoints.runtime.announcer import Announcer
from prefect.agent.ports import events
from prefect.agent.ports.clock import Clock, Wake

AGAIN_AFTER: Final = 10.0
"""Seconds between two lines."""

MOST_NAMES: Final = 3
"""Flow runs that a line names."""


@attrs.define(kw_only=True)
class Draining:
    """Draining says once why the agent stops, and then every ten seconds what it still waits for.

    Attributes:
        patience: Seconds that begun starts may take.
        names: Names of the flow runs that are being started.
        cause: What stops the agent: a signal, or ``Stop``.
    """

    clock: Clock
    work: WorkInHand
    announcer: Announcer
    patience: float
    names: Callable[[], Sequence[str]]
    cause: str = "Stop"

    def step(self, over: Wake) -> bool:
        """Say what the agent waits for, and pause; return False once the agent has ended.

        Args:
            over: Set when the agent has ended.
        """
        self.announcer.say(events.AGENT_STOPPING, self._first())
        began = self.clock.monotonic()
        while not self.clock.pause(AGAIN_AFTER, over) and not over.is_set():
            left = self.patience - (self.clock.monotonic() - began)
            self.announcer.say(events.AGENT_STOPPING, f"Still finishing {self._starts()}{_until(left)}")
        return False

    def _first(self) -> str:
        alive = len(self.work.living)
        goes_on = f"{_count(alive, 'flow run')} {'goes' if alive == 1 else 'go'} on"
        if not self.work.desk.started:
            return f"{self.cause}: nothing is being started; {goes_on}; sending the last reports"
        return f"{self.cause}: finishing {self._starts()}{_until(self.patience)}; {goes_on}; again to stop at once"

    def _starts(self) -> str:
        names = list(self.names())
        shown = ", ".join(names[:MOST_NAMES]) + (", ..." if len(names) > MOST_NAMES else "")
        return _count(self.work.desk.started, "start") + (f" ({shown})" if names else "")


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"


def _until(seconds: float) -> str:
    return f", up to {seconds:.0f} s more" if seconds > 0 else ""

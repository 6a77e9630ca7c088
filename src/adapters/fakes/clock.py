"""A clock whose time passes only when a test says so."""

import threading
from datetime import datetime, timedelta, timezone
from typing import Final

from prefect.agent.ports.clock import Clock, Wake

LOOK_EVERY: Final = 0.005
"""Real seconds between two looks at a wake: it cannot tell us when it is set."""

START: Final = datetime(2024, 1, 1, tzinfo=timezone.utc)


class ManualClock(Clock):
    """A manual clock goes on by :meth:`advance` alone.

    Args:
        start: The time of day to begin with; aware.
        auto: Let :meth:`pause` advance the time itself and return at once. For tests of one thread.
    """

    def __init__(self, start: datetime = START, *, auto: bool = False) -> None:
        self._start = start.astimezone(timezone.utc)
        self._auto = auto
        self._changed = threading.Condition()
        self._microseconds = 0  # whole ones, so that a deadline is met exactly
        self._waiting = 0

    def now(self) -> datetime:
        with self._changed:
            return self._start + timedelta(microseconds=self._microseconds)

    def monotonic(self) -> float:
        with self._changed:
            return self._microseconds / 1_000_000

    def pause(self, seconds: float, wake: Wake | None = None) -> bool:
        if seconds > 0 and not (wake is not None and wake.is_set()):
            if self._auto:
                self.advance(seconds)
            else:
                self._wait(_whole(seconds), wake)
        return wake is not None and wake.is_set()

    def advance(self, seconds: float) -> None:
        """Let *seconds* pass and end the pauses that are over.

        Raises:
            ValueError: Time does not go back.
        """
        if seconds < 0:
            raise ValueError(f"time does not go back: {seconds}")
        with self._changed:
            self._microseconds += _whole(seconds)
            self._changed.notify_all()

    @property
    def waiting(self) -> int:
        """Return how many threads are in a pause now."""
        with self._changed:
            return self._waiting

    def _wait(self, microseconds: int, wake: Wake | None) -> None:
        with self._changed:
            end = self._microseconds + microseconds
            self._waiting += 1
            try:
                while self._microseconds < end and not (wake is not None and wake.is_set()):
                    self._changed.wait(None if wake is None else LOOK_EVERY)
            finally:
                self._waiting -= 1


def _whole(seconds: float) -> int:
    return round(seconds * 1_000_000)

"""The port of time: the agent asks it for the time of day and for every pause, so that no test has to wait."""

import abc
from datetime import datetime, timedelta
from typing import Protocol


class Wake(Protocol):
    """An object that ends a pause early, for example a ``threading.Event``."""

    def is_set(self) -> bool:
        """Whether the wake is set: every pause that uses it is over."""
        ...

    def wait(self, timeout: float | None = None) -> bool:
        """Block until the wake is set, or for *timeout* seconds; return :meth:`is_set`."""
        ...


class Clock(abc.ABC):
    """The time of day, monotonic time, and pauses. Safe to use from several threads; no method raises.

    All loops of the agent share one object and pause on it at the same time, each in its own thread.
    """

    @abc.abstractmethod
    def now(self) -> datetime:
        """The time of day, aware and in UTC. It may jump when the machine's clock is set."""

    def now_ahead(self, skew: float) -> datetime:
        """The time of day by a clock that is *skew* seconds ahead of this one: the Cloud's, or the platform's."""
        return self.now() + timedelta(seconds=skew)

    @abc.abstractmethod
    def monotonic(self) -> float:
        """Seconds since a fixed moment, for measuring and for deadlines. Never goes back."""

    @abc.abstractmethod
    def pause(self, seconds: float, wake: Wake | None = None) -> bool:
        """Let *seconds* pass, or return as soon as *wake* is set.

        Zero and negative seconds do not pause. Returns whether *wake* is set.
        """

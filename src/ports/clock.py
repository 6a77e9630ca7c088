"""Time, as a port, so that no test has to wait for it."""

import abc
from datetime import datetime
from typing import Protocol


class Wake(Protocol):
    """Something that ends a pause early. ``threading.Event`` is one."""

    def is_set(self) -> bool:
        """Whether the pause is over."""
        ...

    def wait(self, timeout: float | None = None) -> bool:
        """Block until set, or for *timeout* seconds; return :meth:`is_set`."""
        ...


class Clock(abc.ABC):
    """The time of day, time that only grows, and pauses. Safe to use from several threads."""

    @abc.abstractmethod
    def now(self) -> datetime:
        """The time of day: aware, UTC."""

    @abc.abstractmethod
    def monotonic(self) -> float:
        """Seconds since some fixed moment; never goes back. For measuring and for deadlines."""

    @abc.abstractmethod
    def pause(self, seconds: float, wake: Wake | None = None) -> bool:
        """Let *seconds* pass, or return as soon as *wake* is set.

        Negative and zero seconds do not pause. Returns whether *wake* is set.
        """

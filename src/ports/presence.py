"""Whether another agent process still lives: what a recovery has to know before it takes a claim over."""

import abc


class Presence(abc.ABC):
    """Knows where this agent executes, and of other places whether the agent there is gone. Thread-safe.

    A *place* is a short printable text that is unique to one agent process; it goes into claim records.
    """

    @property
    @abc.abstractmethod
    def place(self) -> str:
        """Where this process executes; empty if that cannot be said."""

    @abc.abstractmethod
    def is_gone(self, place: str) -> bool:
        """Whether the agent process at *place* is proven to be gone. False if it lives, or if nothing is known of it.

        Never raises; an unreadable or foreign place is not proven gone.
        """

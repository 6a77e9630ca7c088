"""The port of presence: whether another agent process still executes.

A recovery asks it before it takes a claim over: the claim of an agent that is proven to be gone need not expire first.
"""

import abc


class Presence(abc.ABC):
    """Names the place of this agent process, and says of other places whether their agent is gone.

    A *place* is a short printable text that is unique to one agent process; it is written into claims
    (``ClaimRecord.place``). Safe to use from several threads; no method raises.
    """

    @property
    @abc.abstractmethod
    def place(self) -> str:
        """The place of this process; empty if it cannot be named."""

    @abc.abstractmethod
    def is_gone(self, place: str) -> bool:
        """Whether the agent process at *place* is proven to have ended.

        False if it executes, and if nothing is known about it: a place that is unreadable or on another machine proves
        nothing.
        """

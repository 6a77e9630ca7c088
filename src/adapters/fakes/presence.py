"""The presence of agents, in memory: an agent is gone once the test says so, or once a newer place was given out."""

import itertools
from collections.abc import Iterator

import attrs

from prefect.agent.ports.presence import Presence


@attrs.define
class InMemoryPresence(Presence):
    """This presence knows the places of one test's agents. By default only the newest is alive.

    Attributes:
        alive: Places whose agents live.
        numbers: Counter that makes the names of places.
    """

    alive: set[str] = attrs.field(factory=set)
    numbers: Iterator[int] = attrs.field(factory=lambda: itertools.count(1))
    _newest: str = attrs.field(default="", init=False)
    _known: set[str] = attrs.field(factory=set, init=False)

    @property
    def place(self) -> str:
        return self._newest

    def is_gone(self, place: str) -> bool:
        return place in self._known and place not in self.alive

    def new_place(self, *, alone: bool = True) -> str:
        """Return a place for one more agent.

        Args:
            alone: Whether all others are gone.
        """
        self._newest = f"memory:{next(self.numbers)}"
        self._known.add(self._newest)
        self.alive = {self._newest} if alone else {*self.alive, self._newest}
        return self._newest

"""Rules by which agents that ask for the same flow runs give way to each other. Pure."""

from collections.abc import Callable, Collection
from typing import Final

import attrs

PROBE: Final = 5
"""How many flow runs are claimed at first, until it is known that no other agent asks for the same."""

SHARE: Final = 2
"""While others ask for the same runs an agent claims one in so many of those it is offered at once."""

CONTESTED: Final = 60.0
"""Seconds for which an agent makes way for others after it lost a tenth of a batch of claims or more."""


@attrs.define
class Contention:
    """While other agents ask for the same flow runs, an agent claims fewer at once, from one end of the offer.

    An agent that loses claims for the first time goes to the end, since the winner does not know of it and goes on at
    the beginning. An agent that loses only the last of its batch stays where it is: its rival comes from the other end.
    Otherwise both know of each other, and the one whose id comes first takes the beginning.

    Attributes:
        me: Id of this process as a claimant.
        chance: Draws from [0, 1), for an agent that does not know its rival.
    """

    me: str
    chance: Callable[[], float]
    from_the_end: bool = attrs.field(default=False, init=False)
    _until: float = attrs.field(default=float("-inf"), init=False)
    _alone_until: float = attrs.field(default=float("-inf"), init=False)

    def portion(self, most: int, due: int, now: float) -> int:
        """Return how many of the *due* runs to claim at once, at most *most*; *now* is monotonic, in seconds."""
        if self.is_contested(now):  # this outlasts what an earlier batch said about being alone
            return min(most, max(1, due // SHARE))
        return most if now < self._alone_until else min(most, PROBE)

    def is_contested(self, now: float) -> bool:
        """Return whether another agent was observed recently."""
        return now < self._until

    def is_lossy(self, claims: int, lost: int) -> bool:
        """Return whether a batch lost so many claims that another agent must be asking for the same runs."""
        return claims > 0 and lost * 10 >= claims

    def learn(
        self, claims: int, lost: int, now: float, *, rivals: Collection[str] = (), only_the_last: bool = False
    ) -> None:
        """Record the result of a batch of claims.

        Args:
            rivals: Claimants that have the lost runs, as far as they are known.
            only_the_last: Whether all lost runs were in the second half of the batch.
        """
        others = sorted(set(rivals) - {self.me})
        if self.is_lossy(claims, lost):
            is_first = not self.is_contested(now)
            self._until = now + CONTESTED
            if not only_the_last:
                self.from_the_end = is_first or (self.me > others[0] if others else self.chance() < 0.5)
            return
        if claims:
            self._alone_until = now + CONTESTED
        if not self.is_contested(now):
            self.from_the_end = False

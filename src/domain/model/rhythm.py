"""Arithmetic of the times of polls. Times are monotonic seconds."""

from typing import Final

import attrs

from prefect.agent.domain.model.pauses import back_off

PATIENCE: Final = 2.0
"""How many times longer the longest pause is with a Cloud that answers as soon as there is a run."""

HELD_BACK: Final = 3.0
"""Seconds that a poll waits for the sweep that may spare it."""


@attrs.define(kw_only=True)
class PollRhythm:
    """The pauses of one poll loop: short while there is work, longer without it; sweeps make some polls unnecessary.

    Attributes:
        first, last: Shortest and longest pause, in seconds.
        next: When the next poll is due.
        polls: Number of polls so far.
    """

    first: float
    last: float
    next: float = attrs.field(default=0.0, init=False)
    polls: int = attrs.field(default=0, init=False)
    _gap: float = attrs.field(default=0.0, init=False)
    """Seconds between the last poll and the next one."""
    _misses: int = attrs.field(default=0, init=False)
    _held_back: bool = attrs.field(default=False, init=False)
    _held_back_at: int = attrs.field(default=0, init=False)
    """How many polls there had been when one was held back: never two in a row."""

    def begin(self, now: float, chance: float, *, waits: bool) -> float:
        """Begin a poll; return for how many seconds the Cloud may hold its answer back, if it can.

        Args:
            chance: Drawn from [0, 1).
            waits: Whether the Cloud can hold an answer back.
        """
        self._gap = back_off(self._misses, first=self.first, last=self.last, chance=chance)
        self.polls += 1
        self._misses += 1
        self._held_back = False
        wait = PATIENCE * self._gap if self.is_patient else self._gap
        self.next = now + (wait if waits else self._gap)
        return wait

    @property
    def is_patient(self) -> bool:
        """Return whether there has been no work for long."""
        return self._gap >= self.last / 2

    def found(self, now: float, *, at_once: bool) -> None:
        """Record that there was work: poll soon, or *at_once*."""
        self._misses = 0
        self.next = min(self.next, now if at_once else now + self.first)

    def failed(self, now: float, pause: float) -> None:
        """Record that a poll failed, and that the Cloud asks for a pause of so many seconds."""
        self.next = now + max(self._gap, pause)

    def hurry(self) -> None:
        """Poll now."""
        self.next = self._gap = 0.0

    # --- polls that a sweep spares ---

    @property
    def may_be_spared(self) -> bool:
        """Return whether the next poll may wait for a sweep, whose answer also says whether a flow run is due."""
        return self.is_patient and self._held_back_at < self.polls

    def hold_back(self, now: float) -> None:
        """Let the poll that is due wait briefly for a sweep."""
        self._held_back, self._held_back_at = True, self.polls
        self.next = now + HELD_BACK

    def swept(self, quiet_since: float | None) -> None:
        """Record what a sweep found: since when no flow run is due, or None if some may be."""
        if quiet_since is not None and self.is_patient:
            self.next = max(self.next, quiet_since + self._gap)
        elif self._held_back:
            self.next = 0.0
        self._held_back = False

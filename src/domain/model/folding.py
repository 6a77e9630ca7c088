"""When something that goes on is said: at once, then again at growing intervals, and when it is over. Pure."""

import re
from typing import Final

import attrs

FIRST_GAP: Final = 10.0
"""Seconds from the first line about a condition to the second one; each later gap is twice as long."""

LAST_GAP: Final = 600.0
"""Longest gap between two lines about the same condition, in seconds."""

REOPENED: Final = 60.0
"""A condition that comes back within so many seconds after its end is still the same one."""

FORGOTTEN: Final = 900.0
"""Seconds without a repetition after which a condition is forgotten: it would be said as a new one."""

_NUMBER: Final = re.compile(r"(?<![\w.:/-])\d+(?:\.\d+)?(?![\w:/-]|\.\d)")
"""A number that stands by itself: no part of an id, a name, an address or a time of day."""


def stable_part(message: str) -> str:
    """Return *message* without the numbers that change from one repetition to the next."""
    return _NUMBER.sub("#", message)


@attrs.frozen(kw_only=True)
class FoldedCondition:
    """Something that is wrong until it is over.

    All times are monotonic seconds.

    Attributes:
        since: When it began.
        last_at: When it last happened.
        said_at: When it was last said; None if it never was.
        gap: How long it is not said after that.
        tries: How often it happened.
        sources: The loops or flow runs that met it and have not succeeded since.
        well_since: When one of the sources first succeeded after it last happened; None if none has.
        ended_at: When it ended; None while it lasts.
        was_said: Whether it was said since it began or came back, so that its end is news.
    """

    since: float
    last_at: float
    said_at: float | None = None
    gap: float = FIRST_GAP
    tries: int = 1
    sources: frozenset[str] = frozenset()
    well_since: float | None = None
    ended_at: float | None = None
    was_said: bool = False

    def repeated(self, source: str, now: float) -> "FoldedCondition":
        """Return the condition after it has happened once more."""
        sources = self.sources | {source}
        return attrs.evolve(self, last_at=now, tries=self.tries + 1, sources=sources, well_since=None, ended_at=None)

    def is_due(self, now: float) -> bool:
        """Whether it is to be said now."""
        return self.said_at is None or now - self.said_at >= self.gap

    def said(self, now: float) -> "FoldedCondition":
        """Return the condition after it was said."""
        gap = self.gap if self.said_at is None else min(2 * self.gap, LAST_GAP)
        return attrs.evolve(self, said_at=now, gap=gap, was_said=True)

    def succeeded(self, source: str, now: float) -> "FoldedCondition":
        """Return the condition after *source* has succeeded; it has ended once all of its sources have."""
        if source not in self.sources:
            return self
        left = self.sources - {source}
        return attrs.evolve(self, sources=left, well_since=self.well_since or now, ended_at=None if left else now)

    def ended(self, now: float) -> "FoldedCondition":
        """Return the condition after something has shown that it is over for all of its sources."""
        return attrs.evolve(self, sources=frozenset(), well_since=self.well_since or now, ended_at=now)

    def is_stale(self, now: float) -> bool:
        """Whether it is no longer the same condition if it happens again."""
        if self.ended_at is not None:
            return now - self.ended_at >= REOPENED
        return now - self.last_at >= FORGOTTEN


def begun(source: str, now: float) -> FoldedCondition:
    """Return a condition that *source* has just met for the first time."""
    return FoldedCondition(since=now, last_at=now, sources=frozenset({source}))

"""Differences between clocks: which ones matter, and the sentence about one. Pure."""

from typing import Final

TOLERATED: Final = 5.0
"""Seconds by which two clocks may differ; networks and whole seconds in answers account for some of it."""


def is_tolerated(skew: float) -> bool:
    """Return whether nothing need be said of a clock that is *skew* seconds ahead of this machine's."""
    return abs(skew) <= TOLERATED


def side(skew: float) -> str:
    """Return on which side of this machine's clock another one is, for a sentence: ``ahead of`` or ``behind``."""
    return "ahead of" if skew > 0 else "behind"


def skew_sentence(place: str, skew: float) -> str:
    """Return what to say of the clock of *place*, without what to do about it and without a full stop."""
    return (
        f"The clock of {place} is {abs(skew):.0f} s {side(skew)} this machine's. The agent takes that into account; "
        "flow runs do not"
    )

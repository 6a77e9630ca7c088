"""Arithmetic of the pauses after failures."""

from typing import Final

JITTER: Final = 0.2
"""Pauses are stretched or shortened by up to this share, so that agents started together do not stay in step."""


def back_off(misses: int, *, first: float, last: float, chance: float = 0.5) -> float:
    """Return the seconds to pause after *misses* failed attempts in a row.

    Doubles from *first* to *last*. *chance* is drawn by the caller from [0, 1); 0.5 neither
    stretches nor shortens the pause.
    """
    pause = min(last, first * 2.0 ** min(max(misses, 0), 32))
    return pause * (1 + JITTER * (2 * chance - 1))

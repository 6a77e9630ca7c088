"""Bars over time by state, laid out on the server: numbers in, places in a drawing out. Pure."""

import itertools
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Final

import attrs

WIDTH: Final = 960
HEIGHT: Final = 120

ORDER: Final = ("Success", "Running", "Submitted", "Scheduled", "Queued", "Retrying", "Cancelled", "Failed")
"""States from the bottom of a bar to its top; others lie between."""


@attrs.frozen(kw_only=True)
class Piece:
    """One state's part of a bar, in units of the drawing."""

    state: str
    count: int
    y: float
    height: float


@attrs.frozen(kw_only=True)
class Bar:
    """One stretch of time.

    Attributes:
        start: Its begin, UTC.
        end: Its end, UTC.
        total: Runs in it.
    """

    start: datetime
    end: datetime
    x: float
    width: float
    total: int
    pieces: tuple[Piece, ...]


def bars(counts: Iterable[tuple[int, str, int]], edges: Sequence[datetime]) -> list[Bar]:
    """Lay out a bar for each stretch between two neighbours of *edges*.

    Args:
        counts: Number of the bar, state, runs.
    """
    found: dict[int, Counter[str]] = defaultdict(Counter)
    for number, state, count in counts:
        found[number][state] += count
    highest = max((sum(each.values()) for each in found.values()), default=1)
    room = WIDTH / (len(edges) - 1)
    return [
        _bar(found[n], stretch, x=n * room, width=room * 0.8, highest=highest)
        for n, stretch in enumerate(itertools.pairwise(edges))
    ]


def _bar(
    counted: Mapping[str, int], stretch: tuple[datetime, datetime], *, x: float, width: float, highest: int
) -> Bar:
    pieces, y = [], float(HEIGHT)
    for state in sorted(counted, key=_rank):
        height = max(1.0, counted[state] / highest * HEIGHT)
        y = max(0.0, y - height)
        pieces.append(Piece(state=state, count=counted[state], y=round(y, 1), height=round(height, 1)))
    start, end = stretch
    total = sum(counted.values())
    return Bar(start=start, end=end, x=round(x, 1), width=round(width, 1), total=total, pieces=tuple(pieces))


def _rank(state: str) -> tuple[float, str]:
    return (ORDER.index(state) if state in ORDER else len(ORDER) - 1.5, state)

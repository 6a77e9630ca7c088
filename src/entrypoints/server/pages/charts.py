"""Bars over time by state, laid out on the server: numbers in, places in a drawing out. Pure."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta, timezone
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


def bars(counts: Iterable[tuple[str, str, int]], start: datetime, step: timedelta, number: int) -> list[Bar]:
    """Lay out *number* bars of length *step* from *start* on.

    Args:
        counts: Hour in ISO 8601 (``2026-01-31T13``, UTC), state, runs.
    """
    found: dict[int, Counter[str]] = defaultdict(Counter)
    for hour, state, count in counts:
        moment = datetime.fromisoformat(f"{hour}:00:00").replace(tzinfo=timezone.utc)
        found[min(number - 1, max(0, (moment - start) // step))][state] += count
    highest = max((sum(each.values()) for each in found.values()), default=1)
    return [_bar(found.get(n, Counter()), n, start, step, number, highest) for n in range(number)]


def _bar(counted: Mapping[str, int], n: int, start: datetime, step: timedelta, number: int, highest: int) -> Bar:
    room = WIDTH / number
    pieces, y = [], float(HEIGHT)
    for state in sorted(counted, key=_rank):
        height = max(1.0, counted[state] / highest * HEIGHT)
        y = max(0.0, y - height)
        pieces.append(Piece(state=state, count=counted[state], y=round(y, 1), height=round(height, 1)))
    return Bar(
        start=start + n * step,
        end=start + (n + 1) * step,
        x=round(n * room, 1),
        width=round(room * 0.8, 1),
        total=sum(counted.values()),
        pieces=tuple(pieces),
    )


def _rank(state: str) -> tuple[float, str]:
    return (ORDER.index(state) if state in ORDER else len(ORDER) - 1.5, state)

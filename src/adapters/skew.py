"""Measures how far a server's clock is ahead of this machine's, by the ``Date`` headers of its answers."""

import threading
from collections import deque
from datetime import datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Final

LEAST: Final = 2.0
"""Least skew in seconds that is reported; a smaller one cannot be measured, since ``Date`` has whole seconds."""

SAMPLES: Final = 9
"""Answers from which the median is taken."""

QUICK: Final = 2.0
"""Most seconds that an answer may take to be a good sample; a slower one is uncertain by half of its time."""

FIRST_YEAR: Final = 1970
"""Least year of a plausible date: a machine without a battery starts with it."""

LAST_YEAR: Final = 2200
"""Greatest year of a plausible date."""

_HALF_A_SECOND: Final = timedelta(seconds=0.5)


class SkewMeter:
    """Computes the median skew of the last answers. Safe to use from several threads."""

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._samples: deque[float] = deque(maxlen=SAMPLES)

    def answered(self, date: str | None, took: float, now: datetime) -> None:
        """Add the sample of one answer.

        Args:
            date: Its ``Date`` header.
            took: Seconds from the request to the answer.
            now: When it arrived (aware).
        """
        stated = read_date(date)
        if stated is None:
            return
        offset = (stated + _HALF_A_SECOND - (now - timedelta(seconds=took / 2))).total_seconds()
        with self._guard:
            if took <= QUICK:
                self._samples.append(offset)
            elif not self._samples:
                doubt = (took - QUICK) / 2
                self._samples.append(max(0.0, offset - doubt) + min(0.0, offset + doubt))

    @property
    def skew(self) -> float:
        """Seconds by which the server is ahead; 0.0 if unknown or too small to measure."""
        with self._guard:
            found = sorted(self._samples)[len(self._samples) // 2] if self._samples else 0.0
        return found if abs(found) >= LEAST else 0.0


def read_date(value: str | None) -> datetime | None:
    """Return the time (aware) in a ``Date`` header; None if it cannot be read or is implausible."""
    try:
        moment = parsedate_to_datetime(value or "")
        return moment.astimezone() if moment.tzinfo and FIRST_YEAR <= moment.year <= LAST_YEAR else None
    except (ValueError, TypeError, IndexError, OverflowError):
        return None

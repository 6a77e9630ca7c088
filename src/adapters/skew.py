"""How far a server's clock is ahead of this machine's, by the ``Date`` of its answers: for every adapter over HTTP."""

import threading
from collections import deque
from datetime import datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Final

LEAST: Final = 2.0
"""Seconds of skew that are reported. A ``Date`` has whole seconds, and an answer takes a while: less may be neither."""

SAMPLES: Final = 9
QUICK: Final = 2.0
"""Answers within so many seconds are good samples; half of the time of a slower one may be anywhere."""

FIRST_YEAR: Final = 1970
"""A machine without a battery begins there."""

LAST_YEAR: Final = 2200

_HALF_A_SECOND: Final = timedelta(seconds=0.5)


class SkewMeter:
    """The median of the last answers. Safe to use from several threads."""

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._samples: deque[float] = deque(maxlen=SAMPLES)

    def answered(self, date: str | None, took: float, now: datetime) -> None:
        """Take an answer into account.

        Args:
            date: Its ``Date`` header.
            took: Seconds from the request to the answer.
            now: When it came (aware).
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
        """Seconds that the server is ahead; 0.0 if that is not known, or below what can be measured."""
        with self._guard:
            found = sorted(self._samples)[len(self._samples) // 2] if self._samples else 0.0
        return found if abs(found) >= LEAST else 0.0


def read_date(value: str | None) -> datetime | None:
    """A date of HTTP (aware), or None. One of another age is none: nothing can be reckoned from it."""
    try:
        moment = parsedate_to_datetime(value or "")
        return moment.astimezone() if moment.tzinfo and FIRST_YEAR <= moment.year <= LAST_YEAR else None
    except (ValueError, TypeError, IndexError, OverflowError):
        return None

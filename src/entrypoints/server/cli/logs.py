"""A log that no client can fill: what repeats itself is said once a minute."""

import logging
import time
from collections import Counter
from collections.abc import Callable
from typing import Final

import attrs

PERIOD: Final = 60.0
"""Seconds in which a text is logged once."""

PER_PLACE: Final = 20
"""Different texts from one place in the code that are logged in that time."""

_LOGGERS: Final = ("asyncio", "uvicorn.error", "prefect.agent.entrypoints.server.graphql.schema",
                   "prefect.agent.entrypoints.server.services")  # fmt: skip

Place = tuple[str, int]


@attrs.define(eq=False)
class OncePerMinute(logging.Filter):
    """Lets each text through once in a period, and says how many were left out."""

    clock: Callable[[], float] = time.monotonic
    _begin: float = float("-inf")
    _left_out: int = 0
    _seen: set[tuple[Place, str]] = attrs.field(factory=set)
    _texts: Counter[Place] = attrs.field(factory=Counter)

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether *record* is logged."""
        now = self.clock()
        if now - self._begin >= PERIOD:
            self._begin_period(now, record)
        place = record.pathname, record.lineno
        key = place, record.getMessage()[:200]
        if key in self._seen or self._texts[place] >= PER_PLACE:
            self._left_out += 1
            return False
        self._seen.add(key)
        self._texts[place] += 1
        return True

    def _begin_period(self, now: float, record: logging.LogRecord) -> None:
        if self._left_out:
            record.msg, record.args = f"{record.getMessage()} ({self._left_out} repeated messages were left out)", ()
        self._begin, self._left_out = now, 0
        self._seen.clear()
        self._texts.clear()


def quieten() -> None:
    """Let what this server logs about its clients pass through one such filter."""
    for name in _LOGGERS:
        logging.getLogger(name).addFilter(OncePerMinute())

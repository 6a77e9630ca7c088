"""The server's log: the agent's lines, on stderr. No client can fill it: repeated messages are logged once a minute."""

import logging
import time
from collections import Counter
from collections.abc import Callable, Iterable
from typing import Final, TextIO

import attrs

from prefect.agent.entrypoints.runtime import logs
from prefect.agent.entrypoints.server.graphql.execution import KEY_FIRST_USED
from prefect.agent.entrypoints.server.services import RUN_RESCUED, RUNS_SCHEDULED

PERIOD: Final = 60.0
"""Seconds in which the same text is logged once."""

PER_PLACE: Final = 20
"""How many different texts from one place in the code are logged in that time."""

OWNERS: Final = ("asyncio", "uvicorn")
"""Loggers of libraries whose messages belong to the server's log."""

EACH: Final = frozenset({RUN_RESCUED, RUNS_SCHEDULED, KEY_FIRST_USED})
"""Events that are never left out: clients cannot cause them at will."""

Place = tuple[str, int]


@attrs.define(eq=False)
class OncePerMinute(logging.Filter):
    """Logs each text once in a period, and counts those that were left out."""

    clock: Callable[[], float] = time.monotonic
    _begin: float = float("-inf")
    _left_out: int = 0
    _seen: set[tuple[Place, str]] = attrs.field(factory=set)
    _texts: Counter[Place] = attrs.field(factory=Counter)

    def filter(self, record: logging.LogRecord) -> bool:
        """Return whether *record* is logged."""
        if getattr(record, "event", None) in EACH:
            return True
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


def set_up(form: str, secrets: Iterable[str], stream: TextIO | None = None) -> None:
    """Write the server's log to *stream*, in the lines of the agent's log.

    Args:
        form: ``text`` or ``json``.
        secrets: Texts that are masked.
        stream: Where to; None: stderr.
    """
    logger = logs.set_up(level=logging.INFO, form=form, agent_name="server", secrets=secrets, stream=stream)
    for handler in logger.handlers:
        handler.addFilter(OncePerMinute())
    for name in OWNERS:
        owner = logging.getLogger(name)
        owner.handlers[:] = logger.handlers
        owner.propagate = False

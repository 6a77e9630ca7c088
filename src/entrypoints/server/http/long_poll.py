"""Requests for flow runs that wait until there is a run (RFC 7240 section 4.3, ``Prefer: wait``).

An agent asks about every ten seconds. If its request says how long it would wait, the request is answered as soon as
there is a run for it, or after that time. So a run starts at once, and the number of requests stays the same. Requests
without that header, such as those of Prefect's own agents, are answered at once.
"""

import asyncio
import re
import time
from collections.abc import Callable, Mapping
from collections.abc import Set as AbstractSet
from typing import Final

from starlette.types import Receive

from prefect.agent.entrypoints.server.graphql.answers import ApiAnswer

LONGEST: Final = 60.0
"""The longest wait in seconds, whatever the request says."""

LOOK_EVERY: Final = 1.0
"""Seconds between two executions of a waiting request if nothing was changed: a run may have become due."""

MOST: Final = 200
"""How many requests may wait at one time; further ones are answered at once. Each is executed every second."""

MOST_FIELDS: Final = 5
"""How many root fields a waiting request may have."""

LONGEST_BODY: Final = 16 * 1024
"""Bytes of the body of a waiting request: it is kept in memory, and parsed each time."""

GATHER: Final = 0.03
"""Seconds between a change and the next execution: several changes often follow each other."""

RESERVED: Final = 1.0
"""Seconds in which a run that one waiting agent has received is not sent to another one, which would lose the claim."""

_WAIT: Final = re.compile(r"(?:^|[,;\s])wait\s*=\s*\"?(\d{1,9})\b", re.IGNORECASE)


def preferred(headers: Mapping[str, str]) -> float | None:
    """Return how many seconds a request would wait; None if its headers do not say so."""
    found = _WAIT.search(headers.get("prefer", ""))
    return min(float(found[1]), LONGEST) if found else None


class WaitingRequests:
    """The requests of one event loop that wait for flow runs."""

    def __init__(self) -> None:
        self._changed = asyncio.Event()
        self._is_closed = False
        self._reserved: dict[str, float] = {}
        self._waiting = 0

    def wake(self) -> None:
        """Execute the waiting requests again: rows were changed."""
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()

    def close(self) -> None:
        """End all waiting, now and in the future; each waiting request gets its present answer."""
        self._is_closed = True
        self.wake()

    def may_wait(self, size: int, answer: ApiAnswer) -> bool:
        """Return whether a request with a body of *size* bytes, whose first answer is *answer*, may wait."""
        is_repeatable = answer.ready_runs is not None and answer.root_fields <= MOST_FIELDS
        return is_repeatable and size <= LONGEST_BODY and self._waiting < MOST

    async def wait(self, seconds: float, ask: Callable[[], ApiAnswer], receive: Receive) -> ApiAnswer | None:
        """Execute the request until it finds a run, for *seconds* at most; return its last answer.

        Args:
            seconds: How long to wait.
            ask: Executes the request once.
            receive: The request's ASGI channel, which reports that the client has disconnected.

        Returns:
            None if the client has disconnected.
        """
        end = time.monotonic() + seconds
        gone = asyncio.ensure_future(receive())
        self._waiting += 1
        try:
            while not self._is_closed and (left := end - time.monotonic()) > 0:
                changed = asyncio.ensure_future(self._changed.wait())
                await asyncio.wait({gone, changed}, timeout=min(left, LOOK_EVERY), return_when=asyncio.FIRST_COMPLETED)
                changed.cancel()
                if gone.done():
                    return None
                await asyncio.sleep(min(GATHER, left))
                answer = ask()
                if self._reserve(answer.ready_runs):
                    return answer
            return ask()
        finally:
            self._waiting -= 1
            gone.cancel()

    def _reserve(self, runs: AbstractSet[str] | None) -> bool:
        """Return whether to send an answer with *runs*: one of them was not just sent to another waiting request.

        If so, the runs are reserved. None stands for an error, which is always sent.
        """
        now = time.monotonic()
        self._reserved = {run: moment for run, moment in self._reserved.items() if now - moment < RESERVED}
        if runs is None:
            return True
        if not runs - self._reserved.keys():
            return False
        self._reserved.update(dict.fromkeys(runs, now))
        return True

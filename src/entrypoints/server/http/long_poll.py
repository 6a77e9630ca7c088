"""Requests that would rather wait for a flow run than hear that there is none (RFC 7240 section 4.3, ``Prefer: wait``).

An agent asks every ten seconds or so. One that says how long it would wait is answered once there is something for it,
or after that time: a run starts at once, and there are no more requests than before. Agents that do not say so, as all
of Prefect's own, are answered at once as ever.
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
"""Seconds that a request waits at most, whatever it says."""

LOOK_EVERY: Final = 1.0
"""Seconds between two looks though nothing was changed: a run may have become due."""

MOST: Final = 200
"""Requests that wait at one time: each asks again every second. Others are answered at once."""

MOST_FIELDS: Final = 5
"""Questions for ready runs in one request that may wait."""

LONGEST_BODY: Final = 16 * 1024
"""Bytes of a request that may wait: it is kept, and read anew each time."""

GATHER: Final = 0.03
"""Seconds between a change and the look at what it brought: changes come in crowds."""

RESERVED: Final = 1.0
"""Seconds in which a run that one waiting agent was told of is not told to another: it would only lose the claim."""

_WAIT: Final = re.compile(r"(?:^|[,;\s])wait\s*=\s*\"?(\d{1,9})\b", re.IGNORECASE)


def preferred(headers: Mapping[str, str]) -> float | None:
    """Seconds that a request would wait; None if it does not say so."""
    found = _WAIT.search(headers.get("prefer", ""))
    return min(float(found[1]), LONGEST) if found else None


class WaitingRoom:
    """Where they wait. Of one event loop."""

    def __init__(self) -> None:
        self._bell = asyncio.Event()
        self._is_closed = False
        self._told: dict[str, float] = {}
        self._waiting = 0

    def ring(self) -> None:
        """Something may have been changed."""
        bell, self._bell = self._bell, asyncio.Event()
        bell.set()

    def close(self) -> None:
        """Nobody waits any more; the answers that there are go out."""
        self._is_closed = True
        self.ring()

    def has_room(self, size: int, answer: ApiAnswer) -> bool:
        """Whether one more request, with a body of *size* bytes, may wait for a better answer than *answer*."""
        may_repeat = answer.ready_runs is not None and answer.root_fields <= MOST_FIELDS
        return may_repeat and size <= LONGEST_BODY and self._waiting < MOST

    async def wait(self, seconds: float, ask: Callable[[], ApiAnswer], receive: Receive) -> ApiAnswer | None:
        """The first answer in which there are runs, or the last one.

        Args:
            ask: Asks anew.
            receive: Of the request: it tells when the client goes away.

        Returns:
            None if the client has gone.
        """
        end = time.monotonic() + seconds
        gone = asyncio.ensure_future(receive())
        self._waiting += 1
        try:
            while not self._is_closed and (left := end - time.monotonic()) > 0:
                rung = asyncio.ensure_future(self._bell.wait())
                await asyncio.wait({gone, rung}, timeout=min(left, LOOK_EVERY), return_when=asyncio.FIRST_COMPLETED)
                rung.cancel()
                if gone.done():
                    return None
                await asyncio.sleep(min(GATHER, left))
                answer = ask()
                if self._may_tell(answer.ready_runs):
                    return answer
            return ask()
        finally:
            self._waiting -= 1
            gone.cancel()

    def _may_tell(self, runs: AbstractSet[str] | None) -> bool:
        """Whether there is something in it that nobody else was just told of; if so, others are not told."""
        now = time.monotonic()
        self._told = {run: moment for run, moment in self._told.items() if now - moment < RESERVED}
        if runs is None:  # an error: let them see it
            return True
        if not runs - self._told.keys():
            return False
        self._told.update(dict.fromkeys(runs, now))
        return True

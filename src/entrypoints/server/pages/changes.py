"""How open pages learn that something changed: a bell that every mutation rings, and server-sent events.

A stream looks again when the bell rings, at most once in ``GATHER`` seconds, and every ``LOOK_EVERY`` seconds anyway:
what the Cloud does by itself rings no bell.
"""

import asyncio
import hashlib
import json
import logging
from collections import Counter
from collections.abc import AsyncIterator, Callable, Generator
from contextlib import AbstractContextManager, contextmanager
from typing import Any, Final

import attrs
from starlette.responses import Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from prefect.agent.domain.times import iso
from prefect.agent.domain.waiting import ALIVE
from prefect.agent.entrypoints.server.pages.view import KeyNeeded, NotThere, View

GATHER: Final = 0.25
LOOK_EVERY: Final = 2.0
BEAT_EVERY: Final = 15.0
"""Seconds after which a stream without news says that it is alive, so that a client that has gone is noticed."""

MAX_STREAMS: Final = 200
"""Streams that are open at one time; others are refused, and browsers ask again."""

MAX_OF_KEY: Final = 60
"""Streams that one API key may have open: one that opens all it can leaves room for the others."""


_UNBUFFERED: Final = {"X-Accel-Buffering": "no"}
"""Asks proxies to pass each event on at once."""


_log: Final = logging.getLogger(__name__)


class ChangeBell:
    """The bell, and the streams that listen to it. Of one event loop.

    Attributes:
        is_closed: Whether the streams are to end.
    """

    def __init__(self) -> None:
        self._bell = asyncio.Event()
        self._open: Counter[str | None] = Counter()
        self.is_closed = False

    @property
    def open(self) -> int:
        """Streams that listen."""
        return self._open.total()

    def ring(self) -> None:
        """Something may have been changed."""
        bell, self._bell = self._bell, asyncio.Event()
        bell.set()

    def close(self) -> None:
        """Let all streams end: the server waits for them."""
        self.is_closed = True
        self.ring()

    @contextmanager
    def place(self, owner: str | None) -> Generator[bool]:
        """Count one more stream of *owner*, the id of a key; whether there was room for it."""
        has_room = self.open < MAX_STREAMS and (owner is None or self._open[owner] < MAX_OF_KEY)
        self._open[owner] += has_room
        try:
            yield has_room
        finally:
            self._open[owner] -= has_room
            self._open += Counter()  # drops those that have none

    def stream(self, news: Callable[[], list[str]], owner: str | None = None) -> Response:
        """Answer with events for as long as the client listens.

        Args:
            news: Called again and again; the events that are due, each made by :func:`event`.
            owner: Who listens: the id of a key.
        """
        return _EventStream(self, self._events(news), owner)

    async def _events(self, news: Callable[[], list[str]]) -> AsyncIterator[str]:
        loop = asyncio.get_running_loop()
        try:
            yield ": hello\n\n"
            said = loop.time()
            while not self.is_closed:
                bell, found = self._bell, news()
                if found or loop.time() - said > BEAT_EVERY:
                    said = loop.time()
                    yield "".join(found) or ": alive\n\n"
                if not found:  # else there may be more of it
                    await _rung(bell)
                await self._gather()
        except (KeyNeeded, NotThere):
            return  # the client asks again, and gets its answer then
        except Exception:  # noqa: BLE001 - the answer has begun: all that can be done is to end it in order
            _log.exception("A stream failed")

    async def _gather(self) -> None:
        """Changes come in crowds: look at them together."""
        if not self.is_closed:
            await asyncio.sleep(GATHER)


class _EventStream(StreamingResponse):
    """An answer that goes on. It counts before its first byte, so that a crowd that comes at once is counted, too."""

    def __init__(self, bell: ChangeBell, events: AsyncIterator[str], owner: str | None) -> None:
        super().__init__(events, media_type="text/event-stream", headers=_UNBUFFERED)
        self._bell, self._owner = bell, owner

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        with self._bell.place(self._owner) as has_room:
            if has_room:
                await super().__call__(scope, receive, send)
            else:
                full = Response("Too many pages listen", 503, headers={"Retry-After": "10"}, media_type="text/plain")
                await full(scope, receive, send)


async def _rung(bell: asyncio.Event) -> None:
    """Wait until it is worth looking again; *bell* was there before the last look."""
    try:
        await asyncio.wait_for(bell.wait(), LOOK_EVERY)
    except asyncio.TimeoutError:
        return


def event(name: str, data: Any) -> str:
    """One server-sent event with JSON in it."""
    return f"event: {name}\ndata: {json.dumps(data, separators=(',', ':'))}\n\n"


@attrs.frozen(kw_only=True)
class Watch:
    """What a stream is made from.

    Attributes:
        look: Opens a new :class:`View` of the same address; raises once the caller is no longer accepted.
        owner: Who listens: the id of a key; None without one.
    """

    look: Callable[[], AbstractContextManager[View]]
    changes: ChangeBell
    owner: str | None = None

    def stream(self, news: Callable[[], list[str]]) -> Response:
        """Answer with what *news* returns again and again, each made by :func:`event`."""
        return self.changes.stream(news, self.owner)


def watch_changes(watch: Watch) -> Response:
    """Say ``changed`` when runs of the file changed, or the one that ``?run=`` names, or its task runs.

    With ``?of=agents`` it is said when agents ask for work, too.
    With ``?of=home`` it is said when an agent falls silent or is back.
    A page asks with ``?seen=``, the fingerprint of what it shows: what changed before it could listen is news, too.
    """
    with watch.look() as view:
        seen = view.query.get("seen") or _asked_for(view)

    def news() -> list[str]:
        nonlocal seen
        with watch.look() as view:
            before, seen = seen, _asked_for(view)
        return [event("changed", "")] if seen != before else []

    return watch.stream(news)


def _asked_for(view: View) -> str:
    return fingerprint(view, view.query.get("run"), of=view.query.get("of", ""))


def fingerprint(view: View, run_id: str | None = None, *, of: str = "") -> str:
    """What is another text once flow runs changed, or the one with *run_id* or its task runs.

    Args:
        of: With ``agents``, they count, too: which there are, and to ten seconds when each asked last. With ``home``,
            whether each is silent counts. Both give another text in each minute: runs become late without an event.
    """
    if run_id is None:
        found = view.sql("flow_run", _NEWEST)
    else:
        run = "SELECT version, name, state FROM flow_run WHERE id = ? AND tenant_id = ?"
        tasks = "SELECT max(state_timestamp) AS at, count(*) AS n FROM task_run WHERE flow_run_id = ?"
        found = view.sql("flow_run", run, [run_id, view.tenant["id"]])
        found += view.sql("task_run", tasks, [run_id]) if found else []
    if of in _DIGITS:
        alive = iso(view.now - ALIVE)
        found += view.sql("agent", _AGENTS, [_DIGITS[of], alive, view.tenant["id"]])
        found.append({"minute": iso(view.now)[:16]})
    return hashlib.sha256(json.dumps(found).encode()).hexdigest()[:16]


_NEWEST: Final = "SELECT (SELECT max(created) FROM flow_run) AS a, (SELECT max(state_timestamp) FROM flow_run) AS b"
_AGENTS: Final = (
    "SELECT id, substr(last_queried, 1, ?) AS at, last_queried >= ? AS is_alive "
    "FROM agent WHERE tenant_id = ? ORDER BY id"
)
_DIGITS: Final = {"agents": 18, "home": 0}
"""How much of the time at which an agent asked last counts: characters, by what a page is about."""

"""Connections of the embedded Cloud: never more than it has descriptors for, and none that holds one for nothing.

uvicorn bounds neither how long a head or a body may take, nor how many connections are open.
"""

import asyncio
import json
import resource
from typing import Final

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from prefect.agent.entrypoints.server.http.gate import NOT_KEPT, SECURITY_HEADERS

HEAD_SECONDS: Final = 20.0
"""From the first byte of a request, or from the beginning of a connection, to the end of its head."""

BODY_SECONDS: Final = 60.0
"""From the end of the head to the end of the body."""

ANSWER_SECONDS: Final = 120.0
"""For a client to take what it was sent, if it is more than its connection holds."""

GRACE_SECONDS: Final = 1.0
"""A request that came while another one was answered is read first."""

MAX_UNSENT: Final = 128 * 1024 * 1024
"""Bytes of all answers that wait to be taken; beyond that, those that wait for the longest are given up."""

MAX_CONNECTIONS: Final = 1000
BACKLOG: Final = 128
"""Connections that wait to be taken; so many may be open for a moment beyond the bound."""

_RESERVED: Final = BACKLOG + 64
"""Descriptors for that moment, the database, the log."""

_FEWEST: Final = 16
_WANTED: Final = MAX_CONNECTIONS + _RESERVED


def raise_descriptor_limit() -> None:
    """Take as many descriptors as the bound of connections needs, if this process may have them."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < _WANTED:
        wanted = _WANTED if hard == resource.RLIM_INFINITY else min(_WANTED, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def most_connections() -> int:
    """How many connections may be open, by the descriptors of this process."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY:
        return MAX_CONNECTIONS
    return max(_FEWEST, min(MAX_CONNECTIONS, soft - _RESERVED))


class Connection(H11Protocol):
    """One connection, with deadlines.

    When too many are open, the one that has been without a request for the longest gives way.
    """

    phase: str = ""
    _since: float = 0.0
    _deadline: asyncio.TimerHandle | None = None
    _write_deadline: asyncio.TimerHandle | None = None
    _paused_since: float | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override] # as uvicorn
        """Begin, or give up the oldest unused connection, or this one."""
        super().connection_made(transport)
        self._since = self.loop.time()
        if len(self.connections) > most_connections():
            self._make_room()
        if not transport.is_closing():
            self._look()

    def data_received(self, data: bytes) -> None:
        """Read on, against the clock."""
        super().data_received(data)
        self._look()

    def on_response_complete(self) -> None:
        """Wait for the next request."""
        super().on_response_complete()
        self._since = self.loop.time()
        self._look()

    def connection_lost(self, exc: Exception | None) -> None:
        """End with all timers."""
        self._stop(self._deadline)
        self._stop(self._write_deadline)
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        """The client does not take its answer for the moment."""
        super().pause_writing()
        self._paused_since = self.loop.time()
        self._give_up_unsent()
        self._stop(self._write_deadline)
        self._write_deadline = self.loop.call_later(ANSWER_SECONDS, self.transport.abort)

    def resume_writing(self) -> None:
        """It took it."""
        self._paused_since = None
        self._stop(self._write_deadline)
        super().resume_writing()

    def send_400_response(self, msg: str) -> None:
        """Answer what is no request, in the protocol's shape; a client that is being answered is cut off."""
        content = json.dumps({"errors": [{"message": msg, "extensions": {"code": "BAD_REQUEST"}}]}).encode("ascii")
        kind = [("content-type", "application/json"), ("content-length", str(len(content))), ("connection", "close")]
        answer = h11.Response(status_code=400, headers=[*kind, *SECURITY_HEADERS, NOT_KEPT], reason="Bad Request")
        try:
            parts = [self.conn.send(event) for event in (answer, h11.Data(data=content), h11.EndOfMessage())]
        except h11.LocalProtocolError:
            self.transport.abort()
            return
        self.transport.write(b"".join(part or b"" for part in parts))
        self.transport.close()

    @property
    def is_unused(self) -> bool:
        """Whether no request is being read or answered.

        One whose head is not complete is none yet, and one that was refused before its body came is none any more.
        """
        is_refused = self.conn.their_state is h11.SEND_BODY and self.conn.our_state is not h11.SEND_RESPONSE
        return is_refused or self.conn.their_state is h11.IDLE

    @property
    def unused_since(self) -> float:
        """Since when, by the clock of the event loop."""
        return self._since

    @property
    def paused_since(self) -> float | None:
        """Since when its client does not take its answer; None if it does."""
        return self._paused_since

    def _make_room(self) -> None:
        unused = [one for one in self.connections if isinstance(one, Connection) and one.is_unused and one is not self]
        oldest = min(unused, key=lambda one: one.unused_since, default=self)
        oldest.connections.discard(oldest)
        oldest.transport.abort()

    def _give_up_unsent(self) -> None:
        """Keep what waits to be taken, by all clients, below its bound."""
        slow = [one for one in self.connections if isinstance(one, Connection) and one.paused_since is not None]
        total = sum(one.transport.get_write_buffer_size() for one in slow)
        for one in sorted(slow, key=lambda one: one.paused_since or 0.0):
            if total <= MAX_UNSENT:
                return
            total -= one.transport.get_write_buffer_size()
            one.transport.abort()

    def _look(self) -> None:
        """Start the clock of what the connection waits for now, unless it runs already."""
        now = self._phase()
        if now == self.phase:
            return
        self.phase = now
        self._stop(self._deadline)
        self._deadline = None
        if now:
            seconds = HEAD_SECONDS if now == "head" else BODY_SECONDS
            self._deadline = self.loop.call_later(seconds, self._last_look, now)

    def _phase(self) -> str:
        state = self.conn.their_state
        if state is h11.SEND_BODY:
            return "body"
        is_begun = getattr(self, "cycle", None) is None or bool(self.conn.trailing_data[0])
        return "head" if state is h11.IDLE and is_begun and not self.transport.is_closing() else ""

    def _last_look(self, phase: str) -> None:
        self._deadline = self.loop.call_later(GRACE_SECONDS, self._give_up, phase)

    def _give_up(self, phase: str) -> None:
        if self._phase() == phase and not self.transport.is_closing():
            self.transport.close()

    def _stop(self, timer: asyncio.TimerHandle | None) -> None:
        if timer is not None:
            timer.cancel()

"""Limits of connections: their number, by the file descriptors, and the time that each may take.

uvicorn limits neither the time for the head and the body of a request, nor the number of open connections.
"""

import asyncio
import json
import logging
import resource
from typing import Final

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from prefect.agent.entrypoints.server.http.gate import NOT_KEPT, SECURITY_HEADERS

HEAD_SECONDS: Final = 20.0
"""Seconds from the first byte of a request, or from the beginning of a connection, to the end of the head."""

BODY_SECONDS: Final = 60.0
"""Seconds from the end of the head to the end of the body."""

ANSWER_SECONDS: Final = 120.0
"""Seconds that a client gets to read an answer that is larger than the buffers of its connection."""

GRACE_SECONDS: Final = 1.0
"""Seconds beyond a deadline in which a request that has already arrived is still read."""

MAX_UNSENT: Final = 128 * 1024 * 1024
"""Bytes of all answers that clients have not read; beyond that, those that have waited for longest are dropped."""

MAX_CONNECTIONS: Final = 1000
BACKLOG: Final = 128
"""Connections that wait to be accepted; for a moment so many may be open beyond the limit."""

_TLS_HELLO: Final = b"\x16\x03"
"""How a client begins that speaks https: a handshake record of TLS 1.0 or newer."""

_log: Final = logging.getLogger(__name__)

_RESERVED: Final = BACKLOG + 64
"""Descriptors kept free for that moment, for the database and for the log."""

_FEWEST: Final = 16
_WANTED: Final = MAX_CONNECTIONS + _RESERVED


def raise_descriptor_limit() -> None:
    """Raise this process's limit of file descriptors to what the limit of connections needs, as far as permitted."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < _WANTED:
        wanted = _WANTED if hard == resource.RLIM_INFINITY else min(_WANTED, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def most_connections() -> int:
    """Return how many connections may be open with the file descriptors of this process."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY:
        return MAX_CONNECTIONS
    return max(_FEWEST, min(MAX_CONNECTIONS, soft - _RESERVED))


class ClientConnection(H11Protocol):
    """One connection of a client, with deadlines.

    When too many are open, the one that has been without a request for longest is closed.
    """

    phase: str = ""
    _since: float = 0.0
    _deadline: asyncio.TimerHandle | None = None
    _write_deadline: asyncio.TimerHandle | None = None
    _paused_since: float | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override] # as uvicorn
        """Begin; if too many connections are open, close the oldest unused one, or this one."""
        super().connection_made(transport)
        self._since = self.loop.time()
        if len(self.connections) > most_connections():
            self._make_room()
        if not transport.is_closing():
            self._look()

    def data_received(self, data: bytes) -> None:
        """Read bytes and start the deadline of what they begin; refuse a client that speaks TLS."""
        if data.startswith(_TLS_HELLO) and self.conn.their_state is h11.IDLE and not self.conn.trailing_data[0]:
            client = (self.client or ("an unknown address",))[0]
            _log.warning("Refused a client at %s that speaks TLS: this port serves http, not https", client)
            self.send_400_response("This port serves http, not https")
            return
        super().data_received(data)
        self._look()

    def on_response_complete(self) -> None:
        """Start to wait for the next request."""
        super().on_response_complete()
        self._since = self.loop.time()
        self._look()

    def connection_lost(self, exc: Exception | None) -> None:
        """End, and cancel all deadlines."""
        self._stop(self._deadline)
        self._stop(self._write_deadline)
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        """Start the deadline for a client that does not read its answer."""
        super().pause_writing()
        self._paused_since = self.loop.time()
        self._give_up_unsent()
        self._stop(self._write_deadline)
        self._write_deadline = self.loop.call_later(ANSWER_SECONDS, self.transport.abort)

    def resume_writing(self) -> None:
        """Cancel that deadline: the client has read its answer."""
        self._paused_since = None
        self._stop(self._write_deadline)
        super().resume_writing()

    def send_400_response(self, msg: str) -> None:
        """Answer bytes that are not a request, in the protocol's shape; disconnect a client that is being answered."""
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

        A request with an incomplete head does not count yet, and one refused before its body arrived not any more.
        """
        is_refused = self.conn.their_state is h11.SEND_BODY and self.conn.our_state is not h11.SEND_RESPONSE
        return is_refused or self.conn.their_state is h11.IDLE

    @property
    def unused_since(self) -> float:
        """When the connection became unused, by the clock of the event loop."""
        return self._since

    @property
    def paused_since(self) -> float | None:
        """When the client stopped reading its answer, by the clock of the event loop; None if it reads."""
        return self._paused_since

    def _make_room(self) -> None:
        unused = [
            one for one in self.connections if isinstance(one, ClientConnection) and one.is_unused and one is not self
        ]
        oldest = min(unused, key=lambda one: one.unused_since, default=self)
        oldest.connections.discard(oldest)
        oldest.transport.abort()

    def _give_up_unsent(self) -> None:
        """Disconnect the slowest clients until the unread answers of all clients are below the limit."""
        slow = [one for one in self.connections if isinstance(one, ClientConnection) and one.paused_since is not None]
        total = sum(one.transport.get_write_buffer_size() for one in slow)
        for one in sorted(slow, key=lambda one: one.paused_since or 0.0):
            if total <= MAX_UNSENT:
                return
            total -= one.transport.get_write_buffer_size()
            one.transport.abort()

    def _look(self) -> None:
        """Start the deadline of what the connection waits for now, unless it has started already."""
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

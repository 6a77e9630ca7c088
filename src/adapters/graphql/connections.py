"""Connections that keep one deadline for a whole call, and know whether anything was sent.

Time-outs of sockets count from the last byte: a request that is taken, or an answer that comes, byte by byte would
never end. Here connecting, every write and every read have what is left of the call's time. No thread is needed.
"""

import socket
import threading
import time
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any, Final

import attrs

from prefect.agent.adapters.answers import Timed, TimedAdapter, within
from prefect.agent.adapters.trust import TlsAdapter

_LEAST: Final = 0.001
"""Zero would mean not to block at all."""


@attrs.define
class Call:
    """A call belongs to the thread that makes it.

    Attributes:
        ends_at: When its time is over (``time.monotonic``).
        silence: Longest time without a byte, in seconds.
        sent: Whether any of the request may have reached the other side.
    """

    ends_at: float
    silence: float
    sent: bool = False

    @property
    def timeout(self) -> float:
        """Return the seconds for the next read or write.

        Raises:
            TimeoutError: The time of the call is over.
        """
        left = self.ends_at - time.monotonic()
        if left <= 0:
            raise TimeoutError("the time for the whole of the call is over")
        return max(_LEAST, min(left, self.silence))


class _Current(threading.local):
    call: Call | None = None


_current: Final = _Current()


@contextmanager
def calling(seconds: float, silence: float) -> Generator[Call]:
    """Let everything that this thread sends and reads in the body belong to one call of *seconds* seconds."""
    call = _current.call = Call(time.monotonic() + seconds, silence)
    try:
        with within(head=None, whole=seconds):
            yield call
    finally:
        _current.call = None


class _Timed(Timed):
    """This part of a connection connects and sends within the time of the call, too."""

    _connects = False

    def connect(self) -> None:
        """Connect; all addresses of the host together have the time that is left."""
        call, this = _current.call, self._this
        if call is not None:
            this.timeout = max(_LEAST, min(this.timeout or call.timeout, call.timeout / _addresses(this)))
        self._connects = True
        try:
            super().connect()  # type: ignore[misc] # of the connection
        finally:
            self._connects = False

    def send(self, data: Any) -> None:
        """Send data and note the attempt. A request to a proxy for a connection does not count as sent."""
        call, this = _current.call, self._this
        if this.sock is None and this.auto_open:
            this.connect()
        if call is not None and this.sock is not None:
            this.sock.settimeout(call.timeout)
            call.sent = call.sent or not self._connects
        super().send(data)  # type: ignore[misc] # of the connection

    @property
    def _this(self) -> Any:
        return self


class CallAdapter(TimedAdapter, TlsAdapter):
    """This adapter keeps a session of requests within the time of :func:`calling`."""

    addition = _Timed


def _addresses(connection: Any) -> int:
    try:
        return len(socket.getaddrinfo(connection.host, connection.port, type=socket.SOCK_STREAM))
    except OSError:
        return 1  # connecting will say why

"""Connections that keep to a deadline for the whole of a call, and know whether anything was sent.

Time-outs of sockets count from the last byte: an answer that drips in a byte a second would never end. Here every read
and every write of a call has what is left of its time. No thread is needed for that.
"""

import http.client
import io
import socket
import threading
import time
from collections.abc import Generator
from contextlib import contextmanager
from functools import cache
from typing import Any, Final

import attrs

from prefect.agent.adapters.trust import TlsAdapter

_LEAST: Final = 0.001
"""Zero would mean not to block at all."""


@attrs.define
class Call:
    """One call, in the thread that makes it.

    Attributes:
        ends_at: When its time is over (``time.monotonic``).
        silence: Seconds without a byte that are borne.
        sent: Whether any of the request may have reached the other side.
    """

    ends_at: float
    silence: float
    sent: bool = False

    @property
    def timeout(self) -> float:
        """Seconds for the next read or write.

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
    """Everything that this thread sends and reads in the body belongs to one call of so many seconds."""
    call = _current.call = Call(time.monotonic() + seconds, silence)
    try:
        yield call
    finally:
        _current.call = None


class _TimedReader(io.RawIOBase):
    """Reads from a socket's file, each time with the time that the call has left."""

    def __init__(self, file: io.RawIOBase, sock: socket.socket) -> None:
        self._file, self._socket = file, sock

    def readable(self) -> bool:
        """Yes."""
        return True

    def readinto(self, buffer: Any) -> int | None:
        """Read what is there, or wait for it."""
        if _current.call is not None:
            self._socket.settimeout(_current.call.timeout)
        return self._file.readinto(buffer)

    def close(self) -> None:
        """Close the file; the socket belongs to the connection."""
        self._file.close()
        super().close()


class _TimedResponse(http.client.HTTPResponse):
    """An answer, head and body, within the time of the call."""

    def __init__(self, sock: socket.socket, *args: Any, **kwargs: Any) -> None:
        super().__init__(sock, *args, **kwargs)
        self.fp: Any = io.BufferedReader(_TimedReader(self.fp.detach(), sock))


class _Timed:
    """What is added to a connection."""

    response_class = _TimedResponse
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
        """Send, and know that it was tried. What a proxy is asked on the way to a connection is not sent yet."""
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


class TimedAdapter(TlsAdapter):
    """Adapter for a session of requests: within the time of :func:`calling`."""

    def init_poolmanager(self, *args: Any, **details: Any) -> None:
        """For connections without a proxy."""
        super().init_poolmanager(*args, **details)
        _time(self.poolmanager)

    def proxy_manager_for(self, *args: Any, **details: Any) -> Any:
        """For those through one."""
        return _time(super().proxy_manager_for(*args, **details))


def _time(manager: Any) -> Any:
    pools = manager.pool_classes_by_scheme
    manager.pool_classes_by_scheme = {scheme: _timed_pool(pool) for scheme, pool in pools.items()}
    return manager


@cache
def _timed_pool(pool: Any) -> Any:
    if issubclass(pool.ConnectionCls, _Timed):
        return pool
    connection = type(pool.ConnectionCls.__name__, (_Timed, pool.ConnectionCls), {})
    return type(pool.__name__, (pool,), {"ConnectionCls": connection})


def _addresses(connection: Any) -> int:
    try:
        return len(socket.getaddrinfo(connection.host, connection.port, type=socket.SOCK_STREAM))
    except OSError:
        return 1  # connecting will say why

"""Deadlines for whole answers of HTTP servers.

The timeouts of urllib3 and requests limit the wait for the next piece of an answer: a server that sends one byte a
second never exceeds them. :func:`within` limits the whole answer, for connections of a pool that is :func:`timed`.
"""

import contextlib
import http.client
import io
import threading
import time
from collections.abc import Generator
from functools import cache
from typing import Any, ClassVar, Final

import attrs
from requests.adapters import HTTPAdapter
from urllib3 import PoolManager


@attrs.frozen
class _Limits:
    """Deadlines for the head and for the whole of an answer, in monotonic seconds; None means no deadline."""

    head: float | None = None
    whole: float | None = None


_current: Final = threading.local()


@contextlib.contextmanager
def within(*, head: float | None, whole: float | None) -> Generator[None]:
    """Set deadlines for answers that this thread begins to read inside the block; of nested ones, the earlier counts.

    An answer keeps its deadlines when it is read later, or by another thread. A late answer raises TimeoutError.

    Args:
        head: Seconds for the status line and the headers; None for no limit.
        whole: Seconds for the whole answer; None for no limit.
    """
    before = _limits()
    began = time.monotonic()
    _current.limits = _Limits(_nearer(before.head, began, head), _nearer(before.whole, began, whole))
    try:
        yield
    finally:
        _current.limits = before


class TimedResponse(http.client.HTTPResponse):
    """An answer that keeps the deadlines that were set when its connection began to read it."""

    def __init__(self, sock: Any, *args: Any, **details: Any) -> None:
        super().__init__(sock, *args, **details)
        self._limits = _limits()
        self._reader = _TimedReader(self.fp.detach(), sock)
        self._reader.until = self._head()
        self.fp = io.BufferedReader(self._reader)

    def begin(self) -> None:
        """Read the status line and the headers."""
        super().begin()
        self._reader.until = self._limits.whole

    def _head(self) -> float | None:
        found = [each for each in (self._limits.head, self._limits.whole) if each is not None]
        return min(found, default=None)


class _TimedReader(io.RawIOBase):
    """Reads a socket until a deadline."""

    def __init__(self, raw: Any, sock: Any) -> None:
        super().__init__()
        self._raw, self._sock = raw, sock  # Docker's SDK closes a stream by its attribute _sock
        self.until: float | None = None

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        if self.until is None:
            return self._read(buffer)
        left = self.until - time.monotonic()
        if left <= 0:
            raise TimeoutError("the whole answer did not arrive in time")
        silence = self._sock.gettimeout()
        if silence is not None and silence <= left:
            return self._read(buffer)
        self._sock.settimeout(left)
        try:
            return self._read(buffer)
        finally:
            with contextlib.suppress(OSError):  # another thread has closed it
                self._sock.settimeout(silence)

    def close(self) -> None:
        if not self.closed:
            self._raw.close()
        super().close()

    def _read(self, buffer: Any) -> int | None:
        count: int | None = self._raw.readinto(buffer)
        return count


class Timed:
    """Makes a connection's answers keep deadlines, as a base class of it."""

    response_class = TimedResponse


def timed(manager: PoolManager, addition: Any = Timed) -> PoolManager:
    """Let the connections of *manager* keep the deadlines of :func:`within`, and return it. May be repeated.

    Args:
        addition: A subclass of :class:`Timed`, which becomes a base class of its connections.
    """
    pools = manager.pool_classes_by_scheme
    manager.pool_classes_by_scheme = {scheme: _timed_pool(pool, addition) for scheme, pool in pools.items()}
    return manager


class TimedAdapter(HTTPAdapter):
    """Lets the connections of a session of requests keep the deadlines of :func:`within`.

    Attributes:
        addition: The class that becomes a base class of these connections.
    """

    addition: ClassVar[type[Timed]] = Timed

    def init_poolmanager(self, *args: Any, **details: Any) -> None:
        """Create the pools for connections without a proxy."""
        super().init_poolmanager(*args, **details)
        timed(self.poolmanager, self.addition)

    def proxy_manager_for(self, *args: Any, **details: Any) -> Any:
        """Return the pools for connections through a proxy."""
        return timed(super().proxy_manager_for(*args, **details), self.addition)


@cache
def _timed_pool(pool: type[Any], addition: Any) -> type[Any]:
    if issubclass(pool.ConnectionCls, addition):
        return pool
    connection = type("TimedConnection", (addition, pool.ConnectionCls), {})
    return type("TimedPool", (pool,), {"ConnectionCls": connection})


def _limits() -> _Limits:
    found: _Limits = getattr(_current, "limits", _Limits())
    return found


def _nearer(end: float | None, began: float, seconds: float | None) -> float | None:
    if seconds is None:
        return end
    return began + seconds if end is None else min(end, began + seconds)

"""Answers of HTTP servers, whatever is talked to: a deadline for the whole of each.

The timeouts of urllib3 and requests are for the next piece of an answer: a server that sends a byte a second is never
late. :func:`within` sets when the whole must be there; only connections of a pool that is :func:`timed` keep to it.
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
    """When the head and when the whole of an answer must be there (monotonic, seconds); None for never."""

    head: float | None = None
    whole: float | None = None


_current: Final = threading.local()


@contextlib.contextmanager
def within(*, head: float | None, whole: float | None) -> Generator[None]:
    """Answers that this thread begins to read inside must be there in so many seconds; the nearer deadline counts.

    An answer keeps its deadlines when it is read later, or by another thread. One that is late raises TimeoutError.

    Args:
        head: For the status line and the headers; None for no limit.
        whole: For everything.
    """
    before = _limits()
    began = time.monotonic()
    _current.limits = _Limits(_nearer(before.head, began, head), _nearer(before.whole, began, whole))
    try:
        yield
    finally:
        _current.limits = before


class TimedResponse(http.client.HTTPResponse):
    """An answer that keeps the deadlines which held when it was begun."""

    def __init__(self, sock: Any, *args: Any, **details: Any) -> None:
        super().__init__(sock, *args, **details)
        self._limits = _limits()
        self._reader = _TimedReader(self.fp.detach(), sock)
        self._reader.until = self._head()
        self.fp = io.BufferedReader(self._reader)

    def begin(self) -> None:
        """Read the head."""
        super().begin()
        self._reader.until = self._limits.whole

    def _head(self) -> float | None:
        found = [each for each in (self._limits.head, self._limits.whole) if each is not None]
        return min(found, default=None)


class _TimedReader(io.RawIOBase):
    """Reads a socket, up to a moment."""

    def __init__(self, raw: Any, sock: Any) -> None:
        super().__init__()
        self._raw, self._sock = raw, sock  # Docker's SDK looks for a _sock to hang up
        self.until: float | None = None

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        if self.until is None:
            return self._read(buffer)
        left = self.until - time.monotonic()
        if left <= 0:
            raise TimeoutError("the whole of the answer did not come in time")
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
    """What is added to a connection: its answers keep deadlines."""

    response_class = TimedResponse


def timed(manager: PoolManager, addition: Any = Timed) -> PoolManager:
    """The same *manager*, whose connections keep the deadlines of :func:`within`. May be repeated.

    Args:
        addition: A subclass of :class:`Timed`, which is added to its connections.
    """
    pools = manager.pool_classes_by_scheme
    manager.pool_classes_by_scheme = {scheme: _timed_pool(pool, addition) for scheme, pool in pools.items()}
    return manager


class TimedAdapter(HTTPAdapter):
    """Connections of a session of requests that keep the deadlines of :func:`within`.

    Attributes:
        addition: What is added to them.
    """

    addition: ClassVar[type[Timed]] = Timed

    def init_poolmanager(self, *args: Any, **details: Any) -> None:
        """For connections without a proxy."""
        super().init_poolmanager(*args, **details)
        timed(self.poolmanager, self.addition)

    def proxy_manager_for(self, *args: Any, **details: Any) -> Any:
        """For those through one."""
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

"""What threads wait for, made to wait in virtual time while a fiber waits for it; see :mod:`chaos.fibers`."""

import _thread
import queue
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Generator, Hashable, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, Final, TypeVar

import attrs

from chaos.fibers import Fiber, Killed, current

Result = TypeVar("Result")


class _Original:
    start = threading.Thread.start
    join = threading.Thread.join
    is_alive = threading.Thread.is_alive
    wait = threading.Condition.wait
    submit = ThreadPoolExecutor.submit
    shutdown = ThreadPoolExecutor.shutdown
    sleep = staticmethod(time.sleep)


_ORIGINAL: Final = _Original


def _start(self: threading.Thread) -> None:
    me = current()
    if me is None:
        return _ORIGINAL.start(self)
    self.__dict__["_fiber"] = me.scheduler.spawn(me.process, self.name, self.run)
    return None


def _join(self: threading.Thread, timeout: float | None = None) -> None:
    fiber, me = self.__dict__.get("_fiber"), current()
    if fiber is None or me is None:
        return _ORIGINAL.join(self, timeout)
    me.scheduler.wait(lambda: fiber.is_over, timeout)
    return None


def _is_alive(self: threading.Thread) -> bool:
    fiber = self.__dict__.get("_fiber")
    return _ORIGINAL.is_alive(self) if fiber is None else not fiber.is_over


def _wait(self: Any, timeout: float | None = None) -> bool:
    """As ``Condition.wait``: release, wait for a notification, acquire."""
    me = current()
    if me is None:
        return bool(_ORIGINAL.wait(self, timeout))
    waiter = _thread.allocate_lock()
    waiter.acquire()
    self._waiters.append(waiter)
    saved = self._release_save()
    notified = False
    try:
        notified = me.scheduler.wait(lambda: not waiter.locked(), timeout)
    finally:
        self._acquire_restore(saved)
        if not notified and waiter in self._waiters:
            self._waiters.remove(waiter)
    return notified


def _sleep(seconds: float) -> None:
    me = current()
    if me is None:
        _ORIGINAL.sleep(seconds)
    else:
        me.scheduler.wait(None, seconds)


@attrs.define(eq=False)
class _Pool:
    """The fibers of one pool."""

    most: int
    waiting: deque[Callable[[], None]] = attrs.field(factory=deque)
    workers: list[Fiber] = attrs.field(factory=list)


def _submit(
    self: ThreadPoolExecutor, work: Callable[..., Result], /, *given: object, **named: object
) -> Future[Result]:
    me = current()
    if me is None and "_chaos" not in self.__dict__:
        return _ORIGINAL.submit(self, work, *given, **named)
    assert me is not None, "a pool of fibers is used from outside"
    if self._shutdown:
        raise RuntimeError("cannot schedule new futures after shutdown")
    pool: _Pool = self.__dict__.setdefault("_chaos", _Pool(self._max_workers))
    answer: Future[Result] = Future()
    pool.waiting.append(lambda: _work(answer, lambda: work(*given, **named)))
    pool.workers = [worker for worker in pool.workers if not worker.is_over]
    if len(pool.workers) < pool.most:
        pool.workers.append(me.scheduler.spawn(me.process, f"{self._thread_name_prefix}-pool", lambda: _drain(pool)))
    return answer


def _drain(pool: _Pool) -> None:
    while pool.waiting:
        pool.waiting.popleft()()


def _work(answer: Future[Result], work: Callable[[], Result]) -> None:
    if not answer.set_running_or_notify_cancel():
        return
    try:
        result = work()
    except Killed:
        raise
    except BaseException as problem:  # noqa: BLE001 - as a pool does
        answer.set_exception(problem)
    else:
        answer.set_result(result)


def _shutdown(self: ThreadPoolExecutor, wait: bool = True, *, cancel_futures: bool = False) -> None:
    pool: _Pool | None = self.__dict__.get("_chaos")
    me = current()
    if pool is None or me is None:
        return _ORIGINAL.shutdown(self, wait, cancel_futures=cancel_futures)
    self._shutdown = True
    if cancel_futures:
        pool.waiting.clear()
    if wait:
        me.scheduler.wait(lambda: all(worker.is_over for worker in pool.workers))
    return None


_PATCHES: Final[Iterable[tuple[Any, str, Any]]] = (
    (threading.Thread, "start", _start),
    (threading.Thread, "join", _join),
    (threading.Thread, "is_alive", _is_alive),
    (threading.Condition, "wait", _wait),
    (ThreadPoolExecutor, "submit", _submit),
    (ThreadPoolExecutor, "shutdown", _shutdown),
    (time, "sleep", _sleep),
)


class FiberLock:
    """A lock that fibers wait for in virtual time."""

    def __init__(self) -> None:
        self._taken = threading.Semaphore()  # of a condition, whose wait is patched

    def acquire(self, blocking: bool = True, timeout: float = -1) -> bool:
        """As the lock of the standard library."""
        return self._taken.acquire(blocking, None if timeout < 0 else timeout)

    def release(self) -> None:
        """As the lock of the standard library."""
        self._taken.release()

    def __enter__(self) -> bool:
        return self.acquire()

    def __exit__(self, *_: object) -> None:
        self.release()


_FACTORIES: Final[Mapping[Any, Any]] = {
    queue.SimpleQueue: queue._PySimpleQueue,  # type: ignore[attr-defined]
    threading.Lock: FiberLock,
}
"""What attrs classes of the product make for themselves, and what works with fibers in its place."""


@contextmanager
def installed() -> Generator[None]:
    """Let fibers wait in virtual time, whatever they wait for; threads that are none do not notice."""
    saved = [(owner, name, owner.__dict__[name]) for owner, name, _ in _PATCHES]
    factories = list(_made_by_themselves())
    try:
        for owner, name, patch in _PATCHES:
            setattr(owner, name, patch)
        for names, name, original in factories:
            names[name] = _FACTORIES[original]
        yield
    finally:
        for owner, name, original in saved:
            setattr(owner, name, original)
        for names, name, original in factories:
            names[name] = original


def _made_by_themselves() -> Iterator[tuple[dict[str, Any], str, Any]]:
    """Factories of attrs classes that make something that blocks for real: where they are kept, and what they are."""
    modules = [module for name, module in sys.modules.items() if name.startswith("prefect.agent")]
    found = {id(each): each for module in modules for each in vars(module).values() if isinstance(each, type)}
    for each in found.values():
        names = getattr(each.__init__, "__globals__", {}) if attrs.has(each) else {}
        for name, value in names.items():
            if name.startswith("__attr_factory_") and isinstance(value, Hashable) and value in _FACTORIES:
                yield names, name, value

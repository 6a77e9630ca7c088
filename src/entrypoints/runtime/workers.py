"""Worker threads do short work side by side; the process may end while one of them hangs."""

import queue
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

import attrs


@attrs.define
class Workers:
    """Up to *most* daemon threads do work; each is made when it is first needed.

    A ``ThreadPoolExecutor`` joins its threads when the interpreter ends, however long they hang; these are left behind.

    Args:
        name: Name of the threads.
    """

    name: str
    most: int
    _work: "queue.SimpleQueue[tuple[Future[Any], Callable[[], Any]] | None]" = attrs.field(
        factory=queue.SimpleQueue, init=False
    )
    _threads: list[threading.Thread] = attrs.field(factory=list, init=False)
    _open: int = attrs.field(default=0, init=False)
    """Pieces of work that wait or are being done: each has a thread of its own, as far as there may be so many."""
    _closed: bool = attrs.field(default=False, init=False)
    _guard: threading.Lock = attrs.field(factory=threading.Lock, init=False)

    def submit(self, work: Callable[..., Any], *args: Any) -> "Future[Any]":
        """Do *work* in one of the threads.

        Raises:
            RuntimeError: The workers are closed.
        """
        future: Future[Any] = Future()
        with self._guard:
            if self._closed:
                raise RuntimeError(f"the {self.name} workers are closed")
            self._work.put((future, lambda: work(*args)))
            self._open += 1
            if len(self._threads) < min(self._open, self.most):
                thread = threading.Thread(target=self._run, name=f"{self.name}-{len(self._threads)}", daemon=True)
                self._threads.append(thread)
                thread.start()
        return future

    def close(self, *, wait: float = 0.0, drop: bool = False) -> bool:
        """Accept no more work; return whether all threads have ended within *wait* seconds.

        Args:
            drop: Cancel what has not begun.
        """
        with self._guard:
            self._closed = True
            if drop:
                self._drop()
            for _ in self._threads:
                self._work.put(None)
        end = time.monotonic() + wait
        for thread in self._threads:
            thread.join(max(0.0, end - time.monotonic()))
        return not any(thread.is_alive() for thread in self._threads)

    def _drop(self) -> None:
        while True:
            try:
                item = self._work.get_nowait()
            except queue.Empty:
                return
            if item is not None:
                item[0].cancel()

    def _run(self) -> None:
        while (item := self._work.get()) is not None:
            _do(*item)
            with self._guard:
                self._open -= 1


def _do(future: "Future[Any]", work: Callable[[], Any]) -> None:
    if not future.set_running_or_notify_cancel():
        return
    try:
        result = work()
    except BaseException as problem:  # noqa: BLE001 - the future's owner gets it
        future.set_exception(problem)
    else:
        future.set_result(result)

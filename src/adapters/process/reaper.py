"""Reaps the agent's children at once, and tells who has ended. One thread, however many children."""

import os
import queue
import selectors
import subprocess
import threading
from collections.abc import Generator
from contextlib import contextmanager, suppress
from typing import Final

POLL_SECONDS: Final = 0.2
"""Where the system has no pidfd_open(2), children are looked at this often."""


class Reaper:
    """Waits for children; :meth:`ended` gives their names as they end. Starts its thread with the first child."""

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._selector = selectors.DefaultSelector()
        self._looked_after: list[tuple[str, subprocess.Popen[bytes]]] = []
        self._listeners: list[queue.SimpleQueue[str | None]] = []
        self._thread: threading.Thread | None = None
        self._wake_read, self._wake_write = os.pipe()
        os.set_blocking(self._wake_write, False)
        self._selector.register(self._wake_read, selectors.EVENT_READ)
        self._over = False

    def add(self, name: str, child: "subprocess.Popen[bytes]") -> None:
        """See to *child*, the first process of the unit *name*."""
        with self._guard:
            self._looked_after.append((name, child))
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="reaper", daemon=True)
                self._thread.start()
        self._wake()

    @contextmanager
    def ended(self) -> Generator["queue.SimpleQueue[str | None]"]:
        """Names of units whose first process has ended, from now on; None when the reaper is closed."""
        listener: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        with self._guard:
            self._listeners.append(listener)
        try:
            yield listener
        finally:
            with self._guard:
                self._listeners.remove(listener)

    def close(self) -> None:
        """Tell nobody any more. Children go on, and those that are left are still reaped."""
        with self._guard:
            self._over = True
            for listener in self._listeners:
                listener.put(None)
        self._wake()

    def _wake(self) -> None:
        with suppress(BlockingIOError):  # it is awake already
            os.write(self._wake_write, b".")

    def _run(self) -> None:
        unwatched: list[tuple[str, subprocess.Popen[bytes]]] = []
        while not self._over or unwatched or len(self._selector.get_map()) > 1:
            for key, _events in self._selector.select(POLL_SECONDS if unwatched else None):
                if key.fileobj == self._wake_read:
                    os.read(self._wake_read, 4096)
                    continue
                self._selector.unregister(key.fileobj)
                os.close(key.fd)
                self._reap(*key.data)
            with self._guard:
                new, self._looked_after = self._looked_after, []
            unwatched += [child for child in new if not self._watch(*child)]
            over = [child for child in unwatched if child[1].poll() is not None]
            unwatched = [child for child in unwatched if child not in over]
            for child in over:
                self._reap(*child)

    def _watch(self, name: str, child: "subprocess.Popen[bytes]") -> bool:
        try:
            handle = os.pidfd_open(child.pid)
        except (AttributeError, OSError):
            return False
        self._selector.register(handle, selectors.EVENT_READ, (name, child))
        return True

    def _reap(self, name: str, child: "subprocess.Popen[bytes]") -> None:
        child.wait()
        with self._guard:
            for listener in self._listeners:
                listener.put(name)

"""Reaps the agent's children at once and reports their ends, with one thread and no descriptor for any number of them.

The thread waits for the end of any child without reaping it. It reaps children that were added here; another child is
left to the code that started it, and until that has reaped it, the thread polls its own children one by one.
"""

import os
import queue
import subprocess
import threading
from collections.abc import Generator
from contextlib import contextmanager
from typing import Final

FIRST_LOOK: Final = 0.002
"""Shortest pause in seconds between two polls of all children, while waiting for any child is not possible."""

LAST_LOOK: Final = 0.2
"""Longest pause in seconds between two such polls."""


class Reaper:
    """Waits for children; :meth:`ended` reports their units' names. It starts its thread with the first child."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._children: dict[int, tuple[str, subprocess.Popen[bytes]]] = {}
        self._listeners: list[queue.SimpleQueue[str | None]] = []
        self._thread: threading.Thread | None = None

    def add(self, name: str, child: "subprocess.Popen[bytes]") -> None:
        """Wait for *child*, the first process of the unit *name*, and reap it."""
        with self._changed:
            self._children[child.pid] = (name, child)
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="reaper", daemon=True)
                self._thread.start()
            self._changed.notify_all()

    def children(self) -> set[int]:
        """Return the ids of all children that have not been reaped yet."""
        with self._changed:
            return set(self._children)

    @contextmanager
    def ended(self) -> Generator["queue.SimpleQueue[str | None]"]:
        """Yield a queue that gets the name of each unit whose first process ends, and None when the reaper closes."""
        listener: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        with self._changed:
            self._listeners.append(listener)
        try:
            yield listener
        finally:
            with self._changed:
                self._listeners.remove(listener)

    def close(self) -> None:
        """End all listeners. Children continue, and are still reaped when they end."""
        with self._changed:
            for listener in self._listeners:
                listener.put(None)

    def _run(self) -> None:
        pause = FIRST_LOOK
        while True:
            with self._changed:
                if not self._children:
                    self._thread = None  # the next child starts another
                    return
            pid = _ended_child()
            if pid in self._children:
                self._reap(pid)
                pause = FIRST_LOOK
            elif self._reap_each():
                pause = FIRST_LOOK
            else:
                with self._changed:
                    self._changed.wait(pause)
                pause = min(2 * pause, LAST_LOOK)

    def _reap_each(self) -> bool:
        """Reap all children that have ended; return whether there was one."""
        with self._changed:
            over = [pid for pid, (_, child) in self._children.items() if child.poll() is not None]
        for pid in over:
            self._reap(pid)
        return bool(over)

    def _reap(self, pid: int) -> None:
        with self._changed:
            name, child = self._children.pop(pid)
        child.wait()
        with self._changed:
            for listener in self._listeners:
                listener.put(name)


def _ended_child() -> int | None:
    """Wait until a child of this process has ended, and return its id; None if the system cannot wait for that."""
    try:
        found = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOWAIT)
    except (AttributeError, OSError):  # not on this system; or no children: another thread has reaped them
        return None
    return found.si_pid if found else None

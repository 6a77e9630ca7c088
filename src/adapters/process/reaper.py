"""Reaps the agent's children at once, and tells who has ended. One thread and no descriptor, however many children.

The thread waits for any child to end without collecting it. A child of ours is collected; another's is left to the code
that started it, and until that has collected it, ours are looked at one by one.
"""

import os
import queue
import subprocess
import threading
from collections.abc import Generator
from contextlib import contextmanager
from typing import Final

FIRST_LOOK: Final = 0.002
LAST_LOOK: Final = 0.2
"""Seconds between two looks at all children while another's dead child, or the system, keeps us from waiting."""


class Reaper:
    """Waits for children; :meth:`ended` gives their names as they end. Starts its thread with the first child."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._children: dict[int, tuple[str, subprocess.Popen[bytes]]] = {}
        self._listeners: list[queue.SimpleQueue[str | None]] = []
        self._thread: threading.Thread | None = None

    def add(self, name: str, child: "subprocess.Popen[bytes]") -> None:
        """See to *child*, the first process of the unit *name*."""
        with self._changed:
            self._children[child.pid] = (name, child)
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="reaper", daemon=True)
                self._thread.start()
            self._changed.notify_all()

    def children(self) -> set[int]:
        """Ids of the processes that are seen to now."""
        with self._changed:
            return set(self._children)

    @contextmanager
    def ended(self) -> Generator["queue.SimpleQueue[str | None]"]:
        """Names of units whose first process has ended, from now on; None when the reaper is closed."""
        listener: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        with self._changed:
            self._listeners.append(listener)
        try:
            yield listener
        finally:
            with self._changed:
                self._listeners.remove(listener)

    def close(self) -> None:
        """End all listening. Children go on, and those that are left are still reaped."""
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
        """Reap those that have ended; whether there was one."""
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
    """Wait until a child of this process has ended and give its id; None if the system cannot wait like that."""
    try:
        found = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOWAIT)
    except (AttributeError, OSError):  # not on this system; or no children: another thread has reaped them
        return None
    return found.si_pid if found else None

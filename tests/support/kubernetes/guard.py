"""Ends what a test session started if the session is ended without a chance to do so itself."""

import subprocess
import sys
import threading
from typing import Final

PROGRAM: Final = """
import os, signal, sys
groups = set()
for line in sys.stdin:
    number = int(line)
    (groups.add if number > 0 else groups.discard)(abs(number))
for group in groups:
    try:
        os.killpg(group, signal.SIGKILL)
    except ProcessLookupError:
        pass
"""
"""Reads ids of process groups, with a minus once they are over; kills the rest when nobody can write any more."""


class Guard:
    """A small process that outlives this one by a moment."""

    def __init__(self) -> None:
        words = [sys.executable, "-I", "-S", "-c", PROGRAM]
        self._process = subprocess.Popen(words, stdin=subprocess.PIPE, text=True, start_new_session=True)
        self._lock = threading.Lock()

    def add(self, group: int) -> None:
        """From now on the process group must not outlive this process."""
        self._tell(group)

    def remove(self, group: int) -> None:
        """The process group is over; its id may belong to somebody else soon."""
        self._tell(-group)

    def close(self) -> None:
        """End the guard; it kills what was not removed."""
        self._process.communicate(timeout=60)

    def _tell(self, number: int) -> None:
        pipe = self._process.stdin
        assert pipe is not None
        with self._lock:
            pipe.write(f"{number}\n")
            pipe.flush()

"""Shows the output of units while they execute: it follows the files that they write."""

import os
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

from prefect.agent.adapters import state_files
from prefect.agent.adapters.flow_output import Lines

READ_EVERY: Final = 0.2
"""Seconds between two looks at a file that has no news."""

LOOK_EVERY: Final = 1.0
"""Seconds between two looks whether a unit executes."""

PIECE: Final = 64 * 1024
"""Bytes of output that are read at a time."""

LAST_WORDS: Final = 1.0
"""Seconds in which followers show what is left when the agent ends."""


class OutputFollower:
    """Follows each unit's output in a thread of its own, which ends with the unit."""

    def __init__(self) -> None:
        self._over = threading.Event()
        self._guard = threading.Lock()
        self._threads: list[threading.Thread] = []

    def follow(self, path: Path, fields: Mapping[str, str], is_alive: Callable[[], bool]) -> None:
        """Begin to show what is written to *path*.

        Args:
            path: The unit's output.
            fields: Of its flow run.
            is_alive: Whether the unit executes; may raise OSError.
        """
        with self._guard:
            work = (path, Lines(fields), is_alive)
            thread = threading.Thread(target=self._copy, args=work, name=f"output of {fields['unit']}", daemon=True)
            self._threads = [*(each for each in self._threads if each.is_alive()), thread]
            thread.start()

    def close(self) -> None:
        """Show what is there, and stop."""
        self._over.set()
        with self._guard:
            threads = list(self._threads)
        for thread in threads:
            thread.join(LAST_WORDS / len(threads))

    def _copy(self, path: Path, lines: Lines, is_alive: Callable[[], bool]) -> None:
        try:
            handle = state_files.opened(path, os.O_RDONLY)
        except OSError:
            return
        try:
            goes_on = True
            while goes_on:
                goes_on = not self._over.is_set() and is_alive()  # before the last look: nothing comes after it
                self._show_until(handle, lines)
            lines.end()
        except (OSError, ValueError):  # the unit is removed, or standard output is closed
            return
        finally:
            os.close(handle)

    def _show_until(self, handle: int, lines: Lines) -> None:
        """Show what is written within the time to the next look whether the unit executes."""
        for _ in range(round(LOOK_EVERY / READ_EVERY)):
            if os.fstat(handle).st_size < os.lseek(handle, 0, os.SEEK_CUR):
                os.lseek(handle, 0, os.SEEK_SET)  # its beginning was dropped on a file system without holes
            while piece := os.read(handle, PIECE):
                lines.feed(piece)
            if self._over.wait(READ_EVERY):
                return

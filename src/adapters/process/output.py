"""Bounds for what units write: of an output that takes too much room on disk, the beginning is dropped.

The file keeps its length and its end. The room of its beginning is given back to the file system (a hole), while the
unit goes on writing at the end: nothing waits, nothing is lost of what comes, and no process stands in between.
"""

import logging
import os
import time
from pathlib import Path
from typing import Any, Final

from prefect.agent.adapters import state_files

DEFAULT_LIMIT: Final = 100
"""MiB."""

MIB: Final = 1024 * 1024
LOOK_EVERY: Final = 5.0
"""Seconds between two looks at all outputs; between them a unit may write more."""

BLOCK: Final = 4096
SMALL_TAIL: Final = 64 * 1024
"""Bytes that are kept where a file system makes no holes."""

FALLOCATE: Final = 0x02 | 0x01
"""FALLOC_FL_PUNCH_HOLE and FALLOC_FL_KEEP_SIZE of linux/falloc.h."""

log: Final = logging.getLogger("prefect.agent.process")


class Outputs:
    """Keeps the files ``output`` of all units in *directory* below *limit* bytes each. For one thread at a time.

    Args:
        limit: None for no limit.
    """

    def __init__(self, directory: Path, limit: int | None) -> None:
        self._directory, self._limit = directory, limit
        self._next_look = 0.0
        self._said: set[str] = set()

    def look(self) -> float:
        """Look at all of them if it is time to; return the seconds until the next look. Never raises."""
        now = time.monotonic()
        if self._limit is None:
            return float("inf")
        if now >= self._next_look:
            self._next_look = now + LOOK_EVERY
            try:
                self._look(self._limit)
            except OSError as problem:
                log.debug("Outputs of units cannot be looked at: %s", problem)
        return max(0.0, self._next_look - now)

    def _look(self, limit: int) -> None:
        with os.scandir(self._directory) as entries:
            names = [entry.name for entry in entries if entry.is_dir(follow_symlinks=False)]
        self._said &= set(names)
        for name in names:
            path = f"{self._directory}/{name}/output"
            try:
                about = os.lstat(path)
                if about.st_size > limit and about.st_blocks * 512 > limit:
                    self._say(name, shorten(Path(path), limit))
            except FileNotFoundError:
                continue
            except OSError as problem:
                log.debug("The output of %s cannot be shortened: %s", name, problem)

    def _say(self, name: str, dropped: int) -> None:
        if dropped and name not in self._said:
            self._said.add(name)
            message = "The unit %s writes more output than %d MiB: the beginning is dropped (--output-limit)"
            log.warning(message, name, (self._limit or 0) // MIB)


def shorten(path: Path, limit: int) -> int:
    """Keep the second half of the *limit*; return how many bytes of the file, from its beginning, are dropped by now.

    Raises:
        OSError: It cannot be done, or *path* is no regular file.
    """
    handle = state_files.opened(path, os.O_RDWR)
    try:
        about = os.fstat(handle)
        cut = max(0, about.st_size - limit // 2) // BLOCK * BLOCK
        words = f"\n[prefect-agent: the first {cut} bytes of the output were dropped (--output-limit)]\n".encode()
        if cut >= BLOCK and _punch(handle, cut):
            os.pwrite(handle, words, cut - len(words))
        elif cut >= BLOCK:
            _rewrite(handle, about.st_size, words)
        os.utime(handle, ns=(about.st_atime_ns, about.st_mtime_ns))  # which says when the unit was last heard
        return cut
    finally:
        os.close(handle)


def _punch(handle: int, length: int) -> bool:
    """Give back the first *length* bytes of a file; whether the system can."""
    import ctypes  # noqa: PLC0415 - seldom needed

    library = ctypes.CDLL(None)
    call: Any = getattr(library, "fallocate64", None) or getattr(library, "fallocate", None)
    if call is None:
        return False
    call.argtypes = (ctypes.c_int, ctypes.c_int, ctypes.c_int64, ctypes.c_int64)
    return bool(call(handle, FALLOCATE, 0, length) == 0)


def _rewrite(handle: int, size: int, words: bytes) -> None:
    """Where there are no holes: keep a small tail. What is written meanwhile may be lost; units append, and go on."""
    tail = os.pread(handle, SMALL_TAIL, max(0, size - SMALL_TAIL))
    os.ftruncate(handle, 0)
    os.pwrite(handle, words + tail, 0)

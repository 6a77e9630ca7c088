"""Limits the output of units on disk: the beginning of an output that is too large is dropped.

The file keeps its length and its end. The space of its beginning is returned to the file system (a hole), while the
unit continues to write at the end: the unit does not wait, no new output is lost, and no extra process is needed.
"""

import logging
import os
import time
from pathlib import Path
from typing import Any, Final

from prefect.agent.adapters import state_files

DEFAULT_LIMIT: Final = 100
"""Default limit of one unit's output, in MiB."""

MIB: Final = 1024 * 1024
LOOK_EVERY: Final = 5.0
"""Seconds between two looks at all outputs; in between, an output may exceed its limit."""

BLOCK: Final = 4096
"""Bytes to which cuts are rounded: file systems free whole blocks."""

SMALL_TAIL: Final = 64 * 1024
"""Bytes that are kept if the file system does not support holes."""

FALLOCATE: Final = 0x02 | 0x01
"""FALLOC_FL_PUNCH_HOLE and FALLOC_FL_KEEP_SIZE of linux/falloc.h."""

log: Final = logging.getLogger("prefect.agent.process")


class Outputs:
    """Keeps the files ``output`` of all units in *directory* below *limit* bytes each. For one thread at a time.

    Args:
        limit: Most bytes of each output; None for no limit.
    """

    def __init__(self, directory: Path, limit: int | None) -> None:
        self._directory, self._limit = directory, limit
        self._next_look = 0.0
        self._said: set[str] = set()

    def look(self) -> float:
        """Shorten the outputs if it is time to; return the seconds until the next look. Never raises."""
        now = time.monotonic()
        if self._limit is None:
            return float("inf")
        if now >= self._next_look:
            self._next_look = now + LOOK_EVERY
            try:
                self._look(self._limit)
            except OSError as problem:
                log.debug("Cannot examine the outputs of units: %s", problem)
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
                log.debug("Cannot shorten the output of %s: %s", name, problem)

    def _say(self, name: str, dropped: int) -> None:
        if dropped and name not in self._said:
            self._said.add(name)
            message = "The unit %s writes more output than %d MiB, so its beginning is dropped (see --output-limit)"
            log.warning(message, name, (self._limit or 0) // MIB)


def shorten(path: Path, limit: int) -> int:
    """Keep the last *limit*/2 bytes of a file; return how many bytes at its beginning have been dropped in total.

    Raises:
        OSError: The file cannot be shortened, or is not a regular file.
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
        os.utime(handle, ns=(about.st_atime_ns, about.st_mtime_ns))  # the time of the unit's last output
        return cut
    finally:
        os.close(handle)


def _punch(handle: int, length: int) -> bool:
    """Return the space of a file's first *length* bytes to the file system; return whether the system can do that."""
    import ctypes  # noqa: PLC0415 - seldom needed

    library = ctypes.CDLL(None)
    call: Any = getattr(library, "fallocate64", None) or getattr(library, "fallocate", None)
    if call is None:
        return False
    call.argtypes = (ctypes.c_int, ctypes.c_int, ctypes.c_int64, ctypes.c_int64)
    return bool(call(handle, FALLOCATE, 0, length) == 0)


def _rewrite(handle: int, size: int, words: bytes) -> None:
    """Keep a small tail on a file system without holes. Output that is written meanwhile may be lost."""
    tail = os.pread(handle, SMALL_TAIL, max(0, size - SMALL_TAIL))
    os.ftruncate(handle, 0)
    os.pwrite(handle, words + tail, 0)

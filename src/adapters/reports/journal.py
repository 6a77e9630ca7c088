"""One file of reports: appended to by the agent that holds its lock, and taken over by another once that is gone.

Each line is one JSON object: an entry, ``{"run": id, "entry": {...}}``, or what makes earlier ones void: ``{"run": id,
"lines": n}`` (the first n log lines of the run) and ``{"run": id, "over": true}`` (all of the run). A line that is torn
or cannot be read counts for nothing. The kernel lets go of the lock (flock) with the process, whatever ends it.
"""

import errno
import fcntl
import json
import os
import time
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO, Final

import attrs

from prefect.agent.adapters import state_files
from prefect.agent.domain.model.flow_runs import FlowRunId
from prefect.agent.ports.reports import Entry

SUFFIX: Final = ".reports"
NEW: Final = ".new"
"""What the name of a file that is being rewritten ends in."""

MOST_RECORD: Final = 4 * 1024 * 1024
"""Longest line that is read, in bytes. The longest report, all of it escaped, is below 1 MiB."""

TRIES: Final = 10

FLAGS: Final = os.O_RDWR | os.O_APPEND


@attrs.define(eq=False)
class Kept:
    """One entry on disk, or one that has no place there.

    Attributes:
        journal: The file that has it; None if none has.
        offset: Where its line begins there, in bytes.
        length: Length of its line, in bytes.
    """

    run_id: FlowRunId
    is_line: bool
    journal: "Journal | None" = None
    offset: int = 0
    length: int = 0


@attrs.define(eq=False)
class Journal:
    """An open and locked file.

    Attributes:
        size: Bytes of the file.
        live: How many entries in it are not void.
        whole: Where the last whole line ends that was read, in bytes.
        is_understood: Whether it holds nothing but what an agent wrote, a torn last line aside: it may be removed.
    """

    path: Path
    fd: int
    size: int = 0
    live: int = 0
    is_understood: bool = True
    whole: int = 0
    _is_synced: bool = False

    @classmethod
    def create(cls, directory: Path) -> "Journal":
        """A new file in *directory*.

        Raises:
            OSError: There can be none.
        """
        for _ in range(TRIES):
            path = directory / f"{time.time_ns():020d}-{os.getpid()}{SUFFIX}"
            try:
                return cls(path, _locked(path, os.O_CREAT | os.O_EXCL))
            except (FileExistsError, BlockingIOError):
                continue  # another agent took it for a file that was left
        raise FileExistsError(errno.EEXIST, "other agents take every new file", str(directory))

    @classmethod
    def adopt(cls, path: Path, *, most_bytes: int) -> "Journal | None":
        """The file of an agent that is gone; None if its agent lives, or it is no file of at most *most_bytes*."""
        try:
            fd = _locked(path)
        except OSError:
            return None
        about = os.fstat(fd)
        if about.st_size > most_bytes:
            os.close(fd)
            return None
        return cls(path, fd, about.st_size)

    def read(self) -> list[tuple[Kept, Entry]]:
        """The entries that are not void, in order. A torn last line behind them is cut off.

        Raises:
            OSError: The file cannot be read.
        """
        lines: dict[FlowRunId, deque[tuple[Kept, Entry]]] = {}
        ends: dict[FlowRunId, list[tuple[Kept, Entry]]] = {}
        with open(self.fd, "rb", closefd=False) as file:
            file.seek(0)
            for offset, raw in self._raw_lines(file):
                record = _record(raw)
                if record is None:
                    self.is_understood = False
                    continue
                run_id, entry = record["run"], record.get("entry")
                if entry is not None:
                    kept = Kept(run_id, "end" not in entry, self, offset, len(raw))
                    where = lines.setdefault(run_id, deque()) if kept.is_line else ends.setdefault(run_id, [])
                    where.append((kept, entry))
                elif "lines" in record:
                    some = lines.get(run_id, deque())
                    for _ in range(min(record["lines"], len(some))):
                        some.popleft()
                else:
                    lines.pop(run_id, None)
                    ends.pop(run_id, None)
        found = [pair for some in (*lines.values(), *ends.values()) for pair in some]
        self.live = len(found)
        if found and self.whole < self.size:
            os.ftruncate(self.fd, self.whole)
            self.size = self.whole
        return sorted(found, key=lambda pair: pair[0].offset)

    def append(self, record: Mapping[str, Any], *, sync: bool = False) -> tuple[int, int]:
        """Write one line, onto the disk itself if *sync*; return where it begins and how long it is.

        Raises:
            OSError: It is not written (or not synced).
        """
        raw = json.dumps(record, separators=(",", ":")).encode() + b"\n"
        offset = self.size
        _write(self.fd, raw, offset)
        self.size += len(raw)
        if sync:
            self._sync()
        return offset, len(raw)

    def rewrite(self, kept: Sequence[Kept]) -> None:
        """Keep nothing but *kept*, which are entries of this file in order. A crash leaves the old file or the new one.

        Raises:
            OSError: The file is as it was.
        """
        path = self.path.with_name(self.path.name + NEW)
        path.unlink(missing_ok=True)
        fd = _locked(path, os.O_CREAT | os.O_EXCL)
        try:
            size = 0
            for each in kept:
                _write(fd, os.pread(self.fd, each.length, each.offset), size)
                size += each.length
            os.fsync(fd)
            path.replace(self.path)
        except OSError:
            os.close(fd)
            path.unlink(missing_ok=True)
            raise
        os.close(self.fd)
        self.fd, self.size, self._is_synced = fd, size, False
        offset = 0
        for each in kept:
            each.offset = offset
            offset += each.length

    def remove(self) -> None:
        """Delete the file and let go of it.

        Raises:
            OSError: It cannot be deleted; it is let go of.
        """
        try:
            self.path.unlink(missing_ok=True)
        finally:
            self.close()

    def close(self) -> None:
        """Let go of the file."""
        os.close(self.fd)

    def _sync(self) -> None:
        os.fsync(self.fd)
        if not self._is_synced:
            folder = os.open(self.path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)
            self._is_synced = True

    def _raw_lines(self, file: BinaryIO) -> Iterator[tuple[int, bytes]]:
        """Whole lines with their offsets; of a longer one than there can be, its beginning."""
        offset, is_rest = 0, False
        while raw := file.readline(MOST_RECORD):
            is_whole = raw.endswith(b"\n")
            if not is_rest and (is_whole or len(raw) == MOST_RECORD) and raw != b"\n":
                yield offset, raw
            is_rest = not is_whole
            offset += len(raw)
            self.whole = offset if is_whole else self.whole


def remove_unfinished(path: Path) -> None:
    """Delete what a rewriting that was cut short left, unless it is going on."""
    try:
        fd = _locked(path)
    except OSError:
        return
    try:
        path.unlink(missing_ok=True)
    finally:
        os.close(fd)


def _locked(path: Path, more: int = 0) -> int:
    """An own regular file, open and locked.

    Raises:
        BlockingIOError: Another process has it, or has removed it.
        OSError: It is no such file.
    """
    fd = state_files.opened(path, FLAGS | more)
    try:
        about = os.fstat(fd)
        if about.st_uid != os.geteuid():
            raise OSError(errno.EINVAL, "not a file of this user", str(path))
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        there = path.stat(follow_symlinks=False)
        if (there.st_dev, there.st_ino) != (about.st_dev, about.st_ino):
            raise BlockingIOError(errno.EWOULDBLOCK, "replaced meanwhile", str(path))
    except FileNotFoundError as gone:
        os.close(fd)
        raise BlockingIOError(errno.EWOULDBLOCK, "removed meanwhile", str(path)) from gone
    except OSError:
        os.close(fd)
        raise
    return fd


def _write(fd: int, data: bytes, size: int) -> None:
    """Append *data* to a file of *size* bytes, or leave it as it was.

    Raises:
        OSError: The disk is full, for example.
    """
    try:
        rest = memoryview(data)
        while rest:
            rest = rest[os.write(fd, rest) :]
    except OSError:
        os.ftruncate(fd, size)
        raise


def _record(raw: bytes) -> dict[str, Any] | None:
    """A line's record; None if no agent wrote it."""
    try:
        record = json.loads(raw)
    except (ValueError, RecursionError):
        return None
    if not isinstance(record, dict) or not isinstance(record.get("run"), str):
        return None
    entry, lines = record.get("entry"), record.get("lines")
    is_entry = isinstance(entry, dict)
    is_count = isinstance(lines, int) and lines >= 0
    return record if is_entry or is_count or record.get("over") is True else None

"""A file of reports: the agent that holds its lock appends to it; another agent adopts it once that one has ended.

Each line is one JSON object: an entry, ``{"run": id, "entry": {...}}``, or a record that cancels earlier entries:
``{"run": id, "lines": n}`` (the first n log lines of the run) or ``{"run": id, "over": true}`` (all of the run). A line
that is incomplete or cannot be read is ignored. The kernel releases the lock (flock) when the process ends.
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
"""Suffix of the temporary file while a file is rewritten."""

MOST_RECORD: Final = 4 * 1024 * 1024
"""Most bytes of a line that is read. The longest report, fully escaped, is below 1 MiB."""

TRIES: Final = 10

FLAGS: Final = os.O_RDWR | os.O_APPEND


@attrs.define(eq=False)
class Kept:
    """One entry, on disk or only in memory.

    Attributes:
        journal: The file that holds the entry; None if no file does.
        offset: Position of its line in the file, in bytes.
        length: Length of its line, in bytes.
    """

    run_id: FlowRunId
    is_line: bool
    journal: "Journal | None" = None
    offset: int = 0
    length: int = 0


@attrs.define(eq=False)
class Journal:
    """An open and locked file of reports.

    Attributes:
        size: Size of the file in bytes.
        live: Number of entries in it that are not cancelled.
        whole: End of the last complete line that was read, in bytes.
        is_understood: Whether an agent wrote all of it, except an incomplete last line; only then it may be removed.
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
        """Create a new file in *directory*.

        Raises:
            OSError: The file cannot be created.
        """
        for _ in range(TRIES):
            path = directory / f"{time.time_ns():020d}-{os.getpid()}{SUFFIX}"
            try:
                return cls(path, _locked(path, os.O_CREAT | os.O_EXCL))
            except (FileExistsError, BlockingIOError):
                continue  # another agent adopted it, as if its agent had ended
        raise FileExistsError(errno.EEXIST, "other agents take every new file", str(directory))

    @classmethod
    def adopt(cls, path: Path, *, most_bytes: int) -> "Journal | None":
        """Lock the file of an agent that has ended; None if that agent lives or the file exceeds *most_bytes*."""
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
        """Return the entries that are not cancelled, in order, and cut off an incomplete last line.

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
        """Append one line, and flush it to the disk if *sync*; return its position and length in bytes.

        Raises:
            OSError: The line was not written, or not flushed.
        """
        raw = json.dumps(record, separators=(",", ":")).encode() + b"\n"
        offset = self.size
        _write(self.fd, raw, offset)
        self.size += len(raw)
        if sync:
            self._sync()
        return offset, len(raw)

    def rewrite(self, kept: Sequence[Kept]) -> None:
        """Rewrite the file with only *kept*, entries of this file in order. A crash leaves the old or the new file.

        Raises:
            OSError: The rewriting failed, and the file is unchanged.
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
        """Delete the file and release its lock.

        Raises:
            OSError: It cannot be deleted; the lock is released anyway.
        """
        try:
            self.path.unlink(missing_ok=True)
        finally:
            self.close()

    def close(self) -> None:
        """Close the file and release its lock."""
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
        """Yield complete lines with their positions; of a line that is too long, only its beginning."""
        offset, is_rest = 0, False
        while raw := file.readline(MOST_RECORD):
            is_whole = raw.endswith(b"\n")
            if not is_rest and (is_whole or len(raw) == MOST_RECORD) and raw != b"\n":
                yield offset, raw
            is_rest = not is_whole
            offset += len(raw)
            self.whole = offset if is_whole else self.whole


def remove_unfinished(path: Path) -> None:
    """Delete the temporary file of a rewriting that was interrupted; leave one that another process still writes."""
    try:
        fd = _locked(path)
    except OSError:
        return
    try:
        path.unlink(missing_ok=True)
    finally:
        os.close(fd)


def _locked(path: Path, more: int = 0) -> int:
    """Open and lock a regular file of this user.

    Raises:
        BlockingIOError: Another process holds its lock, or has removed it.
        OSError: It is not a regular file of this user.
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
    """Append *data* to a file of *size* bytes; on an error, the file stays unchanged.

    Raises:
        OSError: The data cannot be written, for example because the disk is full.
    """
    try:
        rest = memoryview(data)
        while rest:
            rest = rest[os.write(fd, rest) :]
    except OSError:
        os.ftruncate(fd, size)
        raise


def _record(raw: bytes) -> dict[str, Any] | None:
    """Return the record of a line; None if no agent wrote it."""
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

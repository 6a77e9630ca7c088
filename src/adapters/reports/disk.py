"""Keeps reports on disk: one file for each living agent, in a folder for each owner."""

import threading
from collections import Counter, deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import attrs

from prefect.agent.adapters.reports.journal import NEW, SUFFIX, Journal, Kept, remove_unfinished
from prefect.agent.adapters.reports.places import private_folder, safe_name
from prefect.agent.domain.model.flow_runs import FlowRunId
from prefect.agent.ports.reports import Entry, ReportStore

MOST_BYTES: Final = 64 * 1024 * 1024
"""Default limit in bytes for an agent's reports on disk; while a file is rewritten, they take up to twice that."""

MOST_FILES: Final = 10_000
"""Most files of other agents that are examined when reports are loaded."""


@attrs.define(eq=False)
class _StoredRun:
    """The stored entries of one flow run, in the outbox's order; also those for which the disk had no room."""

    lines: deque[Kept] = attrs.field(factory=deque)
    ends: list[Kept] = attrs.field(factory=list)


class DiskReports(ReportStore):
    """Stores reports in ``DIRECTORY/reports/OWNER``, in files that only this user can read.

    A living agent holds the lock of its file, so agents of one owner never share a file. :meth:`load` adopts the files
    of agents that have ended, and continues one of them. A file is removed once everything in it is reported.

    Args:
        directory: The state directory; created if it is missing.
        owner: Name of the group of agents that may send each other's reports.
        most_bytes: Limit for the reports; above it the oldest log lines are dropped and counted.

    Raises:
        ConfigurationError: Other users can write in a folder; the message says in which, and what to do.
        OSError: The folder cannot be written.
    """

    def __init__(self, directory: Path, owner: str, *, most_bytes: int = MOST_BYTES) -> None:
        self._directory, self._owner = directory, safe_name(owner)
        self._folder = private_folder(directory, "reports", self._owner)
        self._most_bytes = self._rewrite_above = most_bytes
        self._guard = threading.RLock()
        self._runs: dict[FlowRunId, _StoredRun] = {}
        self._oldest: deque[Kept] = deque()  # lines by age; those without a journal are already released
        self._lines = self._live_bytes = self._dropped = 0
        self._journals: list[Journal] = []  # new entries go to the last one
        self._problem, self._is_closed = "", False

    @property
    def where(self) -> str:
        return str(self._folder)

    @property
    def problem(self) -> str:
        return self._problem

    @property
    def dropped(self) -> int:
        return self._dropped

    def load(self) -> Mapping[FlowRunId, Sequence[Entry]]:
        found: dict[FlowRunId, list[Entry]] = {}
        with self._guard:
            for path in self._left_files():
                with self._noting():
                    for kept, entry in self._adopt(path):
                        self._enter(kept)
                        found.setdefault(kept.run_id, []).append(entry)
            self._make_room()
        return found

    def add(self, run_id: FlowRunId, entry: Entry) -> None:
        kept = Kept(run_id, "end" not in entry)
        with self._guard:
            if self._is_closed:
                return
            if kept.is_line and self._size() > 2 * self._most_bytes:  # the ends alone exceed the limit
                self._dropped += 1
            else:
                with self._noting():
                    self._problem = ""
                    self._write(kept, entry)
            self._enter(kept)
            self._make_room()

    def forget_lines(self, run_id: FlowRunId, count: int) -> None:
        with self._guard:
            run = self._runs.get(run_id, _StoredRun())
            gone = [run.lines.popleft() for _ in range(min(count, len(run.lines)))]
            self._lines -= len(gone)
            for journal, number in self._release(gone).items():
                self._note(journal, {"run": run_id, "lines": number})
            if not (run.lines or run.ends):
                self._runs.pop(run_id, None)
            self._trim_oldest()
            self._make_room()

    def forget(self, run_id: FlowRunId) -> None:
        with self._guard:
            run = self._runs.pop(run_id, _StoredRun())
            self._lines -= len(run.lines)
            for journal in self._release([*run.lines, *run.ends]):
                self._note(journal, {"run": run_id, "over": True})
            self._trim_oldest()
            self._make_room()

    def close(self) -> None:
        with self._guard:
            self._is_closed = True
            for journal in self._journals:
                journal.close()
            self._journals.clear()
            self._runs.clear()
            self._oldest.clear()

    # --- loading ---

    def _left_files(self) -> list[Path]:
        paths: list[Path] = []
        with self._noting():
            paths = sorted(self._folder.iterdir())[:MOST_FILES]
        for path in paths:
            if path.name.endswith(SUFFIX + NEW):
                with self._noting():
                    remove_unfinished(path)
        return [path for path in paths if path.name.endswith(SUFFIX)]

    def _adopt(self, path: Path) -> list[tuple[Kept, Entry]]:
        journal = Journal.adopt(path, most_bytes=4 * self._most_bytes)
        if journal is None:
            return []
        try:
            pairs = journal.read()
        except BaseException:
            journal.close()
            raise
        if pairs:
            self._journals.append(journal)
        elif journal.is_understood:
            journal.remove()
        else:
            journal.close()  # no agent wrote this file: do not remove it
        return pairs

    # --- keeping ---

    def _write(self, kept: Kept, entry: Entry) -> None:
        if not self._journals:
            private_folder(self._directory, "reports", self._owner)
            self._journals.append(Journal.create(self._folder))
        journal = self._journals[-1]
        record = {"run": kept.run_id, "entry": dict(entry)}
        kept.offset, kept.length = journal.append(record, sync=not kept.is_line)
        kept.journal = journal
        journal.live += 1

    def _enter(self, kept: Kept) -> None:
        run = self._runs.setdefault(kept.run_id, _StoredRun())
        self._live_bytes += kept.length
        if kept.is_line:
            run.lines.append(kept)
            self._oldest.append(kept)
            self._lines += 1
        else:
            run.ends.append(kept)

    # --- forgetting ---

    def _release(self, gone: Sequence[Kept]) -> Counter[Journal]:
        """Release entries, remove files without live entries, and return the number released in each remaining file."""
        counts: Counter[Journal] = Counter()
        for kept in gone:
            if kept.journal is not None:
                counts[kept.journal] += 1
                self._live_bytes -= kept.length
                kept.journal = None
        for journal, number in list(counts.items()):
            journal.live -= number
            if not journal.live:
                del counts[journal]
                self._remove(journal)
        return counts

    def _remove(self, journal: Journal) -> None:
        self._journals.remove(journal)
        if not self._journals:
            self._rewrite_above = self._most_bytes
        with self._noting():
            journal.remove()

    def _note(self, journal: Journal, record: Mapping[str, object]) -> None:
        with self._noting():
            journal.append(record)

    def _trim_oldest(self) -> None:
        if len(self._oldest) > 2 * self._lines + 1000:
            self._oldest = deque(kept for kept in self._oldest if kept.journal is not None)

    # --- bounds ---

    def _size(self) -> int:
        return sum(journal.size for journal in self._journals)

    def _make_room(self) -> None:
        if self._size() <= self._rewrite_above:
            return
        goal = self._most_bytes * 3 // 4
        while self._live_bytes > goal and self._oldest:
            kept = self._oldest.popleft()
            if kept.journal is not None:
                self._dropped += 1
                self._release([kept])
        for journal in list(self._journals):
            with self._noting():
                journal.rewrite(self._of(journal))
        self._rewrite_above = max(self._most_bytes, self._size() + self._most_bytes // 4)

    def _of(self, journal: Journal) -> list[Kept]:
        every = (kept for run in self._runs.values() for kept in (*run.lines, *run.ends) if kept.journal is journal)
        return sorted(every, key=lambda kept: kept.offset)

    @contextmanager
    def _noting(self) -> Iterator[None]:
        """Record an error of the disk in :attr:`problem` instead of raising it to the caller."""
        try:
            yield
        except Exception as problem:  # noqa: BLE001 - no report may be lost for the disk's sake
            text = problem.strerror if isinstance(problem, OSError) and problem.strerror else str(problem)
            self._problem = f"{self._folder}: {text}"

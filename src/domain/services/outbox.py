"""Reports that the Cloud has not confirmed yet: log lines and ends, kept in memory and in a store."""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Final

import attrs

from prefect.agent.domain.model.ends import End, EndKind
from prefect.agent.domain.model.flow_runs import FlowRunId
from prefect.agent.domain.model.pauses import back_off
from prefect.agent.domain.model.reports import Due, Line, RunReports, entry_of, read_entry, readable, size
from prefect.agent.ports.clock import Clock
from prefect.agent.ports.reports import MemoryReports, ReportStore

MOST_BYTES: Final = 64 * 1024 * 1024
"""Log lines kept while the Cloud is away; beyond it the oldest are dropped, and counted. Ends are never dropped."""

END_FIRST: Final = 2
"""After so many tries of its lines, the end of a run goes out before them."""

WAIT_FIRST, WAIT_LAST = 1.0, 300.0
"""Shortest and longest wait of a run whose reports are not taken, in seconds."""


def _nothing() -> None:
    pass


@attrs.define(kw_only=True)
class Outbox:
    """Reports that the Cloud has not confirmed yet, a queue for each flow run. Any thread may add; one thread sends.

    Attributes:
        on_news: Called after each addition, to wake the sender.
        store: Keeps reports beyond the process.
        guard: A reentrant lock, if several threads add.
        clean: Takes the secrets that this process knows out of every text that is to leave it.
        dropped: How many log lines had no room.
        told_problem: The problem of the store that was reported last.
    """

    clock: Clock
    agent_name: str = "agent"
    on_news: Callable[[], None] = _nothing
    store: ReportStore = attrs.field(factory=MemoryReports)
    guard: AbstractContextManager[Any] = attrs.field(factory=nullcontext)
    most_bytes: int = MOST_BYTES
    clean: Callable[[str], str] = str
    dropped: int = attrs.field(default=0, init=False)
    told_problem: str = attrs.field(default="", init=False)
    _runs: dict[FlowRunId, RunReports] = attrs.field(factory=dict, init=False)
    _oldest: deque[tuple[RunReports, Line]] = attrs.field(factory=deque, init=False)
    """Lines by age. One that is not the first of its run any more when its turn comes is gone already."""
    _lines: int = attrs.field(default=0, init=False)
    _bytes: int = attrs.field(default=0, init=False)

    def __len__(self) -> int:
        with self.guard:
            return self._lines + sum(run.end is not None for run in self._runs.values())

    def __bool__(self) -> bool:
        return bool(self._runs)

    def load(self) -> int:
        """Take up what an earlier process could not send; return how many flow runs that concerns.

        A problem of the store is the caller's to report.
        """
        found = self.store.load()
        self.told_problem = self.store.problem
        with self.guard:
            for run_id, entries in found.items():
                for report in (read_entry(run_id, entry) for entry in entries):
                    if report is not None:  # kept by an older agent, perhaps, which cleaned nothing
                        self._put(run_id, attrs.evolve(report, message=self.clean(report.message)))
                if run_id not in self._runs:
                    self.store.forget(run_id)
            return len(self._runs)

    def log(self, run_id: FlowRunId, message: str, level: str = "INFO") -> None:
        """Put one entry on the flow run's log."""
        self._add(run_id, Line(message=self._shown(message), level=level, at=self.clock.now()))
        self.on_news()

    def end(self, end: End) -> None:
        """Log the end's message and carry the end out, unless the run belongs to another claim by then."""
        level = "ERROR" if end.kind is EndKind.FAILED else "INFO"
        message = self._shown(end.message)
        self._add(end.run_id, Line(message=message, level=level, at=self.clock.now()))
        self._add(end.run_id, attrs.evolve(end, message=message))
        self.on_news()

    def is_pending(self, run_id: FlowRunId) -> bool:
        """Whether an end of the run is not confirmed yet."""
        with self.guard:
            run = self._runs.get(run_id)
            return run is not None and run.end is not None

    # --- for the sender ---

    def due(self) -> list[Due]:
        """Runs whose reports may be sent now; those that failed most often come last."""
        now = self.clock.monotonic()
        with self.guard:
            ready = [Due(run, tuple(run.lines)) for run in self._runs.values() if run.not_before <= now]
        return sorted(ready, key=lambda each: each.run.misses)

    def next_due(self) -> float | None:
        """Seconds until reports may be sent; None if there are none."""
        with self.guard:
            first = min((run.not_before for run in self._runs.values()), default=None)
        return None if first is None else max(0.0, first - self.clock.monotonic())

    def due_ends(self, due: Sequence[Due]) -> list[tuple[RunReports, End]]:
        """The ends that may be sent: those of runs without lines, or whose lines are not taken."""
        with self.guard:
            return [
                (each.run, each.run.end)
                for each in due
                if each.run.end is not None and (not each.run.lines or each.run.line_misses >= END_FIRST)
            ]

    def lines_sent(self, run: RunReports, lines: Sequence[Line]) -> None:
        """Forget the first lines of a run: they are written."""
        with self.guard:
            run.misses = run.line_misses = run.line_refusals = 0
            self._forget_lines(run, lines)

    def line_given_up(self, run: RunReports, line: Line) -> None:
        """Forget the first line of a run: it is not taken. The next one need not be tried as often."""
        with self.guard:
            self._forget_lines(run, [line])

    def end_settled(self, run: RunReports, end: End) -> None:
        """Forget an end: it is confirmed, or void."""
        with self.guard:
            if run.end is end:
                run.end = run.later_ends.popleft() if run.later_ends else None
            run.misses = 0
            self._tidy(run)

    def missed(self, run: RunReports, *, first: float = WAIT_FIRST, at_least: float = 0.0) -> None:
        """The run's reports were not taken: let them wait, ever longer, *at_least* so many seconds."""
        pause = max(min(at_least, WAIT_LAST), back_off(run.misses, first=first, last=WAIT_LAST))
        with self.guard:
            run.misses += 1
            run.not_before = self.clock.monotonic() + pause

    def hurry(self) -> None:
        """Try everything again at once."""
        with self.guard:
            for run in self._runs.values():
                run.not_before = 0.0

    # --- inside ---

    def _shown(self, message: str) -> str:
        """Cleaned before it is cut: half a secret would not be found."""
        return readable(self.clean(message))

    def _add(self, run_id: FlowRunId, report: Line | End) -> None:
        with self.guard:
            self.store.add(run_id, entry_of(report))
            self._put(run_id, report)

    def _put(self, run_id: FlowRunId, report: Line | End) -> None:
        run = self._runs.setdefault(run_id, RunReports(run_id))
        if isinstance(report, End):
            run.add_end(report)
            return
        run.lines.append(report)
        self._oldest.append((run, report))
        self._lines += 1
        self._bytes += size(report)
        while self._bytes > self.most_bytes and self._oldest:
            self._drop_oldest()

    def _drop_oldest(self) -> None:
        run, line = self._oldest.popleft()
        if run.lines and run.lines[0] is line:
            self.dropped += 1
            self._forget_lines(run, [line])

    def _forget_lines(self, run: RunReports, lines: Sequence[Line]) -> None:
        count = 0
        for line in lines:
            if run.lines and run.lines[0] is line:
                run.lines.popleft()
                self._bytes -= size(line)
                count += 1
        self._lines -= count
        if count and not run.is_empty:
            self.store.forget_lines(run.run_id, count)
        self._tidy(run)

    def _tidy(self, run: RunReports) -> None:
        if run.is_empty and self._runs.get(run.run_id) is run:
            del self._runs[run.run_id]
            self.store.forget(run.run_id)
        if not self._lines:
            self._oldest.clear()
        elif len(self._oldest) > 2 * self._lines + 1000:
            self._oldest = deque(_by_age(self._oldest))


def _by_age(oldest: Sequence[tuple[RunReports, Line]]) -> Iterator[tuple[RunReports, Line]]:
    """Those of *oldest* that are still there; the lines of a run are in its own order."""
    left = {id(run): len(run.lines) for run, _ in oldest}
    kept = []
    for run, line in reversed(oldest):
        if left[id(run)]:
            left[id(run)] -= 1
            kept.append((run, line))
    return reversed(kept)

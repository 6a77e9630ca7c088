"""Report to the Cloud what happened: log lines and ends, in batches, kept until they are confirmed."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Final

import attrs

from prefect.agent.domain.errors import CloudError, CloudUnavailable
from prefect.agent.domain.model.ends import End, EndKind, EndOutcome, EndVerdict
from prefect.agent.domain.model.flow_runs import FlowRunId
from prefect.agent.domain.model.planning import back_off
from prefect.agent.domain.model.reports import Line, RunReports, entry_of, read_entry, readable, size
from prefect.agent.domain.services.batches import in_halves
from prefect.agent.ports import events
from prefect.agent.ports.clock import Clock
from prefect.agent.ports.cloud_api import CloudApi, LogLine
from prefect.agent.ports.events import Event, EventSink
from prefect.agent.ports.reports import MemoryReports, ReportStore

MOST_BYTES: Final = 64 * 1024 * 1024
"""Log lines kept while the Cloud is away; beyond it the oldest are dropped, and counted. Ends are never dropped."""

LINES: Final = 500
"""Log lines in one request."""

ENDS: Final = 100
"""Ends in one call of the port."""

LINE_TRIES: Final = 10
"""How often lines of one run are tried before they are given up, if the Cloud answers at all."""

END_FIRST: Final = 2
"""After so many tries of its lines, the end of a run goes out before them."""

WAIT_FIRST, WAIT_LAST = 1.0, 300.0
"""Shortest and longest wait of a run whose reports are not taken, in seconds."""


def _nothing() -> None:
    pass


@attrs.define(kw_only=True)
class Outbox:
    """What the Cloud has yet to be told, a queue for each flow run. Any thread may add; one thread sends.

    Attributes:
        on_news: Called after each addition, to wake the sender.
        store: Keeps reports beyond the process.
        guard: A reentrant lock, if several threads add.
        dropped: How many log lines had no room.
    """

    clock: Clock
    agent_name: str = "agent"
    on_news: Callable[[], None] = _nothing
    store: ReportStore = attrs.field(factory=MemoryReports)
    guard: AbstractContextManager[Any] = attrs.field(factory=nullcontext)
    most_bytes: int = MOST_BYTES
    dropped: int = attrs.field(default=0, init=False)
    _runs: dict[FlowRunId, RunReports] = attrs.field(factory=dict, init=False)
    _bytes: int = attrs.field(default=0, init=False)

    def __len__(self) -> int:
        with self.guard:
            return sum(len(run.lines) + (run.end is not None) for run in self._runs.values())

    def load(self) -> int:
        """Take up what an earlier process could not send; return how many flow runs that concerns."""
        found = self.store.load()
        with self.guard:
            for run_id, entries in found.items():
                for report in (read_entry(run_id, entry) for entry in entries):
                    if report is not None:
                        self._put(run_id, report)
        return len(found)

    def log(self, run_id: FlowRunId, message: str, level: str = "INFO") -> None:
        """Put one entry on the flow run's log."""
        self._add(run_id, Line(message=readable(message), level=level, at=self.clock.now()))
        self.on_news()

    def end(self, end: End) -> None:
        """Log the end's message and carry the end out, unless the run belongs to another claim by then."""
        level = "ERROR" if end.kind is EndKind.FAILED else "INFO"
        message = readable(end.message)
        self._add(end.run_id, Line(message=message, level=level, at=self.clock.now()))
        self._add(end.run_id, attrs.evolve(end, message=message))
        self.on_news()

    def is_pending(self, run_id: FlowRunId) -> bool:
        """Whether an end of the run is not confirmed yet."""
        with self.guard:
            run = self._runs.get(run_id)
            return run is not None and run.end is not None

    # --- for the sender ---

    def due(self) -> list[RunReports]:
        """Runs whose reports may be sent now, as they are; those that failed most often come last."""
        now = self.clock.monotonic()
        with self.guard:
            ready = [run for run in self._runs.values() if run.not_before <= now]
        return sorted(ready, key=lambda run: run.misses)

    def next_due(self) -> float | None:
        """Seconds until reports may be sent; None if there are none."""
        with self.guard:
            times = [run.not_before for run in self._runs.values()]
        return max(0.0, min(times) - self.clock.monotonic()) if times else None

    def lines_sent(self, run: RunReports, lines: Sequence[Line]) -> None:
        """Forget the first lines of a run: they are written, or given up."""
        with self.guard:
            for line in lines:
                if run.lines and run.lines[0] is line:
                    run.lines.popleft()
                    self._bytes -= size(line)
            run.misses = run.line_misses = 0
            self._tidy(run)

    def end_settled(self, run: RunReports, end: End) -> None:
        """Forget an end: it is confirmed, or void."""
        with self.guard:
            if run.end is end:
                run.end = None
            run.misses = 0
            self._tidy(run)

    def missed(self, run: RunReports, *, first: float = WAIT_FIRST, at_least: float = 0.0) -> None:
        """The run's reports were not taken: let them wait, ever longer, *at_least* so many seconds."""
        pause = max(at_least, back_off(run.misses, first=first, last=WAIT_LAST, chance=0.5))
        with self.guard:
            run.misses += 1
            run.not_before = self.clock.monotonic() + pause

    def hurry(self) -> None:
        """Try everything again at once."""
        with self.guard:
            for run in self._runs.values():
                run.not_before = 0.0

    # --- inside ---

    def _add(self, run_id: FlowRunId, report: Line | End) -> None:
        with self.guard:
            self.store.add(run_id, entry_of(report))
            self._put(run_id, report)

    def _put(self, run_id: FlowRunId, report: Line | End) -> None:
        run = self._runs.setdefault(run_id, RunReports(run_id))
        if isinstance(report, End):
            run.end = report
            return
        run.lines.append(report)
        self._bytes += size(report)
        while self._bytes > self.most_bytes:
            self._drop_oldest()

    def _drop_oldest(self) -> None:
        oldest = min((run for run in self._runs.values() if run.lines), key=lambda run: run.lines[0].at)
        self._bytes -= size(oldest.lines.popleft())
        self.dropped += 1
        self._tidy(oldest)

    def _tidy(self, run: RunReports) -> None:
        if run.is_empty and self._runs.get(run.run_id) is run:
            del self._runs[run.run_id]
            self.store.forget(run.run_id)


@attrs.define(kw_only=True)
class SendReports:
    """Empty the outbox, as far as the Cloud takes it. No run waits for another's reports."""

    cloud: CloudApi
    outbox: Outbox
    tell: EventSink = events.ignore

    def __call__(self) -> int:
        """Send what is due, of each run its log before its end; return how many entries went out.

        Raises:
            CloudUnavailable: The Cloud is away; what was not sent is still in the outbox.
            Unauthorised: The key is not accepted; likewise.
        """
        due = self.outbox.due()
        sent = self._send_lines(due)
        ready = [run for run in due if run.end is not None and (not run.lines or run.line_misses >= END_FIRST)]
        return sent + self._send_ends(ready)

    # --- lines ---

    def _send_lines(self, due: Sequence[RunReports]) -> int:
        sent = 0
        for batch in _portions([(run, tuple(run.lines)) for run in due if run.lines]):
            sent += self._send_batch(batch)
        return sent

    def _send_batch(self, batch: Sequence[tuple[RunReports, Sequence[Line]]]) -> int:
        sent = 0

        def send(some: Sequence[tuple[RunReports, Sequence[Line]]]) -> None:
            nonlocal sent
            self.cloud.write_logs([self._line(run.run_id, line) for run, lines in some for line in lines])
            for run, lines in some:
                self.outbox.lines_sent(run, lines)
                sent += len(lines)

        def spoiled(culprit: tuple[RunReports, Sequence[Line]], problem: CloudError) -> None:
            self._lines_missed(*culprit, problem)

        in_halves(batch, send, spoiled)
        return sent

    def _lines_missed(self, run: RunReports, lines: Sequence[Line], problem: CloudError) -> None:
        level = "DEBUG" if run.line_misses else "WARNING"
        run.line_misses += 1
        message = f"Log lines of flow run {run.run_id} are not taken: {problem}"
        self.tell(Event(name=events.CLOUD_TROUBLE, level=level, message=message))
        if run.line_misses < LINE_TRIES or isinstance(problem, CloudUnavailable):
            self.outbox.missed(run, at_least=getattr(problem, "retry_after", None) or 0.0)
            return
        message = f"{len(lines)} log lines of flow run {run.run_id} are given up: {problem}"
        self.tell(Event(name=events.CLOUD_TROUBLE, level="ERROR", message=message))
        self.outbox.lines_sent(run, lines)

    def _line(self, run_id: FlowRunId, line: Line) -> LogLine:
        return LogLine(
            flow_run_id=run_id, message=line.message, level=line.level, name=self.outbox.agent_name, timestamp=line.at
        )

    # --- ends ---

    def _send_ends(self, ready: Sequence[RunReports]) -> int:
        done = 0
        for begin in range(0, len(ready), ENDS):
            done += self._send_some_ends([(run, run.end) for run in ready[begin : begin + ENDS] if run.end is not None])
        return done

    def _send_some_ends(self, ends: Sequence[tuple[RunReports, End]]) -> int:
        done = 0

        def send(some: Sequence[tuple[RunReports, End]]) -> None:
            nonlocal done
            outcomes = self.cloud.end([end for _, end in some])
            for (run, end), outcome in zip(some, outcomes, strict=True):
                done += self._take(run, end, outcome)

        def spoiled(culprit: tuple[RunReports, End], problem: CloudError) -> None:
            self._take(*culprit, EndOutcome(verdict=EndVerdict.UNKNOWN, reason=str(problem)))

        in_halves(ends, send, spoiled)
        return done

    def _take(self, run: RunReports, end: End, outcome: EndOutcome) -> bool:
        """Whether the end is settled or void."""
        if outcome.verdict is EndVerdict.SETTLED:
            self._say_ended(end)
        elif outcome.verdict is EndVerdict.NOT_OURS:
            message = f"Flow run {end.run_id} belongs to another claim by now; this is not reported: {end.message}"
            self.tell(Event(name=events.RUN_DROPPED, message=message, fields={"flow_run_id": end.run_id}))
        else:
            refused = outcome.verdict is EndVerdict.REFUSED
            message = f"The end of flow run {end.run_id} is not confirmed yet: {outcome.reason}"
            level = "DEBUG" if run.misses else "ERROR" if refused else "WARNING"
            self.tell(Event(name=events.CLOUD_TROUBLE, level=level, message=message))
            self.outbox.missed(run, first=60.0 if refused else WAIT_FIRST)
            return False
        self.outbox.end_settled(run, end)
        return True

    def _say_ended(self, end: End) -> None:
        fields = {"flow_run_id": end.run_id, "unit": end.unit}
        if end.kind is EndKind.FAILED:
            message = f"Flow run {end.run_id} failed: {end.message}"
            self.tell(Event(name=events.RUN_FAILED, level="ERROR", message=message, fields=fields))
        elif end.kind is EndKind.HANDED_BACK:
            message = f"Flow run {end.run_id} was handed back: {end.message}"
            self.tell(Event(name=events.RUN_DROPPED, level="WARNING", message=message, fields=fields))


def _portions(
    runs: Sequence[tuple[RunReports, Sequence[Line]]],
) -> list[list[tuple[RunReports, Sequence[Line]]]]:
    """Runs with their lines, put together to requests of about :data:`LINES` lines, in the order of each run."""
    portions: list[list[tuple[RunReports, Sequence[Line]]]] = []
    count = LINES
    for run, lines in runs:
        for begin in range(0, len(lines), LINES):
            part = lines[begin : begin + LINES]
            if count + len(part) > LINES or portions[-1][-1][0] is run:
                portions.append([])
                count = 0
            portions[-1].append((run, part))
            count += len(part)
    return portions

"""Report to the Cloud what happened: log lines and ends, in batches, each run by itself."""

from collections import deque
from collections.abc import Sequence
from datetime import timedelta
from typing import Final

import attrs

from prefect.agent.domain.errors import CloudError, CloudUnavailable, Unauthorised, asked_to_wait
from prefect.agent.domain.model.ends import End, EndKind, EndOutcome, EndVerdict
from prefect.agent.domain.model.explaining import span
from prefect.agent.domain.model.flow_runs import FlowRunId
from prefect.agent.domain.model.reports import Due, Line, RunReports, size
from prefect.agent.domain.model.states import Outcome
from prefect.agent.domain.services.batches import in_halves
from prefect.agent.domain.services.outbox import WAIT_FIRST, Outbox
from prefect.agent.ports import events
from prefect.agent.ports.cloud_api import CloudApi, LogLine
from prefect.agent.ports.events import Event, EventSink

__all__ = ["Outbox", "SendReports"]

LINES: Final = 500
"""Log lines in one request."""

REQUEST_BYTES: Final = 1024 * 1024
"""Log lines in one request, in bytes; one line alone may be longer."""

ENDS: Final = 100
"""Ends in one call of the port."""

LINE_TRIES: Final = 10
"""After so many refusals the first line of a run is given up; tries while the Cloud is away do not count."""

REFUSED_FIRST: Final = 60.0
"""Shortest wait of an end that the Cloud calls wrong, in seconds."""

Lines = tuple[RunReports, tuple[Line, ...]]
"""The first lines of a run's queue."""


@attrs.define(kw_only=True)
class SendReports:
    """Empty the outbox, as far as the Cloud takes it. No run waits for another's reports."""

    cloud: CloudApi
    outbox: Outbox
    tell: EventSink = events.ignore
    _told_dropped: int = attrs.field(default=0, init=False)

    def __call__(self) -> int:
        """Send what is due, of each run its log before its end; return how many entries went out.

        Raises:
            CloudUnavailable: The Cloud is away; what was not sent is still in the outbox.
            Unauthorised: The key is not accepted; likewise.
        """
        self._say_what_is_lost()
        due = self.outbox.due()
        sent, problem = self._send_lines(due)
        ends = self._send_ends(self.outbox.due_ends(due))
        if problem is not None:
            if not ends:
                raise problem
            now = self.outbox.clock.monotonic()
            for each in due:  # the Cloud takes ends, and no lines
                if each.run.lines and each.run.not_before <= now:
                    self.outbox.missed(each.run)
        return sent + ends

    # --- lines ---

    def _send_lines(self, due: Sequence[Due]) -> tuple[int, CloudError | None]:
        """How many lines went out, and what kept those from going out that were not tried."""
        sent = 0
        queues = [(each.run, deque(each.lines)) for each in due if each.lines]
        while queues:
            firsts = [(run, _first(lines)) for run, lines in queues]
            taken, problem = self._send_firsts(firsts)
            sent += sum(len(lines) for run, lines in firsts if id(run) in taken)
            if problem is not None:
                return sent, problem
            queues = [(run, lines) for run, lines in queues if lines and id(run) in taken]
        return sent, None

    def _send_firsts(self, firsts: Sequence[Lines]) -> tuple[set[int], CloudError | None]:
        """Send the first lines of some runs; return the ids of the runs of which all are taken, and what ended it."""
        taken: set[int] = set()
        accused: set[int] = set()

        def send(some: Sequence[Lines]) -> None:
            self._write(some)
            taken.update(id(run) for run, _ in some)

        def spoiled(culprit: Lines, problem: CloudError, sure: bool) -> None:  # noqa: FBT001 - as in_halves calls it
            accused.add(id(culprit[0]))
            self._lines_missed(*culprit, problem, sure=sure)

        try:
            in_halves(_portions(firsts), send, spoiled)
        except Unauthorised:
            raise
        except CloudError as problem:
            tried = taken | accused
            for run, _ in firsts:
                run.line_misses += id(run) not in tried
            return taken, problem
        return taken, None

    def _write(self, some: Sequence[Lines]) -> None:
        self.cloud.write_logs([self._line(run.run_id, line) for run, lines in some for line in lines])
        for run, lines in some:
            self.outbox.lines_sent(run, lines)

    def _lines_missed(self, run: RunReports, lines: tuple[Line, ...], problem: CloudError, *, sure: bool) -> None:
        if sure:
            lines, problem = self._narrow(run, lines, problem)
        run.line_misses += 1
        run.line_refusals += sure
        if sure and run.line_refusals >= LINE_TRIES:
            message, fields = f"A log line of flow run {run.run_id} is given up: {problem}", {"flow_run_id": run.run_id}
            self.tell(Event(name=events.CLOUD_TROUBLE, level="ERROR", message=message, fields=fields))
            self.outbox.line_given_up(run, lines[0])
            return
        level = "WARNING" if sure and run.line_refusals == 1 else "DEBUG"
        message, fields = f"Log lines of flow run {run.run_id} are not taken: {problem}", {"flow_run_id": run.run_id}
        self.tell(Event(name=events.CLOUD_TROUBLE, level=level, message=message, fields=fields))
        self.outbox.missed(run, at_least=asked_to_wait(problem))

    def _narrow(
        self, run: RunReports, lines: tuple[Line, ...], problem: CloudError
    ) -> tuple[tuple[Line, ...], CloudError]:
        """Send the lines of one run as far as the first that is not taken; return what is left, and its error."""
        while len(lines) > 1:
            half = lines[: len(lines) // 2]
            try:
                self._write([(run, half)])
                lines = lines[len(half) :]
            except Unauthorised:
                raise
            except CloudError as other:
                lines, problem = half, other
        return lines, problem

    def _line(self, run_id: FlowRunId, line: Line) -> LogLine:
        return LogLine(
            flow_run_id=run_id,
            message=line.message,
            level=line.level,
            name=self.outbox.agent_name,
            timestamp=line.at + timedelta(seconds=self.cloud.skew),
        )

    # --- ends ---

    def _send_ends(self, ready: Sequence[tuple[RunReports, End]]) -> int:
        done = 0
        known: set[int] = set()

        def send(some: Sequence[tuple[RunReports, End]]) -> None:
            """One request for what is not known yet. One of these may spoil it for all: then the batch has failed."""
            nonlocal done
            some = [item for item in some if id(item) not in known]
            outcomes = self.cloud.end([end for _, end in some]) if some else []
            for item, outcome in zip(some, outcomes, strict=True):
                if outcome.verdict is not EndVerdict.UNKNOWN:
                    known.add(id(item))
                    done += self._take(*item, outcome)
            unknown = [outcome.reason for outcome in outcomes if outcome.verdict is EndVerdict.UNKNOWN]
            if unknown:
                raise CloudUnavailable(unknown[0])

        def spoiled(culprit: tuple[RunReports, End], problem: CloudError, _sure: bool) -> None:  # noqa: FBT001
            wait = asked_to_wait(problem)
            self._take(*culprit, EndOutcome(verdict=EndVerdict.UNKNOWN, reason=str(problem)), at_least=wait)

        in_halves([ready[begin : begin + ENDS] for begin in range(0, len(ready), ENDS)], send, spoiled)
        return done

    def _take(self, run: RunReports, end: End, outcome: EndOutcome, *, at_least: float = 0.0) -> bool:
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
            fields = {"flow_run_id": end.run_id}
            self.tell(Event(name=events.CLOUD_TROUBLE, level=level, message=message, fields=fields))
            self.outbox.missed(run, first=REFUSED_FIRST if refused else WAIT_FIRST, at_least=at_least)
            return False
        self.outbox.end_settled(run, end)
        return True

    # --- words ---

    def _say_ended(self, end: End) -> None:
        fields: dict[str, object] = {"flow_run_id": end.run_id, "unit": end.unit}
        if end.lasted is not None:
            fields["duration_s"] = round(end.lasted, 3)
        after = "" if end.lasted is None else f" after {span(timedelta(seconds=end.lasted))}"
        if end.kind is EndKind.CANCELLED:
            fields["state"] = Outcome.CANCELLED.value.capitalize()
            message = f"Flow run {end.run_id} ended as {fields['state']}{after}: {end.message}"
            self.tell(Event(name=events.RUN_ENDED, message=message, fields=fields))
        elif end.kind is EndKind.FAILED:
            message = f"Flow run {end.run_id} failed{after}: {end.message}"
            self.tell(Event(name=events.RUN_FAILED, level="ERROR", message=message, fields=fields))
        elif end.kind is EndKind.HANDED_BACK:
            message = f"Flow run {end.run_id} was handed back: {end.message}"
            self.tell(Event(name=events.RUN_DROPPED, level="WARNING", message=message, fields=fields))

    def _say_what_is_lost(self) -> None:
        dropped, problem = self.outbox.dropped, self.outbox.store.problem
        if dropped > self._told_dropped:
            message = f"{dropped - self._told_dropped} log lines had no room in the outbox: the oldest are dropped"
            self._tell_loss(message)
            self._told_dropped = dropped
        if problem and not self.outbox.told_problem:
            self.outbox.told_problem = problem
            self._tell_loss(f"Reports that are not sent are lost if this process is: {problem}")

    def _tell_loss(self, message: str) -> None:
        self.tell(Event(name=events.REPORTS_AT_RISK, level="WARNING", message=message))


def _first(lines: deque[Line]) -> tuple[Line, ...]:
    """Take as many of *lines* from the left as one request holds, one at least."""
    taken: list[Line] = []
    room = REQUEST_BYTES
    while lines and len(taken) < LINES and (not taken or size(lines[0]) <= room):
        taken.append(lines.popleft())
        room -= size(taken[-1])
    return tuple(taken)


def _portions(firsts: Sequence[Lines]) -> list[list[Lines]]:
    """Runs put together to requests; the lines of one run stay in one."""
    portions: list[list[Lines]] = []
    count, room = LINES, 0
    for run, lines in firsts:
        needs = sum(size(line) for line in lines)
        if count + len(lines) > LINES or needs > room:
            portions.append([])
            count, room = 0, REQUEST_BYTES
        portions[-1].append((run, lines))
        count, room = count + len(lines), room - needs
    return portions

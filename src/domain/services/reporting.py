"""Tell the Cloud what happened: log lines and ends, in batches, kept until they are accepted."""

from collections import deque
from collections.abc import Callable
from typing import Final

import attrs

from prefect.agent.domain.errors import CloudUnavailable, OutcomeUnknown, RequestRejected
from prefect.agent.domain.model.flow_runs import FlowRunId
from prefect.agent.ports import events
from prefect.agent.ports.clock import Clock
from prefect.agent.ports.cloud_api import CloudApi, LogLine
from prefect.agent.ports.events import Event, EventSink

BATCH: Final = 500
MOST_LINES: Final = 50_000
"""Log lines kept while the Cloud is away; beyond it the oldest go. Ends are never dropped."""


@attrs.frozen
class Failed:
    """The flow run cannot go on."""

    run_id: FlowRunId
    reason: str


@attrs.frozen
class Cancelled:
    """The flow run's unit is proven gone."""

    run_id: FlowRunId
    message: str


def _nothing() -> None:
    pass


@attrs.define(kw_only=True)
class Outbox:
    """What the Cloud has yet to be told. Any thread may add; one thread sends.

    Attributes:
        on_news: Called after each addition, to wake the sender.
    """

    clock: Clock
    agent_name: str = "agent"
    on_news: Callable[[], None] = _nothing
    lines: deque[LogLine] = attrs.field(factory=lambda: deque(maxlen=MOST_LINES), init=False)
    ends: deque[Failed | Cancelled] = attrs.field(factory=deque, init=False)

    def __len__(self) -> int:
        return len(self.lines) + len(self.ends)

    def put_back(self, batch: list[LogLine]) -> None:
        """Lines that were not sent after all: the newest of them for which there is still room."""
        room = MOST_LINES - len(self.lines)
        self.lines.extendleft(reversed(batch[len(batch) - room :] if room < len(batch) else batch))

    def log(self, run_id: FlowRunId, message: str, level: str = "INFO") -> None:
        """Put one entry on the flow run's log."""
        line = LogLine(
            flow_run_id=run_id, message=message, level=level, name=self.agent_name, timestamp=self.clock.now()
        )
        self.lines.append(line)
        self.on_news()

    def fail(self, run_id: FlowRunId, reason: str) -> None:
        """Log *reason* as an error and make the run Failed."""
        self.log(run_id, reason, "ERROR")
        self.ends.append(Failed(run_id, reason))
        self.on_news()

    def cancelled(self, run_id: FlowRunId, message: str) -> None:
        """Log *message* and make the run Cancelled."""
        self.log(run_id, message)
        self.ends.append(Cancelled(run_id, message))
        self.on_news()


@attrs.define(kw_only=True)
class SendReports:
    """Empty the outbox, as far as the Cloud takes it."""

    cloud: CloudApi
    outbox: Outbox
    tell: EventSink = events.ignore

    def __call__(self) -> int:
        """Send what is there, of each run its log before its end; return how many entries went out.

        Raises:
            CloudUnavailable: The Cloud is away; what was not sent is still in the outbox.
            Unauthorised: The key is not accepted; likewise.
        """
        ends = len(self.outbox.ends)  # of these the lines are there: what is added from now on is for the next time
        return self._send_lines() + self._send_ends(ends)

    def _send_lines(self) -> int:
        sent = 0
        while self.outbox.lines:
            batch = [self.outbox.lines.popleft() for _ in range(min(BATCH, len(self.outbox.lines)))]
            try:
                self._write(batch)
            except BaseException:
                self.outbox.put_back(batch)
                raise
            sent += len(batch)
        return sent

    def _write(self, batch: list[LogLine]) -> None:
        try:
            self.cloud.write_logs(batch)
        except OutcomeUnknown as trouble:
            # Told once is enough: a line twice in a log is worse than a line less.
            self.tell(
                Event(name=events.CLOUD_TROUBLE, level="WARNING", message=f"Log lines without an answer: {trouble}")
            )
        except RequestRejected as trouble:
            if len(batch) > 1:
                for line in batch:
                    self._write([line])
                return
            message = f"The Cloud refuses a log line of flow run {batch[0].flow_run_id}: {trouble}"
            self.tell(Event(name=events.CLOUD_TROUBLE, level="WARNING", message=message))

    def _send_ends(self, number: int) -> int:
        for _ in range(number):
            end = self.outbox.ends[0]
            try:
                self._end(end)
            except OutcomeUnknown as trouble:
                raise CloudUnavailable(str(trouble)) from trouble
            except RequestRejected as trouble:
                message = f"The Cloud refuses the end of flow run {end.run_id}: {trouble}"
                self.tell(Event(name=events.CLOUD_TROUBLE, level="ERROR", message=message))
            self.outbox.ends.popleft()
        return number

    def _end(self, end: Failed | Cancelled) -> None:
        if isinstance(end, Cancelled):
            self.cloud.cancelled(end.run_id, end.message)
        else:
            self.cloud.fail(end.run_id, end.reason)
            message = f"Flow run {end.run_id} failed: {end.reason}"
            self.tell(Event(name=events.RUN_FAILED, level="ERROR", message=message, fields={"flow_run_id": end.run_id}))

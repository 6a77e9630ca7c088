"""An outbox, its sender, and a Cloud that can dislike single lines and ends: all in one thread."""

from collections.abc import Sequence

import attrs

from prefect.agent.adapters.fakes import InMemoryCloudApi, ManualClock
from prefect.agent.domain.errors import CloudError, CloudUnavailable
from prefect.agent.domain.model.ends import End, EndKind, EndOutcome, EndVerdict
from prefect.agent.domain.model.flow_runs import FlowRunId
from prefect.agent.domain.model.units import unit_name
from prefect.agent.domain.services.outbox import Outbox
from prefect.agent.domain.services.reporting import SendReports
from prefect.agent.ports.cloud_api import ClaimRequest, LogLine
from prefect.agent.ports.reports import MemoryReports, ReportStore
from support.builders import Heard, a_record

AWAY = CloudUnavailable("502")


class PickyCloud(InMemoryCloudApi):
    """Answers every request that has something bad in it with an error, as a filter before a Cloud does.

    Attributes:
        bad_line: What a log line must not have in it; empty for nothing.
        bad_ends: Runs whose ends spoil every request.
        loses_ends: Whether a spoiled request for ends leaves their outcomes unknown, in place of an error.
        refused: Runs whose ends are refused, each by itself.
        error: What a spoiled request is answered with.
        sizes: How many lines or ends each request had.
    """

    def __init__(self, clock: ManualClock) -> None:
        super().__init__(clock)
        self.bad_line = ""
        self.bad_ends: set[FlowRunId] = set()
        self.refused: set[FlowRunId] = set()
        self.loses_ends = False
        self.error: CloudError = AWAY
        self.sizes: list[int] = []
        self.ended: list[FlowRunId] = []

    def write_logs(self, lines: Sequence[LogLine]) -> None:
        """Like the Cloud's."""
        self.sizes.append(len(lines))
        if self.bad_line and any(self.bad_line in line.message for line in lines):
            raise self.error
        super().write_logs(lines)

    def end(self, ends: Sequence[End]) -> Sequence[EndOutcome]:
        """Like the Cloud's."""
        self.sizes.append(len(ends))
        if any(end.run_id in self.bad_ends for end in ends):
            if self.loses_ends:
                return [EndOutcome(verdict=EndVerdict.UNKNOWN, reason=str(self.error)) for _ in ends]
            raise self.error
        self.ended += [end.run_id for end in ends]
        refused = EndOutcome(verdict=EndVerdict.REFUSED, reason="invalid")
        return [refused if end.run_id in self.refused else super(PickyCloud, self).end([end])[0] for end in ends]


@attrs.define
class ReportingHarness:
    """An outbox, its sender and the Cloud."""

    store: ReportStore = attrs.field(factory=MemoryReports)
    clock: ManualClock = attrs.field(factory=lambda: ManualClock(auto=True))
    heard: Heard = attrs.field(factory=Heard)
    cloud: PickyCloud = attrs.field(init=False)
    outbox: Outbox = attrs.field(init=False)
    send: SendReports = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self.cloud = PickyCloud(self.clock)
        self.restart(self.store)

    def restart(self, store: ReportStore) -> int:
        """Another process, with a memory of its own; how many runs it takes up."""
        self.store = store
        self.outbox = Outbox(clock=self.clock, agent_name="ann", store=store)
        self.send = SendReports(cloud=self.cloud, outbox=self.outbox, tell=self.heard)
        return self.outbox.load()

    def claimed(self, state: str = "Submitted") -> FlowRunId:
        """A run that this agent has claimed."""
        run_id = self.cloud.add_flow_run()
        [run] = self.cloud.flow_runs([run_id])
        self.cloud.claim([ClaimRequest(run=run, record=a_record(run))])
        if state != "Submitted":
            self.cloud.set_state(run_id, state)
        return run_id

    def end(self, run_id: FlowRunId, message: str = "broken", kind: EndKind = EndKind.FAILED) -> None:
        """Put an end for the run's claim as it is now."""
        [run] = self.cloud.flow_runs([run_id])
        unit = run.claim.unit if run.claim else unit_name(run.id, run.attempt)
        self.outbox.end(End(run_id=run_id, unit=unit, kind=kind, message=message))

    def sends(self, times: int, every: float = 0.0) -> list[CloudError]:
        """Send so often, with pauses; the errors."""
        problems: list[CloudError] = []
        for _ in range(times):
            try:
                self.send()
            except CloudError as problem:
                problems.append(problem)
            self.clock.advance(every)
        return problems

    def state(self, run_id: FlowRunId) -> str:
        """The run's state."""
        return self.cloud.flow_run(run_id).state

    def messages(self, run_id: FlowRunId) -> list[str]:
        """The log of a run."""
        return [line.message for line in self.cloud.logs(run_id)]

    def levels(self, name: str) -> list[str]:
        """Levels of the events of that name."""
        return [event.level for event in self.heard.events if event.name == name]

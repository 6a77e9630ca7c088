"""Agents that claim at one Cloud in memory, which may be picky or loose."""

from collections.abc import Sequence

import attrs

from prefect.agent.adapters.fakes import InMemoryCloudApi, ManualClock
from prefect.agent.domain.errors import CloudError, RequestRejected
from prefect.agent.domain.model.flow_runs import ClaimOutcome, FlowRun, FlowRunId
from prefect.agent.domain.model.leases import Claimant
from prefect.agent.domain.services.claiming import ClaimFlowRuns
from prefect.agent.ports.cloud_api import ClaimRequest
from support.builders import Heard


class PickyCloud(InMemoryCloudApi):
    """Refuses a whole request if one run is in it; may not compare and set."""

    bad: FlowRunId | None = None
    error: CloudError = RequestRejected("no")
    """What a request with the bad run is answered with."""
    is_loose = False
    asked = 0
    """Requests with claims that came, refused ones too."""
    lead: float = 0.0
    """Seconds that its clock is ahead."""

    @property
    def compares(self) -> bool:
        """Whether claims are compared."""
        return not self.is_loose

    @property
    def skew(self) -> float:
        """As the agent has measured it."""
        return self.lead

    def claim(self, requests: Sequence[ClaimRequest]) -> Sequence[ClaimOutcome]:
        """Like the Cloud's."""
        self.asked += 1
        if any(request.run.id == self.bad for request in requests):
            raise self.error
        return super().claim([self._at_present(each) for each in requests] if self.is_loose else requests)

    def _at_present(self, request: ClaimRequest) -> ClaimRequest:
        """As a Cloud reads a request that ignores what the claimant has seen."""
        [now] = self.flow_runs([request.run.id])
        return attrs.evolve(request, run=attrs.evolve(request.run, attempt=now.attempt))


@attrs.define
class Claimers:
    """Agents and their Cloud."""

    clock: ManualClock = attrs.field(factory=lambda: ManualClock(auto=True))
    cloud: PickyCloud = attrs.field(init=False)
    heard: Heard = attrs.field(factory=Heard)

    def __attrs_post_init__(self) -> None:
        self.cloud = PickyCloud(self.clock)

    def claimer(self, name: str = "agent-1") -> ClaimFlowRuns:
        """One agent process."""
        claimant = Claimant(id=name, platform="memory:1", agent_name="ann", place=f"at {name}", fingerprint="same")
        return ClaimFlowRuns(cloud=self.cloud, clock=self.clock, claimant=claimant, create_within=90, tell=self.heard)

    def runs(self, count: int) -> list[FlowRun]:
        """Runs that are ready."""
        for _ in range(count):
            self.cloud.add_flow_run()
        found = self.cloud.ready_flow_runs(labels=[], before=self.clock.now(), limit=100)
        return list(found)


def kinds(outcomes: Sequence[ClaimOutcome]) -> list[type]:
    """What came of each claim."""
    return [type(outcome) for outcome in outcomes]

"""A platform that may be slow or away, a Cloud, and the way from one to the other."""

from collections.abc import Callable

import attrs

from prefect.agent.adapters.fakes import InMemoryCloudApi, InMemoryPlatform, ManualClock
from prefect.agent.domain.errors import (
    PlatformUnavailable,
)
from prefect.agent.domain.model.ends import End, EndKind, EndOutcome, EndVerdict
from prefect.agent.domain.model.flow_runs import Claimed, FlowRun, FlowRunId
from prefect.agent.domain.model.leases import Claimant
from prefect.agent.domain.model.submissions import Submission
from prefect.agent.domain.model.units import Unit
from prefect.agent.domain.services.claiming import ClaimFlowRuns
from prefect.agent.domain.services.gate import PlatformGate
from prefect.agent.domain.services.reporting import Outbox
from prefect.agent.domain.services.submission import CreateUnit, StartFlowRun
from prefect.agent.domain.services.work_in_hand import WorkInHand
from support.builders import Heard


class SlowPlatform(InMemoryPlatform):
    """Preparing and creating take their time.

    Attributes:
        pull, start: Seconds that it takes to prepare and to create.
        meanwhile: Happens at the end of either.
    """

    pull = start = 0.0
    meanwhile: Callable[[], object] = staticmethod(lambda: None)

    def prepare(self, submission: Submission) -> None:
        """Like a pull of an image."""
        self._pass(self.pull)
        super().prepare(submission)

    def create(self, submission: Submission) -> Unit:
        """Like an engine under load."""
        self._pass(self.start)
        return super().create(submission)

    def _pass(self, seconds: float) -> None:
        if seconds and isinstance(self._clock, ManualClock):
            self._clock.advance(seconds)
            self.meanwhile()


@attrs.define
class SubmissionHarness:
    """A platform, a Cloud, and the way from one to the other."""

    clock: ManualClock = attrs.field(factory=lambda: ManualClock(auto=True))
    heard: Heard = attrs.field(factory=Heard)
    work: WorkInHand = attrs.field(factory=WorkInHand)
    cloud: InMemoryCloudApi = attrs.field(init=False)
    platform: SlowPlatform = attrs.field(init=False)
    gate: PlatformGate = attrs.field(init=False)
    claim: ClaimFlowRuns = attrs.field(init=False)
    create: CreateUnit = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self.cloud = InMemoryCloudApi(self.clock)
        self.platform = SlowPlatform(clock=self.clock)
        self.gate = PlatformGate(platform=self.platform, clock=self.clock)
        self.claim = self.claimer("a")
        self.create = CreateUnit(
            cloud=self.cloud,
            platform=self.platform,
            clock=self.clock,
            gate=self.gate,
            work=self.work,
            env={"A": "1"},
            agent_name="ann",
            labels=["x"],
            deadline=120,
            tell=self.heard,
        )

    def claimer(self, name: str, fingerprint: str = "same") -> ClaimFlowRuns:
        """One agent process; its claims last two minutes."""
        here = Claimant(id=name, platform=self.platform.identity, fingerprint=fingerprint)
        return ClaimFlowRuns(cloud=self.cloud, clock=self.clock, claimant=here)

    def claimed(self, run_id: FlowRunId | None = None) -> FlowRun:
        """A run that is in the Cloud and claimed."""
        return self.claims(run_id).run

    def claims(self, run_id: FlowRunId | None = None) -> Claimed:
        """A claim of a run that is in the Cloud."""
        [outcome] = self.claim(self.cloud.flow_runs([run_id or self.cloud.add_flow_run()]))
        assert isinstance(outcome, Claimed)
        return outcome

    def away(self, *, times: int = 1000) -> None:
        """Let the platform answer nothing."""
        for method in ("check", "create", "prepare"):
            self.platform.fail_next(method, PlatformUnavailable("away"), times=times)

    def hand_back(self, run: FlowRun) -> None:
        """Another agent gives the claim back after its lease."""
        assert run.claim is not None
        end = End(run_id=run.id, unit=run.claim.unit, kind=EndKind.HANDED_BACK, message="expired")
        assert self.cloud.end([end]) == [EndOutcome(verdict=EndVerdict.SETTLED)]

    def starting(self) -> tuple[StartFlowRun, Outbox]:
        """What starts claims here, and where its reports are."""
        outbox = Outbox(clock=self.clock)
        start = StartFlowRun(create=self.create, clock=self.clock, outbox=outbox, work=self.work, tell=self.heard)
        return start, outbox

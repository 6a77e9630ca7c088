"""A Cloud, a platform, and one agent's sweep between them: everything in memory and in one thread."""

from collections.abc import Callable

import attrs

from prefect.agent.adapters.fakes import InMemoryCloudApi, InMemoryPlatform, ManualClock
from prefect.agent.domain.model.flow_runs import Claimed, FlowRunId
from prefect.agent.domain.model.settings import AgentSettings
from prefect.agent.domain.services.claiming import ClaimFlowRuns
from prefect.agent.domain.services.reconciliation import Reconcile
from prefect.agent.domain.services.reporting import Outbox, SendReports
from prefect.agent.domain.services.submission import CreateUnit
from unit.builders import Heard


@attrs.define
class World:
    """A Cloud, a platform and an agent's sweep between them."""

    clock: ManualClock = attrs.field(factory=lambda: ManualClock(auto=True))
    heard: Heard = attrs.field(factory=Heard)
    in_hand: set[FlowRunId] = attrs.field(factory=set)
    settings: AgentSettings = attrs.field(factory=lambda: AgentSettings(cancel_grace=60, keep_ended=300))
    pending: bool = False
    is_busy: bool = False
    is_closed: bool = False
    later: list[Callable[[], None]] = attrs.field(factory=list)
    """Background work that waits because the background is busy."""
    cloud: InMemoryCloudApi = attrs.field(init=False)
    platform: InMemoryPlatform = attrs.field(init=False)
    outbox: Outbox = attrs.field(init=False)
    sweep: Reconcile = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self.cloud = InMemoryCloudApi(self.clock)
        self.platform = InMemoryPlatform(clock=self.clock, pending=self.pending)
        self.outbox = Outbox(clock=self.clock)
        self.sweep = self.agent()

    def agent(self) -> Reconcile:
        """A new process: it remembers nothing."""
        return Reconcile(
            cloud=self.cloud,
            platform=self.platform,
            clock=self.clock,
            outbox=self.outbox,
            settings=self.settings,
            recover=self.recover,
            in_hand=self.in_hand.__contains__,
            background=self.background,
            tell=self.heard,
        )

    def background(self, work: Callable[[], None]) -> None:
        """Do *work* at once, unless the background is busy or takes none."""
        if self.is_closed:
            raise RuntimeError("no thread")
        if self.is_busy:
            self.later.append(work)
        else:
            work()

    def claim(self, run_id: FlowRunId | None = None) -> Claimed:
        """Claim a run for this platform."""
        run_id = run_id or self.cloud.add_flow_run()
        claim = ClaimFlowRuns(cloud=self.cloud, clock=self.clock, claimant="a", platform=self.platform.identity)
        [outcome] = claim(self.cloud.flow_runs([run_id]))
        assert isinstance(outcome, Claimed)
        return outcome

    def create(self, claimed: Claimed) -> str:
        """Create the unit of a claim; return its name."""
        return CreateUnit(cloud=self.cloud, platform=self.platform, clock=self.clock)(claimed.run).name

    def recover(self, claimed: Claimed) -> None:
        """What the engine does with a claim that has no unit."""
        self.create(claimed)

    def started(self, state: str = "Running") -> tuple[FlowRunId, str]:
        """A run with its unit, in some state."""
        claimed = self.claim()
        name = self.create(claimed)
        if state != "Submitted":
            self.cloud.set_state(claimed.run.id, state)
        return claimed.run.id, name

    def turn(self) -> None:
        """One sweep, and everything is sent."""
        self.sweep()
        SendReports(cloud=self.cloud, outbox=self.outbox, tell=self.heard)()

    def state(self, run_id: FlowRunId) -> str:
        """The run's state."""
        return self.cloud.flow_run(run_id).state

    def log(self, run_id: FlowRunId) -> str:
        """The run's log as one text."""
        return "\n".join(line.message for line in self.cloud.logs(run_id))

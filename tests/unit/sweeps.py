"""A Cloud, a platform, and one agent's sweep between them: everything in memory and in one thread."""

from collections.abc import Callable, Sequence

import attrs

from prefect.agent.adapters.fakes import InMemoryCloudApi, InMemoryPlatform, InMemoryPresence, ManualClock
from prefect.agent.domain.model.flow_runs import Claimed, FlowRun, FlowRunId
from prefect.agent.domain.model.leases import Claimant
from prefect.agent.domain.model.settings import AgentSettings
from prefect.agent.domain.model.units import Owner, owner
from prefect.agent.domain.services.claiming import ClaimFlowRuns
from prefect.agent.domain.services.claims_view import ClaimsView
from prefect.agent.domain.services.gate import PlatformGate
from prefect.agent.domain.services.reconciliation import Reconcile
from prefect.agent.domain.services.recovering import RecoverClaims
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
    recovers: bool = True
    presence: InMemoryPresence = attrs.field(factory=InMemoryPresence)
    cloud: InMemoryCloudApi = attrs.field(init=False)
    platform: InMemoryPlatform = attrs.field(init=False)
    outbox: Outbox = attrs.field(init=False)
    sweep: Reconcile = attrs.field(init=False)
    claims: ClaimFlowRuns = attrs.field(init=False)
    recovery: RecoverClaims = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self.cloud = InMemoryCloudApi(self.clock)
        self.platform = InMemoryPlatform(clock=self.clock, pending=self.pending)
        self.outbox = Outbox(clock=self.clock)
        self.sweep = self.agent()

    def agent(self, name: str = "a", fingerprint: str = "same") -> Reconcile:
        """A new process: it remembers nothing, and the one before it is gone."""
        here = Claimant(
            id=f"{name}/{next(self.presence.numbers)}",
            platform=self.platform.identity,
            place=self.presence.new_place(),
            fingerprint=fingerprint,
        )
        self.claims = ClaimFlowRuns(cloud=self.cloud, clock=self.clock, claimant=here, tell=self.heard)
        gate = PlatformGate(platform=self.platform, clock=self.clock)
        self.recovery = RecoverClaims(
            claim=self.claims,
            platform=self.platform,
            clock=self.clock,
            outbox=self.outbox,
            gate=gate,
            presence=self.presence,
            recovers=self.recovers,
            tell=self.heard,
        )
        return Reconcile(
            cloud=self.cloud,
            platform=self.platform,
            clock=self.clock,
            outbox=self.outbox,
            settings=self.settings,
            owner=self.owner,
            view=ClaimsView(cloud=self.cloud, clock=self.clock, platforms=[self.platform.identity]),
            recover=self.recover,
            in_hand=self.in_hand.__contains__,
            judges_absence=self.recovers,
            background=self.background,
            tell=self.heard,
        )

    @property
    def owner(self) -> Owner:
        """The marks of the agent's units."""
        return owner(self.cloud.identity, "agent", ())

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
        [outcome] = self.claims(self.cloud.flow_runs([run_id]))
        assert isinstance(outcome, Claimed)
        return outcome

    def create(self, claimed: Claimed, *, remembers: bool = True) -> str:
        """Create the unit of a claim; return its name.

        Args:
            remembers: Whether the agent knows later that it has made it.
        """
        gate = PlatformGate(platform=self.platform, clock=self.clock)
        create = CreateUnit(cloud=self.cloud, platform=self.platform, clock=self.clock, gate=gate)
        if remembers:
            create.made = self.sweep.made
        return create(claimed.run).name

    def recover(self, runs: Sequence[FlowRun]) -> None:
        """What the engine does with claims that have no unit."""
        wanted = self.recovery.wanted(runs)
        if wanted:
            self.recovery(wanted, self.create)

    def started(self, state: str = "Running", *, remembers: bool = False) -> tuple[FlowRunId, str]:
        """A run with its unit, in some state."""
        claimed = self.claim()
        name = self.create(claimed, remembers=remembers)
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

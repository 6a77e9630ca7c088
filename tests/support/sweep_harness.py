"""A Cloud, a platform, and one agent's sweep between them: everything in memory and in one thread."""

from collections.abc import Callable, Sequence
from typing import Any, Final

import attrs

from prefect.agent.adapters.fakes import InMemoryCloudApi, InMemoryPlatform, InMemoryPresence, ManualClock
from prefect.agent.domain.model.flow_runs import Claimed, ClaimRecord, FlowRun, FlowRunId
from prefect.agent.domain.model.leases import Claimant
from prefect.agent.domain.model.settings import AgentSettings
from prefect.agent.domain.model.units import Owner, owner
from prefect.agent.domain.services.claiming import ClaimFlowRuns
from prefect.agent.domain.services.claims_view import ClaimsView
from prefect.agent.domain.services.ending import ReportEnd
from prefect.agent.domain.services.gate import PlatformGate
from prefect.agent.domain.services.recovering import RecoverClaims
from prefect.agent.domain.services.reporting import Outbox, SendReports
from prefect.agent.domain.services.stopping import StopUnits
from prefect.agent.domain.services.submission import CreateUnit
from prefect.agent.domain.services.sweep import Sweep
from prefect.agent.domain.services.work_in_hand import WorkInHand
from support.builders import Heard

LEASE: Final = 120
"""Seconds that a claim of a SweepHarness lasts."""


@attrs.define
class SweepHarness:
    """A Cloud, a platform and an agent's sweep between them.

    Attributes:
        work: What this process is seeing to.
        later: Background work that waits because the background is busy.
        recovers: Whether the agent may start claims again; set it before the agent is made.
        fingerprint: Of the agent.
        place: Where the agent's present process executes.
    """

    clock: ManualClock = attrs.field(factory=lambda: ManualClock(auto=True))
    heard: Heard = attrs.field(factory=Heard)
    work: WorkInHand = attrs.field(factory=WorkInHand)
    settings: AgentSettings = attrs.field(factory=lambda: AgentSettings(cancel_grace=60, keep_ended=300))
    pending: bool = False
    is_busy: bool = False
    is_closed: bool = False
    later: list[Callable[[], None]] = attrs.field(factory=list)
    recovers: bool = True
    fingerprint: str = "same"
    presence: InMemoryPresence = attrs.field(factory=InMemoryPresence)
    cloud: InMemoryCloudApi = attrs.field(
        default=attrs.Factory(lambda self: InMemoryCloudApi(self.clock), takes_self=True)
    )
    platform: InMemoryPlatform = attrs.field(
        default=attrs.Factory(lambda self: InMemoryPlatform(clock=self.clock, pending=self.pending), takes_self=True)
    )
    place: str = attrs.field(default="", init=False)
    outbox: Outbox = attrs.field(init=False)
    sweep: Sweep = attrs.field(init=False)
    claims: ClaimFlowRuns = attrs.field(init=False)
    recovery: RecoverClaims = attrs.field(init=False)
    gate: PlatformGate = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self.outbox = Outbox(clock=self.clock)
        self.sweep = self.agent()

    def beside(
        self, *, cloud: InMemoryCloudApi | None = None, fingerprint: str = "same", **more: Any
    ) -> "SweepHarness":
        """Another agent on the same platform, alive like this one.

        Args:
            cloud: Its Cloud, if it is another one.
            more: Like World's.
        """
        platform = InMemoryPlatform(beside=self.platform, clock=self.clock)
        return SweepHarness(
            clock=self.clock,
            presence=self.presence,
            platform=platform,
            cloud=cloud or self.cloud,
            fingerprint=fingerprint,
            **more,
        )

    def die(self) -> None:
        """``kill -9``: others can prove that the process is gone."""
        self.presence.alive.discard(self.place)

    def restart(self) -> None:
        """``kill -9``, and a new process in its place; what was not sent is lost."""
        self.outbox = Outbox(clock=self.clock)
        self.sweep = self.agent()

    def agent(self, name: str = "a") -> Sweep:
        """A new process: it remembers nothing, and the one before it is gone."""
        self.die()
        self.work = WorkInHand()
        self.place = self.presence.new_place(alone=False)
        here = Claimant(
            id=f"{name}/{next(self.presence.numbers)}",
            platform=self.platform.identity,
            place=self.place,
            fingerprint=self.fingerprint,
        )
        self.claims = ClaimFlowRuns(cloud=self.cloud, clock=self.clock, claimant=here, tell=self.heard)
        self.gate = PlatformGate(platform=self.platform, clock=self.clock, tell=self.heard)
        self.recovery = RecoverClaims(
            claim=self.claims,
            platform=self.platform,
            clock=self.clock,
            outbox=self.outbox,
            gate=self.gate,
            work=self.work,
            presence=self.presence,
            recovers=self.recovers,
            tell=self.heard,
        )
        report = ReportEnd(platform=self.platform, outbox=self.outbox, tell=self.heard)
        return Sweep(
            cloud=self.cloud,
            platform=self.platform,
            clock=self.clock,
            outbox=self.outbox,
            settings=self.settings,
            owner=self.owner,
            view=ClaimsView(cloud=self.cloud, clock=self.clock, platforms=[self.platform.identity]),
            recover=self.recover,
            work=self.work,
            report=report,
            stops=StopUnits(
                platform=self.platform,
                clock=self.clock,
                outbox=self.outbox,
                settings=self.settings,
                report=report,
                background=self.background,
                tell=self.heard,
            ),
            is_left_to_claimant=self.recovery.is_left_to_claimant,
            recovers=self.recovers,
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
        work = self.work if remembers else WorkInHand()
        create = CreateUnit(cloud=self.cloud, platform=self.platform, clock=self.clock, gate=self.gate, work=work)
        return create(claimed.run).name

    def recover(self, runs: Sequence[FlowRun]) -> None:
        """What the engine does with claims that have no unit."""
        wanted = self.recovery.wanted(runs)
        if wanted:
            self.recovery(wanted, self.start)

    def start(self, claimed: Claimed) -> None:
        """Create the unit of a claim that was taken over."""
        self.create(claimed)

    def started(self, state: str = "Running", *, remembers: bool = False) -> tuple[FlowRunId, str]:
        """A run with its unit, in some state."""
        claimed = self.claim()
        name = self.create(claimed, remembers=remembers)
        if state != "Submitted":
            self.cloud.set_state(claimed.run.id, state)
        return claimed.run.id, name

    def turn(self, times: int = 1) -> None:
        """Some sweeps, and after each everything is sent."""
        for _ in range(times):
            self.sweep()
            self.send()

    def send(self) -> None:
        """Send what is to be reported."""
        SendReports(cloud=self.cloud, outbox=self.outbox, tell=self.heard)()

    def delete(self, run_id: FlowRunId) -> None:
        """Delete a run in the Cloud."""
        del self.cloud._store.runs[run_id]

    def made(self) -> list[str]:
        """Names of the units that were made on the platform, in order."""
        return [submission.name for submission in self.platform.created]

    def is_alive(self, name: str) -> bool:
        """Whether there is a unit of that name that has not ended."""
        unit = self.platform.unit(name)
        return unit is not None and not unit.status.has_ended

    def record(self, run_id: FlowRunId) -> ClaimRecord:
        """The record of the run's latest claim."""
        [run] = self.cloud.flow_runs([run_id])
        assert run.claim is not None
        return run.claim

    def state(self, run_id: FlowRunId) -> str:
        """The run's state."""
        return self.cloud.flow_run(run_id).state

    def log(self, run_id: FlowRunId) -> str:
        """The run's log as one text."""
        return "\n".join(line.message for line in self.cloud.logs(run_id))

"""What explanations of a flow run start from, and what they are made of: facts and findings."""

from datetime import datetime, timedelta

import attrs

from prefect.agent.domain.model.flow_runs import ClaimRecord, FlowRunId
from prefect.agent.domain.model.states import State
from prefect.agent.domain.model.units import Unit
from prefect.agent.domain.waiting import Finding, Hold, SeenAgent, WaitFacts

__all__ = ["Finding", "Hold", "RunFacts", "SeenAgent", "UnitFacts"]


@attrs.frozen(kw_only=True)
class RunFacts:
    """What a Cloud says of one flow run, and of the agents that ask it for work.

    Attributes:
        hold: What keeps a waiting run from being started, if anything; set by the adapter like the state's phase.
        since: When the run came into its state (aware, UTC).
        labels: Of the run; an agent needs all of them.
        machine_label: The one of its labels that may name the machine which registered the flow.
        claim: The record of its latest claim, if one of ours made it.
        limited: Names of runs that hold the places for which this one is queued.
        agents: Those of its tenant.
        at: When all this was read, by the Cloud's clock.
        skew: How far the Cloud's clock is ahead of this machine's.
        schedule_is_off: Whether its flow has a schedule that is switched off.
        retries: When its task runs that wait are to be tried again, soonest first; only of a Running run.
        namesakes: Ids of earlier runs of its name, the latest first, some if they are many; only if the run was looked
            for by name.
    """

    id: FlowRunId
    name: str
    flow: str
    flow_version: int | None = None
    flow_is_archived: bool = False
    state: State
    hold: Hold | None = None
    since: datetime | None = None
    labels: frozenset[str] = frozenset()
    machine_label: str = ""
    claim: ClaimRecord | None = None
    limited: tuple[str, ...] = ()
    agents: tuple[SeenAgent, ...] = ()
    at: datetime
    skew: timedelta = timedelta()
    schedule_is_off: bool = False
    retries: tuple[datetime, ...] = ()
    namesakes: tuple[FlowRunId, ...] = ()

    @property
    def late(self) -> timedelta:
        """For how long it is due; negative while it is not."""
        return self.wait.late

    @property
    def wait(self) -> WaitFacts:
        """What of this decides why the run waits."""
        return WaitFacts(
            flow_is_archived=self.flow_is_archived,
            hold=self.hold,
            message=self.state.message,
            due=self.state.start_time,
            since=self.since,
            labels=self.labels,
            machine_label=self.machine_label,
            limited=self.limited,
            agents=self.agents,
            at=self.at,
            skew=self.skew,
            schedule_is_off=self.schedule_is_off,
        )


@attrs.frozen(kw_only=True)
class UnitFacts:
    """What the platform says of the claim's unit.

    Attributes:
        platform: Its identity; empty if it does not say.
        unit: None if it has none of that name.
        problem: Why it cannot say, if it cannot.
        alive: How many units of this product are alive there; None if they were not counted.
    """

    platform: str
    unit: Unit | None = None
    problem: str = ""
    alive: int | None = None

"""What the parts of the Cloud API's suite share."""

from collections.abc import Collection, Sequence
from datetime import datetime, timedelta, timezone

import pytest

from prefect.agent.adapters.fakes.contracts.worlds import CloudWorld
from prefect.agent.domain.model.flow_runs import ClaimOutcome, ClaimRecord, FlowRun, FlowRunId
from prefect.agent.domain.model.units import unit_name
from prefect.agent.ports.cloud_api import ClaimRequest, CloudApi

HERE = "platform:here"
MINUTE = timedelta(minutes=1)


class CloudContractBase:
    """Give the fixture ``world``: a :class:`CloudWorld` without flow runs."""

    @pytest.fixture
    def world(self) -> CloudWorld:
        """The back door."""
        raise NotImplementedError

    @pytest.fixture
    def cloud(self, world: CloudWorld) -> CloudApi:
        """The adapter under test, connected."""
        return world.connection()


def now() -> datetime:
    """The time of day."""
    return datetime.now(timezone.utc)


def ready(
    cloud: CloudApi,
    *,
    labels: Collection[str] = (),
    before: datetime | None = None,
    limit: int = 25,
    wait: float = 0.0,
) -> Sequence[FlowRun]:
    """What is due by *before*; None means in a moment."""
    due = before or now() + timedelta(seconds=5)
    return cloud.ready_flow_runs(labels=labels, before=due, limit=limit, wait=wait)


def request(run: FlowRun, claimant: str = "agent-1", platform: str = HERE) -> ClaimRequest:
    """A claim of *run*."""
    record = ClaimRecord(
        claimant=claimant,
        platform=platform,
        unit=unit_name(run.id, run.attempt),
        attempt=str(run.attempt),
        agent_name="agent",
    )
    return ClaimRequest(run=run, record=record)


def one(cloud: CloudApi, run_id: FlowRunId) -> FlowRun:
    """The flow run as it is now."""
    (run,) = cloud.flow_runs([run_id])
    return run


def claim(cloud: CloudApi, run_id: FlowRunId, claimant: str = "agent-1", platform: str = HERE) -> ClaimOutcome:
    """Claim the run as it is now."""
    (outcome,) = cloud.claim([request(one(cloud, run_id), claimant, platform)])
    return outcome


def ids(runs: Sequence[FlowRun]) -> list[FlowRunId]:
    """Their ids, in order."""
    return [run.id for run in runs]

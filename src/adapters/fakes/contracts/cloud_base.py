"""Fixtures and helpers that all parts of the Cloud API's contract use."""

from collections.abc import Collection, Sequence
from datetime import datetime, timedelta, timezone

import pytest

from prefect.agent.adapters.fakes.contracts.harnesses import CloudHarness
from prefect.agent.domain.model.ends import End, EndKind, EndOutcome
from prefect.agent.domain.model.flow_runs import Claimed, ClaimOutcome, ClaimRecord, FlowRun, FlowRunId
from prefect.agent.domain.model.units import unit_name
from prefect.agent.ports.cloud_api import ClaimRequest, CloudApi

HERE = "platform:here"
MINUTE = timedelta(minutes=1)
WRITTEN = datetime(2024, 5, 6, 7, 8, 9, 123456, tzinfo=timezone.utc)


class CloudContractBase:
    """A subclass defines the fixture ``harness``: a :class:`CloudHarness` without flow runs."""

    @pytest.fixture
    def harness(self, world: CloudHarness) -> CloudHarness:
        """Return the harness of this suite: a subclass defines this fixture."""
        return world

    @pytest.fixture
    def world(self) -> CloudHarness:
        """Return the harness of a suite that defines the fixture by its earlier name."""
        raise NotImplementedError("define the fixture harness in this suite")

    @pytest.fixture
    def cloud(self, harness: CloudHarness) -> CloudApi:
        """Return the adapter under test, connected."""
        return harness.connection()

    @pytest.fixture
    def strict(self, harness: CloudHarness) -> None:
        """Skip the test for a Cloud that does not compare and set."""
        if not harness.is_strict:
            pytest.skip("this Cloud does not compare and set")


def now() -> datetime:
    """Return the time of day."""
    return datetime.now(timezone.utc)


def ready(
    cloud: CloudApi,
    *,
    labels: Collection[str] = (),
    before: datetime | None = None,
    limit: int = 25,
    wait: float = 0.0,
    skip: Collection[FlowRunId] = (),
) -> Sequence[FlowRun]:
    """Return the runs that are due by *before*; None means in a moment."""
    due = before or now() + timedelta(seconds=5)
    return cloud.ready_flow_runs(labels=labels, before=due, limit=limit, wait=wait, skip=skip)


def request(run: FlowRun, claimant: str = "agent-1", platform: str = HERE) -> ClaimRequest:
    """Return a claim of *run*."""
    record = ClaimRecord(
        claimant=claimant,
        platform=platform,
        unit=unit_name(run.id, run.attempt),
        attempt=str(run.attempt),
        agent_name="agent",
        place="machine:1",
        fingerprint="f1",
        claimed_at=WRITTEN,
        create_until=WRITTEN + MINUTE,
        recoveries=run.recoveries,
    )
    return ClaimRequest(run=run, record=record)


def one(cloud: CloudApi, run_id: FlowRunId) -> FlowRun:
    """Return the flow run as it is now."""
    (run,) = cloud.flow_runs([run_id])
    return run


def claim(cloud: CloudApi, run_id: FlowRunId, claimant: str = "agent-1", platform: str = HERE) -> ClaimOutcome:
    """Claim the run as it is now."""
    (outcome,) = cloud.claim([request(one(cloud, run_id), claimant, platform)])
    return outcome


def claimed(
    cloud: CloudApi, harness: CloudHarness, state: str = "Submitted", *, claimant: str = "agent-1", platform: str = HERE
) -> Claimed:
    """Add a run, claim it and put it into *state*; return the claim."""
    outcome = claim(cloud, harness.add_flow_run(), claimant, platform)
    assert isinstance(outcome, Claimed)
    if state == "Cancelling":
        harness.set_state(outcome.run.id, "Running")
        harness.cancel(outcome.run.id)
    elif state != "Submitted":
        harness.set_state(outcome.run.id, state, "its own state")
    return outcome


def run_with_due_tasks(harness: CloudHarness, *, tasks: int) -> FlowRunId:
    """Add a Running run whose task runs are due again."""
    run_id = harness.add_flow_run()
    harness.set_state(run_id, "Running")
    for _ in range(tasks):
        harness.add_task_run(run_id, "Retrying", now() - MINUTE)
    return run_id


def end_of(of: Claimed, kind: EndKind = EndKind.FAILED, message: str = "its unit is gone") -> End:
    """Return the end that the owner of a claim reports."""
    return End(run_id=of.run.id, unit=of.record.unit, kind=kind, message=message)


def end(cloud: CloudApi, wanted: End) -> EndOutcome:
    """Carry out one end."""
    (outcome,) = cloud.end([wanted])
    return outcome


def ids(runs: Sequence[FlowRun]) -> list[FlowRunId]:
    """Return the runs' ids, in order."""
    return [run.id for run in runs]

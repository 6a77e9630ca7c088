"""The in-memory Cloud's back doors, and what it shares with the embedded one beside the contract."""

import pytest

from prefect.agent.adapters.fakes import InMemoryCloudApi, ManualClock
from prefect.agent.domain.errors import RequestRejected
from prefect.agent.domain.model.ends import End, EndKind, EndOutcome, EndVerdict
from prefect.agent.domain.model.flow_runs import Claimed, ClaimOutcome, ClaimRecord, FlowRun, FlowRunId, Lost
from prefect.agent.ports.cloud_api import ClaimRequest, LogLine

GONE = FlowRunId("00000000-0000-4000-8000-000000000099")


def claim(cloud: InMemoryCloudApi, run: FlowRun, claimant: str = "a") -> ClaimOutcome:
    """Claim a run as it was read."""
    record = ClaimRecord(claimant=claimant, platform="here", unit=f"unit-{run.attempt}", attempt=str(run.attempt))
    (outcome,) = cloud.claim([ClaimRequest(run=run, record=record)])
    return outcome


def read(cloud: InMemoryCloudApi, run_id: FlowRunId) -> FlowRun:
    """A run as it is now."""
    (run,) = cloud.flow_runs([run_id])
    return run


@pytest.mark.parametrize(
    "bad", [{"flow_run_id": GONE}, {"message": "a\x00b"}, {"name": "\x00"}, {"level": "TRACE"}], ids=str
)
def test_a_line_that_cannot_be_taken_rejects_its_batch(bad: dict[str, str]) -> None:
    """None of the lines is written, in either order."""
    cloud = InMemoryCloudApi()
    run_id = cloud.add_flow_run()
    good = {"flow_run_id": run_id, "message": "m"}
    lines = [LogLine(**good), LogLine(**{**good, **bad})]  # type: ignore[arg-type]

    for batch in (lines, lines[::-1]):
        with pytest.raises(RequestRejected):
            cloud.write_logs(batch)
    assert cloud.logs(run_id) == []


def test_cancelling_says_what_prefect_server_says() -> None:
    """The message of the state that a request to cancel leads to."""
    cloud = InMemoryCloudApi()
    running, waiting = cloud.add_flow_run(state="Running"), cloud.add_flow_run()

    for run_id in (running, waiting):
        cloud.cancel(run_id)

    assert cloud.flow_run(running).history[-1] == ("Cancelling", "Flow run is cancelling")
    assert cloud.flow_run(waiting).history[-1] == ("Cancelled", "Flow run is cancelled")


def test_ends_can_be_answered_as_by_a_gateway_in_front_of_a_dead_service() -> None:
    """The answer confirms nothing and nothing is changed; without it the rules decide again."""
    cloud = InMemoryCloudApi()
    outcome = claim(cloud, read(cloud, cloud.add_flow_run()))
    assert isinstance(outcome, Claimed)
    end = End(run_id=outcome.run.id, unit=outcome.record.unit, kind=EndKind.FAILED, message="gone")
    hang_up = EndOutcome(verdict=EndVerdict.UNKNOWN, reason="socket hang up")
    cloud.answer_ends(outcome.run.id, lambda _end: hang_up)

    assert list(cloud.end([end])) == [hang_up]
    assert cloud.flow_run(outcome.run.id).state == "Submitted"
    cloud.answer_ends(outcome.run.id, None)
    assert [each.verdict for each in cloud.end([end])] == [EndVerdict.SETTLED]
    assert cloud.flow_run(outcome.run.id).state == "Failed"


@pytest.mark.parametrize("loose", [False, True])
def test_a_claim_is_taken_over_at_its_version_where_versions_are_compared(*, loose: bool) -> None:
    """A loose Cloud does it at any version, after its lock."""
    clock = ManualClock()
    cloud = InMemoryCloudApi(clock, loose=loose)
    old = read(cloud, cloud.add_flow_run())
    claim(cloud, old)
    clock.advance(30)
    present = read(cloud, old.id)

    first, second = claim(cloud, present, "b"), claim(cloud, present, "c")

    assert (type(first), type(second)) == (Claimed, Lost)
    clock.advance(30)
    assert isinstance(claim(cloud, old, "d"), Claimed if loose else Lost)
    assert cloud.compares is not loose


def test_a_run_that_was_claimed_while_it_ran_waits_as_scheduled_when_it_is_handed_back() -> None:
    """A loose Cloud lets a Running run be claimed: what the claim wraps is no state to wait in."""
    clock = ManualClock()
    cloud = InMemoryCloudApi(clock, loose=True)
    run_id = cloud.add_flow_run(state="Running")
    outcome = claim(cloud, read(cloud, run_id))
    assert isinstance(outcome, Claimed)

    cloud.end([End(run_id=run_id, unit=outcome.record.unit, kind=EndKind.HANDED_BACK, message="not now")])

    assert (cloud.flow_run(run_id).state, read(cloud, run_id).recoveries) == ("Scheduled", 1)

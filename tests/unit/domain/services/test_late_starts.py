"""Units that are created after their lease, or not at all because an answer is missing."""

import pytest

from prefect.agent.domain.errors import (
    CloudUnavailable,
    PlatformUnavailable,
)
from prefect.agent.domain.model.ends import EndKind
from prefect.agent.domain.services.reporting import SendReports
from prefect.agent.domain.services.submission import NoLongerOurs
from support.submission_harness import SubmissionHarness


@pytest.fixture
def harness() -> SubmissionHarness:
    """An empty platform."""
    return SubmissionHarness()


@pytest.mark.parametrize(("pull", "reads"), [(119, 0), (120, 1)])
def test_the_run_is_read_again_once_its_lease_is_over(harness: SubmissionHarness, pull: float, reads: int) -> None:
    """While an image was pulled, another agent may have taken the claim over."""
    harness.platform.pull = pull
    run = harness.claimed()
    before = harness.cloud.calls.count("flow_runs")
    harness.create(run)

    assert harness.cloud.calls.count("flow_runs") == before + 2 * reads  # before and after the create
    assert len(harness.platform.created) == 1


def test_a_claim_that_was_taken_over_while_an_image_was_pulled_is_dropped(harness: SubmissionHarness) -> None:
    """The other agent makes the unit, in its own time."""
    harness.platform.pull = 200
    run = harness.claimed()
    harness.platform.meanwhile = lambda: harness.claimer("b").take_over(harness.cloud.flow_runs([run.id]))

    with pytest.raises(NoLongerOurs, match="no longer"):
        harness.create(run)
    assert harness.platform.created == []


def test_a_claim_that_was_handed_back_while_an_image_was_pulled_is_dropped(harness: SubmissionHarness) -> None:
    """It waits to be claimed again, here or elsewhere."""
    harness.platform.pull = 200
    run = harness.claimed()
    harness.platform.meanwhile = lambda: harness.hand_back(run)

    with pytest.raises(NoLongerOurs):
        harness.create(run)
    assert harness.platform.created == []


def test_a_unit_that_is_created_after_its_run_was_handed_back_is_stopped(harness: SubmissionHarness) -> None:
    """The create itself outlasts the lease: two units would execute the run."""
    harness.platform.start = 200
    run = harness.claimed()
    harness.platform.meanwhile = lambda: harness.hand_back(run)

    with pytest.raises(NoLongerOurs, match="stopped"):
        harness.create(run)
    [unit] = harness.platform.units()
    assert unit.status.has_ended


def test_a_unit_that_is_created_late_goes_on_if_its_run_was_taken_over_or_cannot_be_read(
    harness: SubmissionHarness,
) -> None:
    """The other agent has claimed the very same unit; and without an answer nothing is known."""
    harness.platform.start = 200
    one = harness.claimed()
    harness.platform.meanwhile = lambda: harness.claimer("b").take_over(harness.cloud.flow_runs([one.id]))
    harness.create(one)
    two = harness.claimed()
    harness.platform.meanwhile = lambda: harness.cloud.fail_next("flow_runs", CloudUnavailable("away"), times=1)
    harness.create(two)

    assert [unit.status.has_ended for unit in harness.platform.units()] == [False, False]


def test_an_expired_claim_that_cannot_be_confirmed_is_handed_back(harness: SubmissionHarness) -> None:
    """The Cloud is away after a long pull: nothing is created, and the run is no failure."""
    start, outbox = harness.starting()
    harness.platform.pull = 200
    claimed = harness.claims()
    harness.cloud.fail_next("flow_runs", CloudUnavailable("away"), times=100)

    assert start(claimed) is False
    [reports] = outbox.due()
    assert reports.run.end is not None
    assert reports.run.end.kind is EndKind.HANDED_BACK
    assert "cannot be confirmed" in reports.run.end.message
    assert harness.platform.created == []


# --- the platform is away ---


def test_a_claim_that_cannot_be_started_in_time_is_handed_back(harness: SubmissionHarness) -> None:
    """The platform was found away before anything was sent: the run waits again, and no run fails.

    Before, each became Failed after two minutes.
    """
    start, outbox = harness.starting()
    claimed = harness.claims()
    harness.away()
    harness.gate.check()

    assert start(claimed) is False
    assert "create" not in harness.platform.calls
    SendReports(cloud=harness.cloud, outbox=outbox)()
    [run] = harness.cloud.flow_runs([claimed.run.id])
    assert (run.state.name, run.claim, run.recoveries) == ("Scheduled", None, 1)


def test_a_claim_whose_create_was_not_answered_is_not_handed_back(harness: SubmissionHarness) -> None:
    """The unit may exist: another agent would execute the run twice. The claim stays, for the sweep to look."""
    start, outbox = harness.starting()
    claimed = harness.claims()
    harness.platform.lose_answers("create")
    harness.platform.fail_next("check", PlatformUnavailable("away"), times=1000)
    harness.platform.fail_next("unit", PlatformUnavailable("away"))

    assert start(claimed) is False
    [reports] = outbox.due()
    assert reports.run.end is None
    assert claimed.record.unit in reports.lines[0].message
    assert harness.cloud.flow_runs([claimed.run.id])[0].claim == claimed.record
    assert len(harness.platform.units()) == 1


def test_a_unit_that_the_last_look_finds_was_started(harness: SubmissionHarness) -> None:
    """The create was not answered, but at the deadline the platform has the unit."""
    start, _ = harness.starting()
    claimed = harness.claims()
    harness.platform.lose_answers("create")
    harness.platform.fail_next("check", PlatformUnavailable("away"), times=1000)

    assert start(claimed) is True
    assert [unit.name for unit in harness.platform.units()] == [claimed.record.unit]


def test_a_create_that_outlives_its_deadline_fails_its_run(harness: SubmissionHarness) -> None:
    """The platform answers everything but this create, and has no such unit: the run says why."""
    start, outbox = harness.starting()
    claimed = harness.claims()
    harness.platform.fail_next("create", PlatformUnavailable("disk full"), times=1000)

    assert start(claimed) is False
    SendReports(cloud=harness.cloud, outbox=outbox)()
    assert harness.cloud.flow_run(claimed.run.id).state == "Failed"
    assert "disk full" in harness.cloud.flow_run(claimed.run.id).message


def test_nothing_is_sent_to_a_platform_that_is_away(harness: SubmissionHarness) -> None:
    """After the first create that it did not answer it is only asked whether it is back; then the run starts."""
    harness.platform.fail_next("create", PlatformUnavailable("away"))
    harness.platform.fail_next("check", PlatformUnavailable("away"), times=3)

    harness.create(harness.claimed())

    assert harness.platform.calls.count("create") == 2
    assert len(harness.platform.created) == 1

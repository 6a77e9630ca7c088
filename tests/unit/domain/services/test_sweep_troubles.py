"""A sweep goes on although a unit, the platform or the Cloud gives trouble (promise P3)."""

import pytest

from prefect.agent.domain.errors import CloudUnavailable
from prefect.agent.ports import events
from support.sweep_harness import SweepHarness


@pytest.fixture
def harness() -> SweepHarness:
    """An empty world."""
    return SweepHarness()


# --- trouble ---


@pytest.mark.parametrize("method", ["claimed_flow_runs", "flow_runs"])
def test_a_cloud_that_is_away_delays_a_sweep_only(harness: SweepHarness, method: str) -> None:
    """The next sweep finds everything as it is: nothing depends on this one."""
    run_id, name = harness.started()
    harness.started()
    harness.platform.end(name, 1)
    harness.cloud.fail_next(method, CloudUnavailable("away"))

    with pytest.raises(CloudUnavailable):
        harness.turn()
    harness.turn()

    assert harness.state(run_id) == "Failed"


def test_a_new_process_judges_as_the_old_one_would(harness: SweepHarness) -> None:
    """After a restart: nothing is reported twice, nothing is forgotten."""
    done, done_unit = harness.started()
    harness.cloud.set_state(done, "Success")
    harness.platform.end(done_unit, 0)
    failed, failed_unit = harness.started()
    harness.platform.end(failed_unit, 1)
    harness.turn()
    lines = len(harness.cloud.logs(failed))

    harness.sweep = harness.agent()
    harness.turn()

    assert harness.cloud.flow_run(done).state == "Success"
    assert len(harness.cloud.logs(failed)) == lines


def test_a_sweep_counts_what_is_alive(harness: SweepHarness) -> None:
    """For the limit of units; ended ones do not count."""
    harness.started()
    _, name = harness.started()
    harness.platform.end(name, 1)

    harness.sweep()

    assert (harness.work.census.alive, harness.work.census.counted_at) == (1, harness.clock.monotonic())


def test_a_retry_of_the_flow_has_a_unit_of_its_own(harness: SweepHarness) -> None:
    """The old unit's end says nothing about the run that was scheduled and claimed again."""
    run_id, name = harness.started()
    harness.cloud.set_state(run_id, "Failed")
    harness.platform.end(name, 1)
    harness.turn()
    harness.cloud.set_state(run_id, "Scheduled")

    new = harness.create(harness.claim(run_id))
    harness.turn()

    assert new != name
    assert harness.state(run_id) == "Submitted"


@pytest.mark.parametrize("state", ["Success", "Failed", "Cancelled"])
def test_how_a_run_ended_is_said_once(state: str) -> None:
    """With its flow, name and id, and after how long; the process itself has reported the end."""
    harness = SweepHarness()
    run_id, name = harness.started()
    harness.turn()
    harness.clock.advance(12)
    harness.cloud.set_state(run_id, state)
    harness.platform.end(name, 0)

    harness.turn(3)

    [ended] = [event for event in harness.heard.events if event.name == events.RUN_ENDED]
    assert run_id in ended.message
    assert f"ended as {state} after 12 s" in ended.message
    assert (ended.fields["flow_run_id"], ended.fields["unit"], ended.fields["duration_s"]) == (run_id, name, 12)


def test_an_end_before_this_process_is_not_said_again() -> None:
    """A restarted agent does not repeat the story of its predecessor."""
    harness = SweepHarness()
    run_id, name = harness.started()
    harness.cloud.set_state(run_id, "Success")
    harness.platform.end(name, 0)
    harness.restart()

    harness.turn(2)

    assert events.RUN_ENDED not in harness.heard.names()

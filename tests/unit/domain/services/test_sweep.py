"""One sweep brings claims and units together again, whatever was missed (promises P2 and P7)."""

import attrs
import pytest

from prefect.agent.domain.errors import PlatformUnavailable
from prefect.agent.domain.model.ends import End, EndKind
from prefect.agent.ports import events
from support.sweep_harness import SweepHarness


@pytest.fixture
def harness() -> SweepHarness:
    """An empty world."""
    return SweepHarness()


def test_a_claim_without_a_unit_gets_one(harness: SweepHarness) -> None:
    """Kill -9 between claim and create, then a restart: the unit is created by the claimed name, once."""
    claimed = harness.claim()
    harness.turn()
    harness.turn()

    assert harness.made() == [claimed.record.unit]
    assert events.RUN_RECOVERED in harness.heard.names()


def test_claims_of_other_platforms_are_left_alone(harness: SweepHarness) -> None:
    """Another machine's claim has its unit there."""
    elsewhere = SweepHarness(clock=harness.clock, cloud=harness.cloud, presence=harness.presence)
    claimed = elsewhere.claim()
    elsewhere.die()
    harness.clock.advance(10_000)

    harness.turn(3)

    assert harness.made() == []
    assert harness.state(claimed.run.id) == "Submitted"


def test_runs_in_hand_are_left_alone(harness: SweepHarness) -> None:
    """This very process is about to create the unit, or to report why there is none."""
    claimed, reported = harness.claim(), harness.claim()
    harness.work.adopt(claimed.run.id)
    end = End(run_id=reported.run.id, unit=reported.record.unit, kind=EndKind.FAILED, message="could not be started")
    harness.outbox.end(end)

    harness.sweep()

    assert harness.made() == []


@pytest.mark.parametrize("exit_code", [0, 1, 137])
def test_a_unit_that_ended_before_its_run_reported(harness: SweepHarness, exit_code: int) -> None:
    """The run is Failed at the first sweep, with exit code and last output in its log."""
    run_id, name = harness.started("Submitted")
    harness.platform.write(name, "Traceback\nImportError: no module named flow\n")
    harness.platform.end(name, exit_code)

    harness.turn()

    assert harness.state(run_id) == "Failed"
    assert f"exit code {exit_code}" in harness.cloud.flow_run(run_id).message
    assert "ImportError" in harness.log(run_id)


def test_a_unit_that_died_while_running(harness: SweepHarness) -> None:
    """OOM: the run becomes Failed with the reason."""
    run_id, name = harness.started()
    harness.platform.end(name, 137, reason="OOMKilled")

    harness.turn()

    assert harness.state(run_id) == "Failed"
    assert "OOMKilled" in harness.cloud.flow_run(run_id).message


def test_a_unit_that_ended_well_but_whose_run_is_running(harness: SweepHarness) -> None:
    """The last report may be on its way: believed at the second sweep only."""
    run_id, name = harness.started()
    harness.platform.end(name, 0)

    harness.turn()
    assert harness.state(run_id) == "Running"

    harness.turn()
    assert harness.state(run_id) == "Failed"


def test_a_report_that_arrived_between_two_sweeps_counts(harness: SweepHarness) -> None:
    """The flow said Success just after its process ended."""
    run_id, name = harness.started()
    harness.platform.end(name, 0)
    harness.turn()
    harness.cloud.set_state(run_id, "Success")

    harness.turn()

    assert harness.state(run_id) == "Success"
    assert len(harness.outbox) == 0


def test_a_run_that_waits_for_a_retry_is_not_failed(harness: SweepHarness) -> None:
    """Its process ended since nothing was to be done for half an hour."""
    run_id, name = harness.started()
    harness.cloud.add_task_run(run_id, "Retrying", harness.clock.now().replace(year=2030))
    harness.platform.end(name, 0)

    for _ in range(3):
        harness.turn()

    assert harness.state(run_id) == "Running"


def test_an_end_is_reported_once(harness: SweepHarness) -> None:
    """However many sweeps follow."""
    run_id, name = harness.started()
    harness.platform.end(name, 1)
    for _ in range(4):
        harness.turn()

    assert len([line for line in harness.cloud.logs(run_id) if "ended" in line.message]) == 1


def test_an_end_is_reported_even_if_the_output_cannot_be_read(harness: SweepHarness) -> None:
    """The platform has trouble with logs: the reason is reported all the same."""
    run_id, name = harness.started()
    harness.platform.end(name, 1)
    harness.platform.fail_next("logs_tail", PlatformUnavailable("no logs"))

    harness.turn()

    assert harness.state(run_id) == "Failed"
    assert "no logs" in harness.log(run_id)


def test_an_end_is_explained(harness: SweepHarness) -> None:
    """In the run's log: how the unit stands, its last output, and then the reason."""
    run_id, name = harness.started()
    harness.platform.tell(name, "Container  State\nflow       OOMKilled\n")
    harness.platform.write(name, "allocating\n")
    harness.platform.end(name, 137)

    harness.turn()

    account, output, reason = [line.message for line in harness.cloud.logs(run_id) if line.level == "ERROR"]
    assert account == f"How the unit {name} stands:\nContainer  State\nflow       OOMKilled"
    assert output == f"Last output of {name}:\nallocating"
    assert "exit code 137" in reason


def test_an_end_is_reported_even_if_it_cannot_be_explained(harness: SweepHarness) -> None:
    """The platform has trouble with its account: that is said, and the reason is reported all the same."""
    run_id, name = harness.started()
    harness.platform.end(name, 1)
    harness.platform.fail_next("account", PlatformUnavailable("no events"))

    harness.turn()

    assert harness.state(run_id) == "Failed"
    assert "no events" in harness.log(run_id)


# --- cancellation ---


def test_a_unit_that_we_stop_is_reported_once(harness: SweepHarness) -> None:
    """A sweep that comes while the stop is about to report leaves the end to it."""
    run_id, _ = harness.started("Cancelling")
    harness.turn()
    harness.clock.advance(60)
    harness.is_busy = True
    harness.turn()
    [work] = harness.later
    work()
    harness.sweep()
    harness.turn()
    harness.turn()

    assert harness.state(run_id) == "Cancelled"
    assert len(harness.cloud.logs(run_id)) == 1


def test_a_cancelled_run_may_end_by_itself(harness: SweepHarness) -> None:
    """Within its grace its unit is left alone; its end is the proof."""
    run_id, name = harness.started("Cancelling")
    harness.turn()
    harness.clock.advance(59)
    harness.turn()
    assert "stop" not in harness.platform.calls

    harness.platform.end(name, 0)
    harness.turn()

    assert harness.state(run_id) == "Cancelled"


@pytest.mark.parametrize("state", ["Cancelling", "Cancelled"])
def test_a_cancelled_run_that_does_not_end_is_stopped(harness: SweepHarness, state: str) -> None:
    """After its grace; the run is Cancelled with the proof that its unit is gone."""
    run_id, name = harness.started(state)
    harness.turn()
    harness.clock.advance(60)

    harness.turn()

    unit = harness.platform.unit(name)
    assert unit is not None
    assert unit.status.has_ended
    assert harness.state(run_id) == "Cancelled"
    assert "Stopped" in harness.log(run_id)


def test_a_unit_that_cannot_be_stopped_is_tried_again(harness: SweepHarness) -> None:
    """The run is not called Cancelled before its unit is gone."""
    run_id, _ = harness.started("Cancelling")
    harness.turn()
    harness.clock.advance(60)
    harness.platform.fail_next("stop", PlatformUnavailable("busy"))

    harness.turn()
    assert harness.state(run_id) == "Cancelling"

    harness.turn()
    assert harness.state(run_id) == "Cancelled"


def test_a_unit_is_being_stopped_once(harness: SweepHarness) -> None:
    """While a stop takes its time, the next sweep starts no second one."""
    harness.started("Cancelling")
    harness.is_busy = True
    harness.turn()
    harness.clock.advance(60)

    harness.turn()
    harness.turn()

    assert len(harness.later) == 1


def test_a_background_that_takes_nothing_is_tried_again(harness: SweepHarness) -> None:
    """No thread is to be had now: that sweep fails, the next one stops the unit."""
    run_id, _ = harness.started("Cancelling")
    harness.turn()
    harness.clock.advance(60)
    harness.is_closed = True
    with pytest.raises(RuntimeError):
        harness.turn()

    harness.is_closed = False
    harness.turn()

    assert harness.state(run_id) == "Cancelled"


# --- cleaning up ---


@pytest.mark.parametrize(("age", "left"), [(299, 1), (301, 0)])
def test_a_finished_unit_is_kept_for_a_while(harness: SweepHarness, age: int, left: int) -> None:
    """People may look at it; then it goes."""
    run_id, name = harness.started()
    harness.cloud.set_state(run_id, "Success")
    harness.platform.end(name, 0)
    harness.turn()

    harness.clock.advance(age)
    harness.turn()

    assert len(harness.platform.units()) == left


def test_a_finished_unit_may_be_kept_for_ever(harness: SweepHarness) -> None:
    """Somebody else cleans up, or nobody."""
    harness.sweep.settings = attrs.evolve(harness.settings, keep_ended=None)
    run_id, name = harness.started()
    harness.cloud.set_state(run_id, "Success")
    harness.platform.end(name, 0)
    harness.turn()

    harness.clock.advance(10**6)
    harness.turn()

    assert len(harness.platform.units()) == 1


def test_a_unit_whose_end_still_means_something_is_not_removed(harness: SweepHarness) -> None:
    """Its run waits for a retry: the next sweep still has to judge."""
    run_id, name = harness.started()
    harness.cloud.add_task_run(run_id, "Retrying", harness.clock.now().replace(year=2030))
    harness.platform.end(name, 0)
    harness.clock.advance(1000)

    harness.turn()

    assert len(harness.platform.units()) == 1


def test_a_unit_that_cannot_be_removed_does_not_keep_the_others(harness: SweepHarness) -> None:
    """It is told, and tried at the next sweep."""
    for _ in range(2):
        run_id, name = harness.started()
        harness.cloud.set_state(run_id, "Success")
        harness.platform.end(name, 0)
    harness.clock.advance(1000)
    harness.platform.fail_next("remove", PlatformUnavailable("busy"))

    harness.turn()
    assert len(harness.platform.units()) == 1
    harness.turn()
    assert len(harness.platform.units()) == 0

"""One sweep brings claims and units together again, whatever was missed (promises P2 and P7)."""

import attrs
import pytest

from prefect.agent.domain.errors import CloudUnavailable, PlatformUnavailable
from prefect.agent.domain.model.ends import End, EndKind
from prefect.agent.ports import events
from support.sweeps import World


@pytest.fixture
def world() -> World:
    """An empty world."""
    return World()


def test_a_claim_without_a_unit_gets_one(world: World) -> None:
    """Kill -9 between claim and create, then a restart: the unit is created by the claimed name, once."""
    claimed = world.claim()
    world.turn()
    world.turn()

    assert world.made() == [claimed.record.unit]
    assert events.RUN_RECOVERED in world.heard.names()


def test_claims_of_other_platforms_are_left_alone(world: World) -> None:
    """Another machine's claim has its unit there."""
    elsewhere = World(clock=world.clock, cloud=world.cloud, presence=world.presence)
    claimed = elsewhere.claim()
    elsewhere.die()
    world.clock.advance(10_000)

    world.turn(3)

    assert world.made() == []
    assert world.state(claimed.run.id) == "Submitted"


def test_runs_in_hand_are_left_alone(world: World) -> None:
    """This very process is about to create the unit, or to report why there is none."""
    claimed, reported = world.claim(), world.claim()
    world.work.adopt(claimed.run.id)
    end = End(run_id=reported.run.id, unit=reported.record.unit, kind=EndKind.FAILED, message="could not be started")
    world.outbox.end(end)

    world.sweep()

    assert world.made() == []


@pytest.mark.parametrize("exit_code", [0, 1, 137])
def test_a_unit_that_ended_before_its_run_reported(world: World, exit_code: int) -> None:
    """The run is Failed at the first sweep, with exit code and last output in its log."""
    run_id, name = world.started("Submitted")
    world.platform.write(name, "Traceback\nImportError: no module named flow\n")
    world.platform.end(name, exit_code)

    world.turn()

    assert world.state(run_id) == "Failed"
    assert f"exit code {exit_code}" in world.cloud.flow_run(run_id).message
    assert "ImportError" in world.log(run_id)


def test_a_unit_that_died_while_running(world: World) -> None:
    """OOM: the run becomes Failed with the reason."""
    run_id, name = world.started()
    world.platform.end(name, 137, reason="OOMKilled")

    world.turn()

    assert world.state(run_id) == "Failed"
    assert "OOMKilled" in world.cloud.flow_run(run_id).message


def test_a_unit_that_ended_well_but_whose_run_is_running(world: World) -> None:
    """The last report may be on its way: believed at the second sweep only."""
    run_id, name = world.started()
    world.platform.end(name, 0)

    world.turn()
    assert world.state(run_id) == "Running"

    world.turn()
    assert world.state(run_id) == "Failed"


def test_a_report_that_arrived_between_two_sweeps_counts(world: World) -> None:
    """The flow said Success just after its process ended."""
    run_id, name = world.started()
    world.platform.end(name, 0)
    world.turn()
    world.cloud.set_state(run_id, "Success")

    world.turn()

    assert world.state(run_id) == "Success"
    assert len(world.outbox) == 0


def test_a_run_that_waits_for_a_retry_is_not_failed(world: World) -> None:
    """Its process ended since nothing was to be done for half an hour."""
    run_id, name = world.started()
    world.cloud.add_task_run(run_id, "Retrying", world.clock.now().replace(year=2030))
    world.platform.end(name, 0)

    for _ in range(3):
        world.turn()

    assert world.state(run_id) == "Running"


def test_an_end_is_reported_once(world: World) -> None:
    """However many sweeps follow."""
    run_id, name = world.started()
    world.platform.end(name, 1)
    for _ in range(4):
        world.turn()

    assert len([line for line in world.cloud.logs(run_id) if "ended" in line.message]) == 1


def test_an_end_is_reported_even_if_the_output_cannot_be_read(world: World) -> None:
    """The platform has trouble with logs: the reason is reported all the same."""
    run_id, name = world.started()
    world.platform.end(name, 1)
    world.platform.fail_next("logs_tail", PlatformUnavailable("no logs"))

    world.turn()

    assert world.state(run_id) == "Failed"
    assert "no logs" in world.log(run_id)


def test_an_end_is_explained(world: World) -> None:
    """In the run's log: how the unit stands, its last output, and then the reason."""
    run_id, name = world.started()
    world.platform.tell(name, "Container  State\nflow       OOMKilled\n")
    world.platform.write(name, "allocating\n")
    world.platform.end(name, 137)

    world.turn()

    account, output, reason = [line.message for line in world.cloud.logs(run_id) if line.level == "ERROR"]
    assert account == f"How the unit {name} stands:\nContainer  State\nflow       OOMKilled"
    assert output == f"Last output of {name}:\nallocating"
    assert "exit code 137" in reason


def test_an_end_is_reported_even_if_it_cannot_be_explained(world: World) -> None:
    """The platform has trouble with its account: that is said, and the reason is reported all the same."""
    run_id, name = world.started()
    world.platform.end(name, 1)
    world.platform.fail_next("account", PlatformUnavailable("no events"))

    world.turn()

    assert world.state(run_id) == "Failed"
    assert "no events" in world.log(run_id)


# --- cancellation ---


def test_a_unit_that_we_stop_is_reported_once(world: World) -> None:
    """A sweep that comes while the stop is about to report leaves the end to it."""
    run_id, _ = world.started("Cancelling")
    world.turn()
    world.clock.advance(60)
    world.is_busy = True
    world.turn()
    [work] = world.later
    work()
    world.sweep()
    world.turn()
    world.turn()

    assert world.state(run_id) == "Cancelled"
    assert len(world.cloud.logs(run_id)) == 1


def test_a_cancelled_run_may_end_by_itself(world: World) -> None:
    """Within its grace its unit is left alone; its end is the proof."""
    run_id, name = world.started("Cancelling")
    world.turn()
    world.clock.advance(59)
    world.turn()
    assert "stop" not in world.platform.calls

    world.platform.end(name, 0)
    world.turn()

    assert world.state(run_id) == "Cancelled"


@pytest.mark.parametrize("state", ["Cancelling", "Cancelled"])
def test_a_cancelled_run_that_does_not_end_is_stopped(world: World, state: str) -> None:
    """After its grace; the run is Cancelled with the proof that its unit is gone."""
    run_id, name = world.started(state)
    world.turn()
    world.clock.advance(60)

    world.turn()

    unit = world.platform.unit(name)
    assert unit is not None
    assert unit.status.has_ended
    assert world.state(run_id) == "Cancelled"
    assert "Stopped" in world.log(run_id)


def test_a_unit_that_cannot_be_stopped_is_tried_again(world: World) -> None:
    """The run is not called Cancelled before its unit is gone."""
    run_id, _ = world.started("Cancelling")
    world.turn()
    world.clock.advance(60)
    world.platform.fail_next("stop", PlatformUnavailable("busy"))

    world.turn()
    assert world.state(run_id) == "Cancelling"

    world.turn()
    assert world.state(run_id) == "Cancelled"


def test_a_unit_is_being_stopped_once(world: World) -> None:
    """While a stop takes its time, the next sweep starts no second one."""
    world.started("Cancelling")
    world.is_busy = True
    world.turn()
    world.clock.advance(60)

    world.turn()
    world.turn()

    assert len(world.later) == 1


def test_a_background_that_takes_nothing_is_tried_again(world: World) -> None:
    """No thread is to be had now: that sweep fails, the next one stops the unit."""
    run_id, _ = world.started("Cancelling")
    world.turn()
    world.clock.advance(60)
    world.is_closed = True
    with pytest.raises(RuntimeError):
        world.turn()

    world.is_closed = False
    world.turn()

    assert world.state(run_id) == "Cancelled"


# --- cleaning up ---


@pytest.mark.parametrize(("age", "left"), [(299, 1), (301, 0)])
def test_a_finished_unit_is_kept_for_a_while(world: World, age: int, left: int) -> None:
    """People may look at it; then it goes."""
    run_id, name = world.started()
    world.cloud.set_state(run_id, "Success")
    world.platform.end(name, 0)
    world.turn()

    world.clock.advance(age)
    world.turn()

    assert len(world.platform.units()) == left


def test_a_finished_unit_may_be_kept_for_ever(world: World) -> None:
    """Somebody else cleans up, or nobody."""
    world.sweep.settings = attrs.evolve(world.settings, keep_ended=None)
    run_id, name = world.started()
    world.cloud.set_state(run_id, "Success")
    world.platform.end(name, 0)
    world.turn()

    world.clock.advance(10**6)
    world.turn()

    assert len(world.platform.units()) == 1


def test_a_unit_whose_end_still_means_something_is_not_removed(world: World) -> None:
    """Its run waits for a retry: the next sweep still has to judge."""
    run_id, name = world.started()
    world.cloud.add_task_run(run_id, "Retrying", world.clock.now().replace(year=2030))
    world.platform.end(name, 0)
    world.clock.advance(1000)

    world.turn()

    assert len(world.platform.units()) == 1


def test_trouble_removing_one_unit_does_not_keep_the_others(world: World) -> None:
    """It is told, and tried at the next sweep."""
    for _ in range(2):
        run_id, name = world.started()
        world.cloud.set_state(run_id, "Success")
        world.platform.end(name, 0)
    world.clock.advance(1000)
    world.platform.fail_next("remove", PlatformUnavailable("busy"))

    world.turn()
    assert len(world.platform.units()) == 1
    world.turn()
    assert len(world.platform.units()) == 0


# --- trouble ---


@pytest.mark.parametrize("method", ["claimed_flow_runs", "flow_runs"])
def test_a_cloud_that_is_away_delays_a_sweep_only(world: World, method: str) -> None:
    """The next sweep finds everything as it is: nothing depends on this one."""
    run_id, name = world.started()
    world.started()
    world.platform.end(name, 1)
    world.cloud.fail_next(method, CloudUnavailable("away"))

    with pytest.raises(CloudUnavailable):
        world.turn()
    world.turn()

    assert world.state(run_id) == "Failed"


def test_a_new_process_judges_as_the_old_one_would(world: World) -> None:
    """After a restart: nothing is reported twice, nothing is forgotten."""
    done, done_unit = world.started()
    world.cloud.set_state(done, "Success")
    world.platform.end(done_unit, 0)
    failed, failed_unit = world.started()
    world.platform.end(failed_unit, 1)
    world.turn()
    lines = len(world.cloud.logs(failed))

    world.sweep = world.agent()
    world.turn()

    assert world.cloud.flow_run(done).state == "Success"
    assert len(world.cloud.logs(failed)) == lines


def test_a_sweep_counts_what_is_alive(world: World) -> None:
    """For the limit of units; ended ones do not count."""
    world.started()
    _, name = world.started()
    world.platform.end(name, 1)

    world.sweep()

    assert (world.work.census.alive, world.work.census.counted_at) == (1, world.clock.monotonic())


def test_a_retry_of_the_flow_has_a_unit_of_its_own(world: World) -> None:
    """The old unit's end says nothing about the run that was scheduled and claimed again."""
    run_id, name = world.started()
    world.cloud.set_state(run_id, "Failed")
    world.platform.end(name, 1)
    world.turn()
    world.cloud.set_state(run_id, "Scheduled")

    new = world.create(world.claim(run_id))
    world.turn()

    assert new != name
    assert world.state(run_id) == "Submitted"


@pytest.mark.parametrize("state", ["Success", "Failed", "Cancelled"])
def test_how_a_run_ended_is_said_once(state: str) -> None:
    """With its flow, name and id, and after how long; the process itself has reported the end."""
    world = World()
    run_id, name = world.started()
    world.turn()
    world.clock.advance(12)
    world.cloud.set_state(run_id, state)
    world.platform.end(name, 0)

    world.turn(3)

    [ended] = [event for event in world.heard.events if event.name == events.RUN_ENDED]
    assert run_id in ended.message
    assert f"ended as {state} after 12 s" in ended.message
    assert (ended.fields["flow_run_id"], ended.fields["unit"], ended.fields["duration_s"]) == (run_id, name, 12)


def test_an_end_before_this_process_is_not_said_again() -> None:
    """A restarted agent does not repeat the story of its predecessor."""
    world = World()
    run_id, name = world.started()
    world.cloud.set_state(run_id, "Success")
    world.platform.end(name, 0)
    world.restart()

    world.turn(2)

    assert events.RUN_ENDED not in world.heard.names()

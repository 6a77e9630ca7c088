"""Units that are deleted externally: their runs end, whatever state they are in (promise P7)."""

from collections.abc import Sequence

import attrs
import pytest

from prefect.agent.adapters.fakes import InMemoryPlatform
from prefect.agent.domain.errors import CloudUnavailable, PlatformUnavailable
from prefect.agent.domain.model.flow_runs import Claimed, FlowRunId
from prefect.agent.domain.model.submissions import Submission
from prefect.agent.domain.model.units import Unit
from support.sweeps import World


@pytest.fixture
def world() -> World:
    """An empty world."""
    return World()


def deleted(world: World, state: str = "Running") -> tuple[FlowRunId, str]:
    """A run in some state whose unit was seen alive and is deleted then."""
    run_id, name = world.started(state)
    world.turn()
    world.platform.vanish(name)
    return run_id, name


def test_a_running_run_becomes_failed(world: World) -> None:
    """``docker rm -f``, ``kubectl delete job``: Failed at the next sweep, once, with what happened."""
    run_id, name = deleted(world)
    for _ in range(3):
        world.turn()

    assert world.state(run_id) == "Failed"
    assert world.cloud.flow_run(run_id).message == (
        f"The unit of execution {name} was deleted externally while the flow run was Running"
    )
    assert len(world.cloud.logs(run_id)) == 1


def test_a_unit_that_only_waited_counts_too(world: World) -> None:
    """A pending unit is deleted while its run is Running (a retry that waits for a node)."""
    world.platform = world.sweep.platform = InMemoryPlatform(beside=world.platform, clock=world.clock, pending=True)
    run_id, _ = deleted(world)

    world.turn()

    assert world.state(run_id) == "Failed"


@pytest.mark.parametrize("state", ["Success", "Failed", "Cancelled"])
def test_a_finished_run_stays_as_it_is(world: World, state: str) -> None:
    """Whoever cleans up after a run says nothing about it."""
    run_id, _ = deleted(world)
    world.cloud.set_state(run_id, state)

    world.turn()

    assert world.state(run_id) == state
    assert not world.cloud.logs(run_id)


def test_a_cancelled_run_is_proven_to_be_over(world: World) -> None:
    """A person cancels a run and deletes its unit: Cancelled, without any grace."""
    run_id, _ = deleted(world, "Cancelling")

    world.turn()

    assert world.state(run_id) == "Cancelled"
    assert "is gone" in world.log(run_id)


@pytest.mark.parametrize("recovers", [True, False])
def test_a_submitted_run_becomes_failed_too(recovers: bool) -> None:
    """This agent saw the unit and it was deleted: that is no accident to be mended by making it again and again.

    Before, recovery made the unit again, without end.
    """
    world = World(recovers=recovers)
    run_id, name = deleted(world, "Submitted")
    world.turn(3)

    assert world.made() == [name]
    assert world.state(run_id) == "Failed"
    assert world.cloud.flow_run(run_id).message == (
        f"The unit of execution {name} was deleted externally before the flow run reported anything"
    )


def test_a_unit_deleted_before_any_sweep_saw_it_fails_its_run(world: World) -> None:
    """This process made it, so it knows that it was there."""
    run_id, name = world.started(remembers=True)
    other, other_name = world.started("Submitted", remembers=True)
    world.platform.vanish(name)
    world.platform.vanish(other_name)

    world.turn(2)

    assert (world.state(run_id), world.state(other)) == ("Failed", "Failed")
    assert world.made() == [name, other_name]


def test_a_deleted_unit_of_claimed_task_runs_fails_the_run(world: World) -> None:
    """The unit of a retry is deleted before it took up its task runs: like a Submitted run's, it is not made again."""
    run_id, old = world.started()
    world.cloud.add_task_run(run_id, "Retrying", world.clock.now())
    world.platform.end(old, 1)
    world.clock.advance(1)
    new = world.create(world.claim(run_id))
    world.turn()
    world.platform.vanish(new)
    world.turn(2)

    assert world.state(run_id) == "Failed"
    assert world.made() == [old, new]


def test_a_unit_that_was_never_started_cannot_vanish(world: World) -> None:
    """A sibling that fails to start a container takes it away and tries anew: nothing was deleted externally."""
    twin = world.beside()
    claimed = twin.claim()
    world.platform.leave_unstarted(a_submission(claimed, world))
    world.turn()
    world.platform.vanish(claimed.record.unit)
    world.turn()
    assert world.state(claimed.run.id) == "Submitted"

    twin.create(claimed)
    world.turn()
    assert world.is_alive(claimed.record.unit)


def a_submission(claimed: Claimed, world: World) -> Submission:
    """What a claim's unit is made from."""
    run = claimed.run
    return Submission(
        name=claimed.record.unit, flow_run_id=run.id, attempt=claimed.record.attempt, command=("x",), owner=world.owner
    )


def test_a_run_that_waits_for_a_retry_is_left_alone(world: World) -> None:
    """It gets a new unit when the retry is due."""
    run_id, _ = deleted(world)
    world.cloud.add_task_run(run_id, "Retrying", world.clock.now().replace(year=2030))
    for _ in range(2):
        world.turn()

    assert world.state(run_id) == "Running"


def test_what_was_judged_is_forgotten(world: World) -> None:
    """The platform is asked once for its proof, not again and again."""
    deleted(world)
    for _ in range(3):
        world.turn()

    assert world.platform.calls.count("unit") == 1


# --- proofs ---


def test_absence_from_a_list_is_no_proof(world: World) -> None:
    """A list that lags: the unit is there when asked for by name, so nothing is reported; it stays remembered."""
    run_id, name = world.started()
    world.turn()
    hidden = Hiding(world.platform)
    world.sweep.platform = hidden
    world.turn()
    assert world.state(run_id) == "Running"

    world.platform.vanish(name)
    world.turn()
    assert world.state(run_id) == "Failed"


class Hiding(InMemoryPlatform):
    """Lists nothing, whatever there is."""

    def __init__(self, beside: InMemoryPlatform) -> None:
        super().__init__(beside=beside)

    def units(self) -> Sequence[Unit]:
        """An empty list."""
        return []


def test_a_proof_that_cannot_be_had_is_awaited(world: World) -> None:
    """The platform has trouble: the rest of the sweep goes on, and the next one asks again."""
    run_id, _ = deleted(world)
    other, unit = world.started()
    world.platform.end(unit, 1)
    world.platform.fail_next("unit", PlatformUnavailable("busy"))
    world.turn()
    assert (world.state(run_id), world.state(other)) == ("Running", "Failed")

    world.turn()
    assert world.state(run_id) == "Failed"


def test_a_cloud_that_is_away_delays_the_report_only(world: World) -> None:
    """What vanished is remembered until it is judged."""
    run_id, _ = deleted(world)
    world.cloud.fail_next("flow_runs", CloudUnavailable("away"))
    with pytest.raises(CloudUnavailable):
        world.turn()

    world.turn()

    assert world.state(run_id) == "Failed"


def test_ended_and_vanished_runs_are_read_together(world: World) -> None:
    """One request, however many there are."""
    runs = [deleted(world)[0] for _ in range(3)]
    for _ in range(3):
        run_id, name = world.started()
        world.platform.end(name, 1)
        runs.append(run_id)
    before = world.cloud.calls.count("flow_runs")

    world.turn()

    assert world.cloud.calls.count("flow_runs") == before + 1
    assert {world.state(run_id) for run_id in runs} == {"Failed"}


# --- whose business it is ---


def test_a_run_in_hand_is_judged_later(world: World) -> None:
    """This very process may be making its next unit; once it is not, the run is judged."""
    run_id, _ = deleted(world)
    world.work.adopt(run_id)
    world.turn()
    assert world.state(run_id) == "Running"
    assert world.sweep.look_soon

    world.work.release(run_id)
    world.turn()
    assert world.state(run_id) == "Failed"


def test_a_unit_that_we_stop_was_not_deleted_externally(world: World) -> None:
    """Some platforms drop a unit that is stopped: the stop reports its end, nobody else does."""
    run_id, name = world.started("Cancelling")
    world.turn()
    world.clock.advance(60)
    world.is_busy = True
    world.turn()
    world.platform.vanish(name)  # as the stop that is under way may do
    world.turn()
    assert world.state(run_id) == "Cancelling"

    world.later.pop()()
    for _ in range(2):
        world.turn()
    assert world.state(run_id) == "Cancelled"
    assert len(world.cloud.logs(run_id)) == 1


def test_a_unit_that_we_removed_was_not_deleted_externally(world: World) -> None:
    """It had ended before, so nobody misses it."""
    world.sweep.settings = attrs.evolve(world.settings, keep_ended=0)
    run_id, name = world.started()
    world.turn()
    world.cloud.set_state(run_id, "Success")
    world.platform.end(name, 0)
    for _ in range(2):
        world.turn()

    assert world.platform.units() == []
    assert "unit" not in world.platform.calls


def test_the_unit_of_a_newer_attempt_speaks_for_the_run(world: World) -> None:
    """The run was scheduled and claimed again: what became of the old unit is nobody's concern."""
    run_id, _ = deleted(world)
    world.cloud.set_state(run_id, "Scheduled")
    world.create(world.claim(run_id))
    world.cloud.set_state(run_id, "Running")

    world.turn()

    assert world.state(run_id) == "Running"


def test_an_older_unit_does_not_speak_for_the_run(world: World) -> None:
    """The first attempt's unit is still kept, and settled long ago; the second's is deleted."""
    run_id, old = world.started()
    world.platform.end(old, 1)
    world.turn()
    world.cloud.set_state(run_id, "Scheduled")
    world.clock.advance(1)
    new = world.create(world.claim(run_id))
    world.cloud.set_state(run_id, "Running")
    world.turn()
    world.platform.vanish(new)

    world.turn()

    assert world.state(run_id) == "Failed"
    assert new in world.cloud.flow_run(run_id).message


def test_a_retry_whose_unit_is_deleted(world: World) -> None:
    """The unit of the first try ended while the run waited, and is not judged for what happened to the second one."""
    run_id, old = world.started()
    task = world.cloud.add_task_run(run_id, "Retrying", world.clock.now())
    world.platform.end(old, 1)
    world.turn()
    world.clock.advance(1)
    new = world.create(world.claim(run_id))
    world.cloud.set_task_state(run_id, task, "Running")
    world.turn()
    world.platform.vanish(new)
    for _ in range(3):
        world.turn()

    assert new != old
    assert world.state(run_id) == "Failed"
    assert [line.message for line in world.cloud.logs(run_id)] == [
        f"The unit of execution {new} was deleted externally while the flow run was Running"
    ]

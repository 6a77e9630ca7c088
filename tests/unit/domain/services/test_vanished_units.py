"""Units that are deleted externally: their runs end, whatever state they are in (promise P7)."""

from collections.abc import Sequence

import attrs
import pytest

from prefect.agent.adapters.fakes import InMemoryPlatform
from prefect.agent.domain.errors import CloudUnavailable, PlatformUnavailable
from prefect.agent.domain.model.flow_runs import Claimed, FlowRunId
from prefect.agent.domain.model.submissions import Submission
from prefect.agent.domain.model.units import Unit
from support.sweep_harness import SweepHarness


@pytest.fixture
def harness() -> SweepHarness:
    """An empty world."""
    return SweepHarness()


def deleted(harness: SweepHarness, state: str = "Running") -> tuple[FlowRunId, str]:
    """A run in some state whose unit was seen alive and is deleted then."""
    run_id, name = harness.started(state)
    harness.turn()
    harness.platform.vanish(name)
    return run_id, name


def test_a_running_run_becomes_failed(harness: SweepHarness) -> None:
    """``docker rm -f``, ``kubectl delete job``: Failed at the next sweep, once, with what happened."""
    run_id, name = deleted(harness)
    for _ in range(3):
        harness.turn()

    assert harness.state(run_id) == "Failed"
    assert harness.cloud.flow_run(run_id).message == (
        f"The unit of execution {name} was deleted externally while the flow run was Running"
    )
    assert len(harness.cloud.logs(run_id)) == 1


def test_a_unit_that_only_waited_counts_too(harness: SweepHarness) -> None:
    """A pending unit is deleted while its run is Running (a retry that waits for a node)."""
    harness.platform = harness.sweep.platform = InMemoryPlatform(
        beside=harness.platform, clock=harness.clock, pending=True
    )
    run_id, _ = deleted(harness)

    harness.turn()

    assert harness.state(run_id) == "Failed"


@pytest.mark.parametrize("state", ["Success", "Failed", "Cancelled"])
def test_a_finished_run_stays_as_it_is(harness: SweepHarness, state: str) -> None:
    """Whoever cleans up after a run says nothing about it."""
    run_id, _ = deleted(harness)
    harness.cloud.set_state(run_id, state)

    harness.turn()

    assert harness.state(run_id) == state
    assert not harness.cloud.logs(run_id)


def test_a_cancelled_run_is_proven_to_be_over(harness: SweepHarness) -> None:
    """A person cancels a run and deletes its unit: Cancelled, without any grace."""
    run_id, _ = deleted(harness, "Cancelling")

    harness.turn()

    assert harness.state(run_id) == "Cancelled"
    assert "is gone" in harness.log(run_id)


@pytest.mark.parametrize("recovers", [True, False])
def test_a_submitted_run_becomes_failed_too(recovers: bool) -> None:
    """This agent saw the unit and it was deleted: that is no accident to be mended by making it again and again.

    Before, recovery made the unit again, without end.
    """
    harness = SweepHarness(recovers=recovers)
    run_id, name = deleted(harness, "Submitted")
    harness.turn(3)

    assert harness.made() == [name]
    assert harness.state(run_id) == "Failed"
    assert harness.cloud.flow_run(run_id).message == (
        f"The unit of execution {name} was deleted externally before the flow run reported anything"
    )


def test_a_unit_deleted_before_any_sweep_saw_it_fails_its_run(harness: SweepHarness) -> None:
    """This process made it, so it knows that it was there."""
    run_id, name = harness.started(remembers=True)
    other, other_name = harness.started("Submitted", remembers=True)
    harness.platform.vanish(name)
    harness.platform.vanish(other_name)

    harness.turn(2)

    assert (harness.state(run_id), harness.state(other)) == ("Failed", "Failed")
    assert harness.made() == [name, other_name]


def test_a_deleted_unit_of_claimed_task_runs_fails_the_run(harness: SweepHarness) -> None:
    """The unit of a retry is deleted before it took up its task runs: like a Submitted run's, it is not made again."""
    run_id, old = harness.started()
    harness.cloud.add_task_run(run_id, "Retrying", harness.clock.now())
    harness.platform.end(old, 1)
    harness.clock.advance(1)
    new = harness.create(harness.claim(run_id))
    harness.turn()
    harness.platform.vanish(new)
    harness.turn(2)

    assert harness.state(run_id) == "Failed"
    assert harness.made() == [old, new]


def test_a_unit_that_was_never_started_cannot_vanish(harness: SweepHarness) -> None:
    """A sibling that fails to start a container takes it away and tries anew: nothing was deleted externally."""
    twin = harness.beside()
    claimed = twin.claim()
    harness.platform.leave_unstarted(a_submission(claimed, harness))
    harness.turn()
    harness.platform.vanish(claimed.record.unit)
    harness.turn()
    assert harness.state(claimed.run.id) == "Submitted"

    twin.create(claimed)
    harness.turn()
    assert harness.is_alive(claimed.record.unit)


def a_submission(claimed: Claimed, harness: SweepHarness) -> Submission:
    """What a claim's unit is made from."""
    run = claimed.run
    return Submission(
        name=claimed.record.unit,
        flow_run_id=run.id,
        attempt=claimed.record.attempt,
        command=("x",),
        owner=harness.owner,
    )


def test_a_run_that_waits_for_a_retry_is_left_alone(harness: SweepHarness) -> None:
    """It gets a new unit when the retry is due."""
    run_id, _ = deleted(harness)
    harness.cloud.add_task_run(run_id, "Retrying", harness.clock.now().replace(year=2030))
    for _ in range(2):
        harness.turn()

    assert harness.state(run_id) == "Running"


def test_what_was_judged_is_forgotten(harness: SweepHarness) -> None:
    """The platform is asked once for its proof, not again and again."""
    deleted(harness)
    for _ in range(3):
        harness.turn()

    assert harness.platform.calls.count("unit") == 1


# --- proofs ---


def test_absence_from_a_list_is_no_proof(harness: SweepHarness) -> None:
    """A list that lags: the unit is there when asked for by name, so nothing is reported; it stays remembered."""
    run_id, name = harness.started()
    harness.turn()
    hidden = Hiding(harness.platform)
    harness.sweep.platform = hidden
    harness.turn()
    assert harness.state(run_id) == "Running"

    harness.platform.vanish(name)
    harness.turn()
    assert harness.state(run_id) == "Failed"


class Hiding(InMemoryPlatform):
    """Lists nothing, whatever there is."""

    def __init__(self, beside: InMemoryPlatform) -> None:
        super().__init__(beside=beside)

    def units(self) -> Sequence[Unit]:
        """An empty list."""
        return []


def test_a_proof_that_cannot_be_had_is_awaited(harness: SweepHarness) -> None:
    """The platform has trouble: the rest of the sweep goes on, and the next one asks again."""
    run_id, _ = deleted(harness)
    other, unit = harness.started()
    harness.platform.end(unit, 1)
    harness.platform.fail_next("unit", PlatformUnavailable("busy"))
    harness.turn()
    assert (harness.state(run_id), harness.state(other)) == ("Running", "Failed")

    harness.turn()
    assert harness.state(run_id) == "Failed"


def test_a_cloud_that_is_away_delays_the_report_only(harness: SweepHarness) -> None:
    """What vanished is remembered until it is judged."""
    run_id, _ = deleted(harness)
    harness.cloud.fail_next("flow_runs", CloudUnavailable("away"))
    with pytest.raises(CloudUnavailable):
        harness.turn()

    harness.turn()

    assert harness.state(run_id) == "Failed"


def test_ended_and_vanished_runs_are_read_together(harness: SweepHarness) -> None:
    """One request, however many there are."""
    runs = [deleted(harness)[0] for _ in range(3)]
    for _ in range(3):
        run_id, name = harness.started()
        harness.platform.end(name, 1)
        runs.append(run_id)
    before = harness.cloud.calls.count("flow_runs")

    harness.turn()

    assert harness.cloud.calls.count("flow_runs") == before + 1
    assert {harness.state(run_id) for run_id in runs} == {"Failed"}


# --- whose business it is ---


def test_a_run_in_hand_is_judged_later(harness: SweepHarness) -> None:
    """This very process may be making its next unit; once it is not, the run is judged."""
    run_id, _ = deleted(harness)
    harness.work.adopt(run_id)
    harness.turn()
    assert harness.state(run_id) == "Running"
    assert harness.sweep.look_soon

    harness.work.release(run_id)
    harness.turn()
    assert harness.state(run_id) == "Failed"


def test_a_unit_that_we_stop_was_not_deleted_externally(harness: SweepHarness) -> None:
    """Some platforms drop a unit that is stopped: the stop reports its end, nobody else does."""
    run_id, name = harness.started("Cancelling")
    harness.turn()
    harness.clock.advance(60)
    harness.is_busy = True
    harness.turn()
    harness.platform.vanish(name)  # as the stop that is under way may do
    harness.turn()
    assert harness.state(run_id) == "Cancelling"

    harness.later.pop()()
    for _ in range(2):
        harness.turn()
    assert harness.state(run_id) == "Cancelled"
    assert len(harness.cloud.logs(run_id)) == 1


def test_a_unit_that_we_removed_was_not_deleted_externally(harness: SweepHarness) -> None:
    """It had ended before, so nobody misses it."""
    harness.sweep.settings = attrs.evolve(harness.settings, keep_ended=0)
    run_id, name = harness.started()
    harness.turn()
    harness.cloud.set_state(run_id, "Success")
    harness.platform.end(name, 0)
    for _ in range(2):
        harness.turn()

    assert harness.platform.units() == []
    assert "unit" not in harness.platform.calls


def test_the_unit_of_a_newer_attempt_speaks_for_the_run(harness: SweepHarness) -> None:
    """The run was scheduled and claimed again: what became of the old unit is nobody's concern."""
    run_id, _ = deleted(harness)
    harness.cloud.set_state(run_id, "Scheduled")
    harness.create(harness.claim(run_id))
    harness.cloud.set_state(run_id, "Running")

    harness.turn()

    assert harness.state(run_id) == "Running"


def test_an_older_unit_does_not_speak_for_the_run(harness: SweepHarness) -> None:
    """The first attempt's unit is still kept, and settled long ago; the second's is deleted."""
    run_id, old = harness.started()
    harness.platform.end(old, 1)
    harness.turn()
    harness.cloud.set_state(run_id, "Scheduled")
    harness.clock.advance(1)
    new = harness.create(harness.claim(run_id))
    harness.cloud.set_state(run_id, "Running")
    harness.turn()
    harness.platform.vanish(new)

    harness.turn()

    assert harness.state(run_id) == "Failed"
    assert new in harness.cloud.flow_run(run_id).message


def test_a_retry_whose_unit_is_deleted(harness: SweepHarness) -> None:
    """The unit of the first try ended while the run waited, and is not judged for what happened to the second one."""
    run_id, old = harness.started()
    task = harness.cloud.add_task_run(run_id, "Retrying", harness.clock.now())
    harness.platform.end(old, 1)
    harness.turn()
    harness.clock.advance(1)
    new = harness.create(harness.claim(run_id))
    harness.cloud.set_task_state(run_id, task, "Running")
    harness.turn()
    harness.platform.vanish(new)
    for _ in range(3):
        harness.turn()

    assert new != old
    assert harness.state(run_id) == "Failed"
    assert [line.message for line in harness.cloud.logs(run_id)] == [
        f"The unit of execution {new} was deleted externally while the flow run was Running"
    ]

"""Recoveries and hand-backs are counted, spaced, and end; claims of task runs and of subclasses (promise P2)."""

import itertools

import pytest

from prefect.agent.adapters.fakes import InMemoryCloudApi
from prefect.agent.domain.model.leases import GRACE, LATE, MOST_RECOVERIES
from prefect.agent.domain.services.recovering import PORTION, portions
from support.sweep_harness import LEASE, SweepHarness


@pytest.fixture
def harness() -> SweepHarness:
    """An empty world."""
    return SweepHarness()


# --- how often ---


def test_recoveries_of_one_claim_are_counted_spaced_and_end(harness: SweepHarness) -> None:
    """A stale owner reference removes each Job at once, and no sweep ever sees one: the run is Failed in the end.

    Before: 54 Jobs in 97 s.
    """
    claimed = harness.claim()
    times = []
    for _ in range(10_000):
        if harness.state(claimed.run.id) == "Failed":
            break
        harness.restart()
        before = len(harness.made())
        harness.turn()
        if len(harness.made()) > before:
            times.append(harness.clock.monotonic())
            harness.platform.vanish(claimed.record.unit)
        harness.clock.advance(5)

    gaps = [after - before for before, after in itertools.pairwise(times)]
    assert gaps == [30, 60, 120, 300]
    assert len(harness.made()) == MOST_RECOVERIES
    assert harness.state(claimed.run.id) == "Failed"
    assert f"{MOST_RECOVERIES + 1} times" in harness.cloud.flow_run(claimed.run.id).message


def test_hand_backs_of_one_run_end(harness: SweepHarness) -> None:
    """Each claimant dies before it has started anything, and nobody else makes such units: Failed in the end."""
    run_id = harness.cloud.add_flow_run()
    other = harness.beside(fingerprint="another")
    for _ in range(10_000):
        state = harness.state(run_id)
        if state == "Failed":
            break
        if state == "Scheduled":
            harness.restart()
            harness.claim(run_id)
            harness.die()
        harness.clock.advance(10)
        other.turn()

    assert [kind for kind, _ in harness.cloud.flow_run(run_id).history].count("Submitted") == MOST_RECOVERIES + 1
    assert harness.made() == []
    assert harness.state(run_id) == "Failed"


def test_a_person_who_schedules_the_run_again_begins_anew(harness: SweepHarness) -> None:
    """Its recoveries are counted from zero."""
    claimed = harness.claim()
    for _ in range(3):
        harness.clock.advance(LEASE)
        harness.restart()
        harness.turn()
        harness.platform.vanish(claimed.record.unit)
    assert harness.record(claimed.run.id).recoveries == 3

    harness.cloud.set_state(claimed.run.id, "Scheduled")
    assert harness.claim(claimed.run.id).record.recoveries == 0


# --- an agent whose subclass starts flow runs in its own way ---


def test_a_subclass_that_was_killed_between_claim_and_deploy_fails_the_run_after_the_lease() -> None:
    """It is not known whether it was started. Before: Submitted for ever, without a word."""
    harness = SweepHarness(recovers=False)
    claimed = harness.claim()
    harness.restart()
    harness.turn()
    harness.clock.advance(LEASE - 1)
    harness.turn()
    assert harness.state(claimed.run.id) == "Submitted"

    harness.clock.advance(1)
    harness.turn()
    assert harness.state(claimed.run.id) == "Failed"
    assert "not known whether the run was started" in harness.log(claimed.run.id)
    assert harness.made() == []


def test_what_a_living_subclass_has_deployed_may_wait() -> None:
    """In a queue of its own, Submitted, longer than the lease; a run that is Running needs no unit here either."""
    harness = SweepHarness(recovers=False)
    waits, runs = harness.claim(), harness.claim()
    harness.cloud.set_state(runs.run.id, "Running")
    harness.clock.advance(LEASE + LATE.total_seconds() - 1)
    harness.turn(3)

    assert (harness.state(waits.run.id), harness.state(runs.run.id)) == ("Submitted", "Running")


# --- task runs that are claimed ---


def test_a_claim_of_task_runs_is_recovered_too(harness: SweepHarness) -> None:
    """The flow run stays Running; its new unit is made by the name that was claimed."""
    run_id, old = harness.started()
    harness.cloud.add_task_run(run_id, "Retrying", harness.clock.now())
    harness.platform.end(old, 1)
    harness.turn()
    harness.clock.advance(1)
    claimed = harness.claim(run_id)
    harness.restart()
    harness.turn(2)

    assert harness.made() == [old, claimed.record.unit]
    assert harness.state(run_id) == "Running"


def test_a_claim_of_task_runs_is_handed_back_too(harness: SweepHarness) -> None:
    """They wait again; the flow run stays Running."""
    run_id = harness.cloud.add_flow_run(state="Running")
    harness.cloud.add_task_run(run_id, "Retrying", harness.clock.now())
    harness.claim(run_id)
    other = harness.beside(fingerprint="another")
    harness.clock.advance(LEASE + GRACE.total_seconds())
    other.turn()

    [run] = harness.cloud.flow_runs([run_id])
    assert (run.state.name, run.tasks_wait, run.claim) == ("Running", True, None)


# --- portions ---


def test_recoveries_come_in_portions(harness: SweepHarness) -> None:
    """Each is read again when its turn comes."""
    runs = [harness.cloud.flow_runs([harness.cloud.add_flow_run()])[0] for _ in range(PORTION + 1)]

    assert [len(portion) for portion in portions(runs)] == [PORTION, 1]
    assert portions([]) == []


def test_two_clouds_share_a_platform_without_recovering_for_each_other(harness: SweepHarness) -> None:
    """The claims of a tenant are read from its own Cloud only."""
    claimed = harness.claim()
    tenant = harness.beside(cloud=InMemoryCloudApi(harness.clock))
    harness.die()
    harness.clock.advance(10_000)
    tenant.turn(3)

    assert harness.made() == []
    assert harness.state(claimed.run.id) == "Submitted"

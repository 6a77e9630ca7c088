"""Claims without a unit: recovered, handed back or given up, by whom and when (promises P1 and P2)."""

import itertools

import pytest

from prefect.agent.adapters.fakes import InMemoryCloudApi, InMemoryPlatform
from prefect.agent.domain.errors import CloudUnavailable, PlatformUnavailable
from prefect.agent.domain.model.flow_runs import Claimed, ClaimRecord, FlowRunId
from prefect.agent.domain.model.leases import GRACE, LATE, MOST_RECOVERIES
from prefect.agent.domain.model.submissions import Submission
from prefect.agent.domain.model.units import Unit
from prefect.agent.domain.services.recovering import PORTION, portions
from prefect.agent.ports import events
from prefect.agent.ports.cloud_api import ClaimRequest
from support.sweeps import World

LEASE = 120
"""Seconds that a claim of a World lasts."""


@pytest.fixture
def world() -> World:
    """An empty world."""
    return World()


def record(world: World, run_id: FlowRunId) -> ClaimRecord:
    """Of the run's latest claim."""
    [run] = world.cloud.flow_runs([run_id])
    assert run.claim is not None
    return run.claim


def older_claim(world: World, *, unit: str | None = None) -> ClaimRecord:
    """A claim by an agent that knew no leases; *unit*: a name that it did not make as this product does."""
    [run] = world.cloud.flow_runs([world.cloud.add_flow_run()])
    name = unit or f"prefect-{run.id}-{run.attempt}"
    old = ClaimRecord(claimant="old", platform=world.platform.identity, unit=name, attempt=str(run.attempt))
    [outcome] = world.cloud.claim([ClaimRequest(run=run, record=old)])
    assert isinstance(outcome, Claimed)
    return old


# --- who recovers ---


def test_the_claim_of_a_living_agent_is_not_recovered(world: World) -> None:
    """While A pulls an image, its twin leaves the claim to it, until the lease is over.

    Before, the twin's first sweep started A's run, or made it Failed by its own rules.
    """
    claimed, twin = world.claim(), world.beside()
    for _ in range(3):
        world.clock.advance(LEASE / 3 - 1)
        twin.turn()
    assert world.made() == []

    world.clock.advance(3)
    twin.turn()
    assert world.made() == [claimed.record.unit]
    assert record(world, claimed.run.id).claimant == twin.claims.claimant.id


def test_the_claim_of_an_agent_that_is_gone_is_recovered_at_once(world: World) -> None:
    """Its successor and its twin both see it: one of them gets it, and one unit is made."""
    claimed, twin = world.claim(), world.beside()
    world.die()
    twin.turn()
    world.sweep = world.agent()
    world.turn()

    assert world.made() == [claimed.record.unit]
    assert record(world, claimed.run.id).recoveries == 1


def test_a_claim_is_taken_over_before_its_unit_is_made(world: World) -> None:
    """Two agents that see the same stale claim at the same moment: the slower one makes nothing."""
    claimed, twin = world.claim(), world.beside()
    world.die()
    [seen] = world.cloud.flow_runs([claimed.run.id])
    world.restart()
    assert world.recovery.wanted([seen]) == twin.recovery.wanted([seen]) == [seen]
    started: list[Claimed] = []
    world.recovery([seen], started.append)
    twin.recovery([seen], started.append)

    assert [each.record.claimant for each in started] == [world.claims.claimant.id]


def test_another_kind_of_agent_never_makes_the_unit(world: World) -> None:
    """Another environment, labels or interpreter: it leaves the claim to its kind, then hands the run back.

    Before, the run was executed in the wrong interpreter.
    """
    claimed, other = world.claim(), world.beside(fingerprint="another")
    world.die()
    other.turn()
    world.clock.advance(LEASE + GRACE.total_seconds() - 1)
    other.turn()
    assert world.state(claimed.run.id) == "Submitted"

    world.clock.advance(1)
    other.turn(2)

    assert world.made() == []
    [run] = world.cloud.flow_runs([claimed.run.id])
    assert (run.state.name, run.claim, run.recoveries) == ("Scheduled", None, 1)
    assert "handed back" in world.log(run.id)


def test_a_run_that_was_handed_back_is_executed_by_its_next_claim_only(world: World) -> None:
    """Its old claimant comes back: it has nothing to say any more, and makes nothing."""
    claimed, other = world.claim(), world.beside(fingerprint="another")
    world.clock.advance(LEASE + GRACE.total_seconds())
    other.turn()
    world.clock.advance(60)
    new = other.create(other.claim(claimed.run.id))
    world.turn(3)
    other.turn(3)

    assert new != claimed.record.unit
    assert world.made() == [new]
    assert record(world, claimed.run.id).recoveries == 1


def test_the_record_of_an_older_agent_is_recovered(world: World) -> None:
    """It knew no leases and has no fingerprint."""
    old = older_claim(world)

    world.turn()

    assert world.made() == [old.unit]


def test_a_unit_with_a_foreign_name_is_never_made(world: World) -> None:
    """The record names a unit that no agent would make for this run: it is left alone."""
    older_claim(world, unit="rm-rf")
    world.clock.advance(10_000)

    world.turn(3)

    assert world.made() == []


def test_the_claim_of_another_product_is_left_alone(world: World) -> None:
    """An official agent's Submitted run has no record."""
    run_id = world.cloud.add_flow_run(state="Submitted")
    world.clock.advance(10_000)

    world.turn(3)

    assert world.made() == []
    assert world.state(run_id) == "Submitted"


# --- what has changed meanwhile ---


@pytest.mark.parametrize("state", ["Cancelled", "Scheduled", "Running", "Success"])
def test_a_claim_is_read_again_when_its_turn_comes(world: World, state: str) -> None:
    """Recoveries wait in a queue: a run that has moved on is not started."""
    claimed = world.claim()
    [seen] = world.cloud.flow_runs([claimed.run.id])
    world.cloud.set_state(claimed.run.id, state)

    world.recovery([seen], world.start)

    assert world.made() == []
    assert world.state(claimed.run.id) == state


def test_a_unit_that_was_made_meanwhile_is_found(world: World) -> None:
    """The list of units was read before; the second proof is the unit itself."""
    claimed = world.claim()
    [seen] = world.cloud.flow_runs([claimed.run.id])
    world.create(claimed)

    world.recovery([seen], world.start)

    assert world.made() == [claimed.record.unit]
    assert record(world, claimed.run.id) == claimed.record


def test_a_unit_that_was_never_started_is_started(world: World) -> None:
    """Its maker was killed between creation and start."""
    claimed = world.claim()
    run = claimed.run
    left = Submission(
        name=claimed.record.unit, flow_run_id=run.id, attempt=claimed.record.attempt, command=("x",), owner=world.owner
    )
    world.platform.leave_unstarted(left)
    world.restart()
    world.turn(2)

    assert world.made() == [claimed.record.unit]
    assert world.state(run.id) == "Submitted"


def test_one_unit_that_cannot_be_looked_at_keeps_no_other_claim_waiting(world: World) -> None:
    """An answer that cannot be read, or a bug of an adapter: that claim is for a later sweep, the others go on."""
    claims = [world.claim() for _ in range(3)]
    world.recovery.platform = Blind(world.platform, claims[0].record.unit, claims[1].record.unit)

    world.turn()

    assert world.made() == [claims[2].record.unit]
    assert {events.PLATFORM_TROUBLE, events.BUG} <= set(world.heard.names())


class Blind(InMemoryPlatform):
    """Cannot look at two of its units; the second one is a bug."""

    def __init__(self, beside: InMemoryPlatform, *names: str) -> None:
        super().__init__(beside=beside)
        self._names = names

    def unit(self, name: str) -> Unit | None:
        """Like the platform's."""
        if name == self._names[0]:
            raise PlatformUnavailable("no descriptors left")
        if name == self._names[1]:
            raise KeyError(name)
        return super().unit(name)


def test_a_take_over_that_the_cloud_defers_is_tried_again(world: World) -> None:
    """A Cloud may lock a run for some time after its last claim."""
    claimed = world.claim()
    world.cloud.fail_next("claim", CloudUnavailable("locked"))
    world.turn()
    assert world.made() == []
    assert "locked" in next(e.message for e in world.heard.events if e.name == events.RUN_DROPPED)

    world.turn()
    assert world.made() == [claimed.record.unit]


def test_nothing_is_recovered_while_the_platform_is_away(world: World) -> None:
    """It could not be made now; handing back and giving up need proof as well."""
    claimed = world.claim()
    world.platform.fail_next("check", PlatformUnavailable("away"))
    world.gate.check()
    world.turn()
    assert world.made() == []

    world.clock.advance(10)
    world.gate.check()
    world.turn()
    assert world.made() == [claimed.record.unit]


# --- how often ---


def test_recoveries_of_one_claim_are_counted_spaced_and_end(world: World) -> None:
    """A stale owner reference removes each Job at once, and no sweep ever sees one: the run is Failed in the end.

    Before: 54 Jobs in 97 s.
    """
    claimed = world.claim()
    times = []
    for _ in range(10_000):
        if world.state(claimed.run.id) == "Failed":
            break
        world.restart()
        before = len(world.made())
        world.turn()
        if len(world.made()) > before:
            times.append(world.clock.monotonic())
            world.platform.vanish(claimed.record.unit)
        world.clock.advance(5)

    gaps = [after - before for before, after in itertools.pairwise(times)]
    assert gaps == [30, 60, 120, 300]
    assert len(world.made()) == MOST_RECOVERIES
    assert world.state(claimed.run.id) == "Failed"
    assert f"{MOST_RECOVERIES + 1} times" in world.cloud.flow_run(claimed.run.id).message


def test_hand_backs_of_one_run_end(world: World) -> None:
    """Each claimant dies before it has started anything, and nobody else makes such units: Failed in the end."""
    run_id = world.cloud.add_flow_run()
    other = world.beside(fingerprint="another")
    for _ in range(10_000):
        state = world.state(run_id)
        if state == "Failed":
            break
        if state == "Scheduled":
            world.restart()
            world.claim(run_id)
            world.die()
        world.clock.advance(10)
        other.turn()

    assert [kind for kind, _ in world.cloud.flow_run(run_id).history].count("Submitted") == MOST_RECOVERIES + 1
    assert world.made() == []
    assert world.state(run_id) == "Failed"


def test_a_person_who_schedules_the_run_again_begins_anew(world: World) -> None:
    """Its recoveries are counted from zero."""
    claimed = world.claim()
    for _ in range(3):
        world.clock.advance(LEASE)
        world.restart()
        world.turn()
        world.platform.vanish(claimed.record.unit)
    assert record(world, claimed.run.id).recoveries == 3

    world.cloud.set_state(claimed.run.id, "Scheduled")
    assert world.claim(claimed.run.id).record.recoveries == 0


# --- an agent whose subclass starts flow runs in its own way ---


def test_a_subclass_that_was_killed_between_claim_and_deploy_fails_the_run_after_the_lease() -> None:
    """It is not known whether it was started. Before: Submitted for ever, without a word."""
    world = World(recovers=False)
    claimed = world.claim()
    world.restart()
    world.turn()
    world.clock.advance(LEASE - 1)
    world.turn()
    assert world.state(claimed.run.id) == "Submitted"

    world.clock.advance(1)
    world.turn()
    assert world.state(claimed.run.id) == "Failed"
    assert "not known whether the run was started" in world.log(claimed.run.id)
    assert world.made() == []


def test_what_a_living_subclass_has_deployed_may_wait() -> None:
    """In a queue of its own, Submitted, longer than the lease; a run that is Running needs no unit here either."""
    world = World(recovers=False)
    waits, runs = world.claim(), world.claim()
    world.cloud.set_state(runs.run.id, "Running")
    world.clock.advance(LEASE + LATE.total_seconds() - 1)
    world.turn(3)

    assert (world.state(waits.run.id), world.state(runs.run.id)) == ("Submitted", "Running")


# --- task runs that are claimed ---


def test_a_claim_of_task_runs_is_recovered_too(world: World) -> None:
    """The flow run stays Running; its new unit is made by the name that was claimed."""
    run_id, old = world.started()
    world.cloud.add_task_run(run_id, "Retrying", world.clock.now())
    world.platform.end(old, 1)
    world.turn()
    world.clock.advance(1)
    claimed = world.claim(run_id)
    world.restart()
    world.turn(2)

    assert world.made() == [old, claimed.record.unit]
    assert world.state(run_id) == "Running"


def test_a_claim_of_task_runs_is_handed_back_too(world: World) -> None:
    """They wait again; the flow run stays Running."""
    run_id = world.cloud.add_flow_run(state="Running")
    world.cloud.add_task_run(run_id, "Retrying", world.clock.now())
    world.claim(run_id)
    other = world.beside(fingerprint="another")
    world.clock.advance(LEASE + GRACE.total_seconds())
    other.turn()

    [run] = world.cloud.flow_runs([run_id])
    assert (run.state.name, run.tasks_wait, run.claim) == ("Running", True, None)


# --- portions ---


def test_recoveries_come_in_portions(world: World) -> None:
    """Each is read again when its turn comes."""
    runs = [world.cloud.flow_runs([world.cloud.add_flow_run()])[0] for _ in range(PORTION + 1)]

    assert [len(portion) for portion in portions(runs)] == [PORTION, 1]
    assert portions([]) == []


def test_two_clouds_share_a_platform_without_recovering_for_each_other(world: World) -> None:
    """The claims of a tenant are read from its own Cloud only."""
    claimed = world.claim()
    tenant = world.beside(cloud=InMemoryCloudApi(world.clock))
    world.die()
    world.clock.advance(10_000)
    tenant.turn(3)

    assert world.made() == []
    assert world.state(claimed.run.id) == "Submitted"

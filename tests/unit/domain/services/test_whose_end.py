"""An end is reported by the owner of the unit, for the claim it belongs to, and is settled once it is confirmed."""

from collections.abc import Callable, Collection, Sequence

import attrs
import pytest

from prefect.agent.adapters.fakes import InMemoryCloudApi, InMemoryPlatform
from prefect.agent.domain.errors import CloudUnavailable, PlatformUnavailable
from prefect.agent.domain.model.flow_runs import FlowRun, FlowRunId
from prefect.agent.domain.model.submissions import Submission
from prefect.agent.domain.model.units import Unit
from prefect.agent.ports import events
from support.sweeps import World


@pytest.fixture
def world() -> World:
    """An empty world."""
    return World()


# --- another claim has the run ---


@pytest.mark.parametrize("state", ["Submitted", "Running", "Cancelling"])
@pytest.mark.parametrize("fate", ["ended", "deleted"])
def test_a_run_that_an_official_agent_executes_is_not_ended(world: World, state: str, fate: str) -> None:
    """A and its unit died, the run was scheduled again, an official agent executes it, A comes back.

    Before, A made that healthy run Failed, or Cancelled while its process lived.
    """
    run_id, name = world.started()
    world.turn()
    world.cloud.set_state(run_id, "Scheduled")
    for step in ("Submitted", "Running", "Cancelling")[: ("Submitted", "Running", "Cancelling").index(state) + 1]:
        world.cloud.set_state(run_id, step)
    world.platform.end(name, 1) if fate == "ended" else world.platform.vanish(name)
    world.turn(3)
    world.restart()
    world.turn(3)

    assert world.state(run_id) == state
    assert not world.cloud.logs(run_id)


@pytest.mark.parametrize("state", ["Running", "Cancelling"])
def test_a_run_that_another_platform_executes_is_not_ended(world: World, state: str) -> None:
    """The run was claimed again elsewhere; neither the old unit's end nor its absence says anything of it."""
    elsewhere = World(clock=world.clock, cloud=world.cloud, presence=world.presence)
    run_id, name = world.started()
    world.turn()
    world.cloud.set_state(run_id, "Scheduled")
    new = elsewhere.create(elsewhere.claim(run_id))
    world.cloud.set_state(run_id, state)
    world.platform.end(name, 1)
    world.turn(3)
    world.platform.vanish(name)
    world.restart()
    world.turn(3)
    elsewhere.turn(3)

    assert world.state(run_id) == state
    assert elsewhere.is_alive(new)


def test_an_end_that_waited_through_an_outage_is_not_carried_out_on_another_claim(world: World) -> None:
    """It waited in A's outbox while the run was scheduled again and B took it."""
    run_id, name = world.started()
    world.platform.end(name, 1)
    world.sweep()
    world.cloud.set_state(run_id, "Scheduled")
    twin = world.beside()
    twin.create(twin.claim(run_id))
    world.cloud.set_state(run_id, "Running")
    world.send()

    assert world.state(run_id) == "Running"
    assert events.RUN_DROPPED in world.heard.names()
    assert len(world.outbox) == 0


def test_a_run_without_a_unit_is_judged_by_the_claim_whose_absence_was_proven(world: World) -> None:
    """Between the proof and the read the run was claimed again, elsewhere: that claim's unit was never looked for."""
    elsewhere = World(clock=world.clock, cloud=world.cloud, presence=world.presence)
    run_id, name = world.started()
    world.platform.vanish(name)
    world.turn()
    world.sweep.cloud = Meanwhile(world.cloud, lambda: again(elsewhere, run_id))
    world.turn()

    assert world.state(run_id) == "Running"


def again(world: World, run_id: FlowRunId) -> None:
    """The run is scheduled again, claimed and executed."""
    if world.state(run_id) == "Running" and not world.made():
        world.cloud.set_state(run_id, "Scheduled")
        world.create(world.claim(run_id))
        world.cloud.set_state(run_id, "Running")


class Meanwhile(InMemoryCloudApi):
    """The same Cloud, in which something happens just before runs are read."""

    def __init__(self, inner: InMemoryCloudApi, happens: Callable[[], None]) -> None:
        super().__init__()
        self.__dict__.update({**vars(inner), "happens": happens, "inner": inner})

    happens: Callable[[], None]
    inner: InMemoryCloudApi

    def flow_runs(self, ids: Collection[FlowRunId]) -> Sequence[FlowRun]:
        """Like the Cloud's."""
        self.happens()
        return self.inner.flow_runs(ids)


# --- runs without a unit ---


@pytest.mark.parametrize(("state", "end"), [("Running", "Failed"), ("Cancelling", "Cancelled")])
def test_a_run_whose_unit_no_process_remembers_ends(world: World, state: str, end: str) -> None:
    """Engine data wiped, a Job's TTL, a prune while the agent was down: asked of the Cloud, proven twice.

    Before: Running or Cancelling for ever.
    """
    run_id, name = world.started(state)
    world.platform.vanish(name)
    world.turn()
    assert world.state(run_id) == state

    world.turn()
    assert world.state(run_id) == end
    assert name in world.log(run_id)


def test_an_absence_that_the_unit_itself_disproves_is_none(world: World) -> None:
    """A list that lags, twice: the unit is there when asked for by name."""
    run_id, name = world.started()
    world.sweep.platform = Lagging(beside=world.platform)
    world.turn(3)

    assert world.state(run_id) == "Running"
    assert world.is_alive(name)


class Lagging(InMemoryPlatform):
    """Lists nothing."""

    def units(self) -> Sequence[Unit]:
        """An empty list."""
        return []


def test_runs_that_wait_for_a_retry_cost_a_sweep_nothing(world: World) -> None:
    """Their units are long gone, and their absence is looked into once, not at each sweep."""
    for _ in range(3):
        run_id, name = world.started()
        world.cloud.add_task_run(run_id, "Retrying", world.clock.now().replace(year=2030))
        world.platform.vanish(name)
    world.turn(2)
    looks, reads = world.platform.calls.count("unit"), world.cloud.calls.count("flow_runs")
    world.turn(5)

    assert world.platform.calls.count("unit") == looks
    assert world.cloud.calls.count("flow_runs") == reads


# --- two tenants on one engine ---


def test_tenants_on_one_platform_leave_each_others_units_alone(world: World) -> None:
    """Ended, cancelled, hopeless, deleted in the Cloud: only the owner judges, stops, counts and removes.

    Before, a unit of another tenant was removed unreported, or its run made Failed, or it was stopped.
    """
    tenant = world.beside(cloud=InMemoryCloudApi(world.clock))
    ended, ended_unit = tenant.started()
    tenant.platform.end(ended_unit, 1)
    _, alive = tenant.started()
    cancelled, cancelled_unit = tenant.started("Cancelling")
    for _ in range(4):
        world.turn()
        world.clock.advance(400)
    units = {unit.name: unit.status.has_ended for unit in world.platform.units()}

    assert units == {ended_unit: True, alive: False, cancelled_unit: False}
    assert world.work.census.alive == 0
    assert (tenant.state(ended), tenant.state(cancelled)) == ("Running", "Cancelling")
    assert not {events.UNIT_STOPPED, events.UNIT_REMOVED, events.UNIT_WAITS} & set(world.heard.names())


def test_a_unit_without_a_mark_is_looked_at_only(world: World) -> None:
    """It exists, so its claim is not recovered; but it is neither judged nor removed."""
    claimed = world.claim()
    run = claimed.run
    world.platform.create(
        Submission(name=claimed.record.unit, flow_run_id=run.id, attempt=claimed.record.attempt, command=("x",))
    )
    world.platform.end(claimed.record.unit, 1)
    world.clock.advance(10_000)
    world.turn(3)

    assert world.made() == [claimed.record.unit]
    assert world.state(run.id) == "Submitted"
    assert len(world.platform.units()) == 1
    assert world.work.census.alive == 0


def test_an_agent_counts_its_own_units_and_judges_its_siblings(world: World) -> None:
    """Another agent of the same Cloud: its ended units are reported by either, but do not count for our limit."""
    run_id, name = world.started()
    world.sweep.owner = attrs.evolve(world.owner, agent="other")
    world.sweep()
    assert world.work.census.alive == 0

    world.platform.end(name, 1)
    world.turn()
    assert world.state(run_id) == "Failed"


# --- confirmed before anything is removed ---


def test_an_ended_unit_is_removed_only_once_its_end_is_confirmed() -> None:
    """The Cloud takes no ends for a while: what ended stays, with its evidence, until its run is read as finished."""
    world = World()
    world.sweep.settings = attrs.evolve(world.settings, keep_ended=0)
    run_id, name = world.started()
    world.platform.end(name, 1)
    world.cloud.fail_next("end", CloudUnavailable("socket hang up"), times=3)
    for _ in range(3):
        world.turn()
        assert world.platform.unit(name) is not None
        world.clock.advance(100)
    world.turn(2)

    assert world.state(run_id) == "Failed"
    assert world.platform.units() == []


def test_a_stopped_unit_is_removed_only_once_its_end_is_confirmed() -> None:
    """Also what the agent itself stopped."""
    settings = attrs.evolve(World().settings, keep_ended=0, cancel_grace=0)
    world = World(settings=settings)
    run_id, name = world.started("Cancelling")
    world.cloud.fail_next("end", CloudUnavailable("socket hang up"), times=2)
    for _ in range(2):
        world.turn()
        assert world.platform.unit(name) is not None
        world.clock.advance(100)
    world.turn(3)

    assert world.state(run_id) == "Cancelled"
    assert world.platform.units() == []


def test_stopping_an_older_unit_does_not_replace_the_end_of_the_latest() -> None:
    """A run is cancelled in its second attempt while the first one's unit hangs: both are stopped, it is Cancelled."""
    world = World()
    run_id, old = world.started()
    world.cloud.set_state(run_id, "Scheduled")
    new = world.create(world.claim(run_id))
    world.cloud.set_state(run_id, "Cancelling")
    world.platform._place.units = dict(reversed(world.platform._place.units.items()))
    world.turn()
    world.clock.advance(60)
    world.turn(3)

    assert not world.is_alive(old)
    assert not world.is_alive(new)
    assert world.state(run_id) == "Cancelled"


# --- each step for itself ---


def test_a_bug_about_one_unit_stops_no_sweep(world: World) -> None:
    """An adapter's bug while a unit's absence is proven, or while it is removed: the others are judged and removed."""
    bad, bad_unit = world.started()
    good, good_unit = world.started()
    world.turn()
    for name in (bad_unit, good_unit):
        world.platform.vanish(name)
    done, done_unit = world.started()
    world.cloud.set_state(done, "Success")
    world.platform.end(done_unit, 0)
    world.clock.advance(1000)
    world.sweep.platform = Buggy(world.platform, bad_unit)
    world.turn(2)

    assert (world.state(bad), world.state(good)) == ("Running", "Failed")
    assert events.BUG in world.heard.names()
    assert world.platform.units() == []


class Buggy(InMemoryPlatform):
    """Knows nothing of one unit, not even that."""

    def __init__(self, beside: InMemoryPlatform, name: str) -> None:
        super().__init__(beside=beside)
        self._name = name

    def unit(self, name: str) -> Unit | None:
        """Like the platform's."""
        if name == self._name:
            raise KeyError(name)
        return super().unit(name)


def test_a_unit_of_an_older_claim_does_not_hurry_the_sweep(world: World) -> None:
    """While the run's next claim is being started for minutes, its old unit is no reason to look every second."""
    run_id, old = world.started()
    world.cloud.add_task_run(run_id, "Retrying", world.clock.now())
    world.platform.end(old, 1)
    world.clock.advance(1)
    world.claim(run_id)
    world.work.adopt(run_id)
    world.turn()

    assert not world.sweep.look_soon


# --- runs that are deleted in the Cloud ---


def test_the_unit_of_a_deleted_run_is_reported_and_stopped(world: World) -> None:
    """Once, and after the grace that a cancelled run has; a run that is only hard to read is left alone.

    Before, it lived on without a word.
    """
    run_id, name = world.started()
    _, other = world.started()
    world.turn()
    world.delete(run_id)
    world.cloud.calls.clear()
    for _ in range(30):
        world.turn()
        world.clock.advance(30)

    assert not world.is_alive(name)
    assert world.is_alive(other)
    assert world.heard.names().count(events.UNIT_WAITS) == 1
    assert world.heard.names().count(events.UNIT_STOPPED) == 1


def test_a_deleted_run_whose_unit_cannot_be_stopped_is_tried_again(world: World) -> None:
    """The next sweep does."""
    run_id, name = world.started()
    world.delete(run_id)
    world.turn()
    world.clock.advance(60)
    world.platform.fail_next("stop", PlatformUnavailable("busy"))
    world.turn()
    assert world.is_alive(name)

    world.turn()
    assert not world.is_alive(name)

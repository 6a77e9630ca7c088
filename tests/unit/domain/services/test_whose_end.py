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
from support.sweep_harness import SweepHarness


@pytest.fixture
def harness() -> SweepHarness:
    """An empty world."""
    return SweepHarness()


# --- another claim has the run ---


@pytest.mark.parametrize("state", ["Submitted", "Running", "Cancelling"])
@pytest.mark.parametrize("fate", ["ended", "deleted"])
def test_a_run_that_an_official_agent_executes_is_not_ended(harness: SweepHarness, state: str, fate: str) -> None:
    """A and its unit died, the run was scheduled again, an official agent executes it, A comes back.

    Before, A made that healthy run Failed, or Cancelled while its process lived.
    """
    run_id, name = harness.started()
    harness.turn()
    harness.cloud.set_state(run_id, "Scheduled")
    for step in ("Submitted", "Running", "Cancelling")[: ("Submitted", "Running", "Cancelling").index(state) + 1]:
        harness.cloud.set_state(run_id, step)
    harness.platform.end(name, 1) if fate == "ended" else harness.platform.vanish(name)
    harness.turn(3)
    harness.restart()
    harness.turn(3)

    assert harness.state(run_id) == state
    assert not harness.cloud.logs(run_id)


@pytest.mark.parametrize("state", ["Running", "Cancelling"])
def test_a_run_that_another_platform_executes_is_not_ended(harness: SweepHarness, state: str) -> None:
    """The run was claimed again elsewhere; neither the old unit's end nor its absence says anything of it."""
    elsewhere = SweepHarness(clock=harness.clock, cloud=harness.cloud, presence=harness.presence)
    run_id, name = harness.started()
    harness.turn()
    harness.cloud.set_state(run_id, "Scheduled")
    new = elsewhere.create(elsewhere.claim(run_id))
    harness.cloud.set_state(run_id, state)
    harness.platform.end(name, 1)
    harness.turn(3)
    harness.platform.vanish(name)
    harness.restart()
    harness.turn(3)
    elsewhere.turn(3)

    assert harness.state(run_id) == state
    assert elsewhere.is_alive(new)


def test_an_end_that_waited_through_an_outage_is_not_carried_out_on_another_claim(harness: SweepHarness) -> None:
    """It waited in A's outbox while the run was scheduled again and B took it."""
    run_id, name = harness.started()
    harness.platform.end(name, 1)
    harness.sweep()
    harness.cloud.set_state(run_id, "Scheduled")
    twin = harness.beside()
    twin.create(twin.claim(run_id))
    harness.cloud.set_state(run_id, "Running")
    harness.send()

    assert harness.state(run_id) == "Running"
    assert events.RUN_DROPPED in harness.heard.names()
    assert len(harness.outbox) == 0


def test_a_run_without_a_unit_is_judged_by_the_claim_whose_absence_was_proven(harness: SweepHarness) -> None:
    """Between the proof and the read the run was claimed again, elsewhere: that claim's unit was never looked for."""
    elsewhere = SweepHarness(clock=harness.clock, cloud=harness.cloud, presence=harness.presence)
    run_id, name = harness.started()
    harness.platform.vanish(name)
    harness.turn()
    harness.sweep.cloud = Meanwhile(harness.cloud, lambda: again(elsewhere, run_id))
    harness.turn()

    assert harness.state(run_id) == "Running"


def again(harness: SweepHarness, run_id: FlowRunId) -> None:
    """The run is scheduled again, claimed and executed."""
    if harness.state(run_id) == "Running" and not harness.made():
        harness.cloud.set_state(run_id, "Scheduled")
        harness.create(harness.claim(run_id))
        harness.cloud.set_state(run_id, "Running")


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
def test_a_run_whose_unit_no_process_remembers_ends(harness: SweepHarness, state: str, end: str) -> None:
    """Engine data wiped, a Job's TTL, a prune while the agent was down: asked of the Cloud, proven twice.

    Before: Running or Cancelling for ever.
    """
    run_id, name = harness.started(state)
    harness.platform.vanish(name)
    harness.turn()
    assert harness.state(run_id) == state

    harness.turn()
    assert harness.state(run_id) == end
    assert name in harness.log(run_id)


def test_an_absence_that_the_unit_itself_disproves_is_none(harness: SweepHarness) -> None:
    """A list that lags, twice: the unit is there when asked for by name."""
    run_id, name = harness.started()
    harness.sweep.platform = Lagging(beside=harness.platform)
    harness.turn(3)

    assert harness.state(run_id) == "Running"
    assert harness.is_alive(name)


class Lagging(InMemoryPlatform):
    """Lists nothing."""

    def units(self) -> Sequence[Unit]:
        """An empty list."""
        return []


def test_runs_that_wait_for_a_retry_cost_a_sweep_nothing(harness: SweepHarness) -> None:
    """Their units are long gone, and their absence is looked into once, not at each sweep."""
    for _ in range(3):
        run_id, name = harness.started()
        harness.cloud.add_task_run(run_id, "Retrying", harness.clock.now().replace(year=2030))
        harness.platform.vanish(name)
    harness.turn(2)
    looks, reads = harness.platform.calls.count("unit"), harness.cloud.calls.count("flow_runs")
    harness.turn(5)

    assert harness.platform.calls.count("unit") == looks
    assert harness.cloud.calls.count("flow_runs") == reads


# --- two tenants on one engine ---


def test_tenants_on_one_platform_leave_each_others_units_alone(harness: SweepHarness) -> None:
    """Ended, cancelled, hopeless, deleted in the Cloud: only the owner judges, stops, counts and removes.

    Before, a unit of another tenant was removed unreported, or its run made Failed, or it was stopped.
    """
    tenant = harness.beside(cloud=InMemoryCloudApi(harness.clock))
    ended, ended_unit = tenant.started()
    tenant.platform.end(ended_unit, 1)
    _, alive = tenant.started()
    cancelled, cancelled_unit = tenant.started("Cancelling")
    for _ in range(4):
        harness.turn()
        harness.clock.advance(400)
    units = {unit.name: unit.status.has_ended for unit in harness.platform.units()}

    assert units == {ended_unit: True, alive: False, cancelled_unit: False}
    assert harness.work.census.alive == 0
    assert (tenant.state(ended), tenant.state(cancelled)) == ("Running", "Cancelling")
    assert not {events.UNIT_STOPPED, events.UNIT_REMOVED, events.UNIT_WAITS} & set(harness.heard.names())


def test_a_unit_without_a_mark_is_looked_at_only(harness: SweepHarness) -> None:
    """It exists, so its claim is not recovered; but it is neither judged nor removed."""
    claimed = harness.claim()
    run = claimed.run
    harness.platform.create(
        Submission(name=claimed.record.unit, flow_run_id=run.id, attempt=claimed.record.attempt, command=("x",))
    )
    harness.platform.end(claimed.record.unit, 1)
    harness.clock.advance(10_000)
    harness.turn(3)

    assert harness.made() == [claimed.record.unit]
    assert harness.state(run.id) == "Submitted"
    assert len(harness.platform.units()) == 1
    assert harness.work.census.alive == 0


def test_an_agent_counts_its_own_units_and_judges_its_siblings(harness: SweepHarness) -> None:
    """Another agent of the same Cloud: its ended units are reported by either, but do not count for our limit."""
    run_id, name = harness.started()
    harness.sweep.owner = attrs.evolve(harness.owner, agent="other")
    harness.sweep()
    assert harness.work.census.alive == 0

    harness.platform.end(name, 1)
    harness.turn()
    assert harness.state(run_id) == "Failed"


# --- confirmed before anything is removed ---


def test_an_ended_unit_is_removed_only_once_its_end_is_confirmed() -> None:
    """The Cloud takes no ends for a while: what ended stays, with its evidence, until its run is read as finished."""
    harness = SweepHarness()
    harness.sweep.settings = attrs.evolve(harness.settings, keep_ended=0)
    run_id, name = harness.started()
    harness.platform.end(name, 1)
    harness.cloud.fail_next("end", CloudUnavailable("socket hang up"), times=3)
    for _ in range(3):
        harness.turn()
        assert harness.platform.unit(name) is not None
        harness.clock.advance(100)
    harness.turn(2)

    assert harness.state(run_id) == "Failed"
    assert harness.platform.units() == []


def test_a_stopped_unit_is_removed_only_once_its_end_is_confirmed() -> None:
    """Also what the agent itself stopped."""
    settings = attrs.evolve(SweepHarness().settings, keep_ended=0, cancel_grace=0)
    harness = SweepHarness(settings=settings)
    run_id, name = harness.started("Cancelling")
    harness.cloud.fail_next("end", CloudUnavailable("socket hang up"), times=2)
    for _ in range(2):
        harness.turn()
        assert harness.platform.unit(name) is not None
        harness.clock.advance(100)
    harness.turn(3)

    assert harness.state(run_id) == "Cancelled"
    assert harness.platform.units() == []


def test_stopping_an_older_unit_does_not_replace_the_end_of_the_latest() -> None:
    """A run is cancelled in its second attempt while the first one's unit hangs: both are stopped, it is Cancelled."""
    harness = SweepHarness()
    run_id, old = harness.started()
    harness.cloud.set_state(run_id, "Scheduled")
    new = harness.create(harness.claim(run_id))
    harness.cloud.set_state(run_id, "Cancelling")
    harness.platform._place.units = dict(reversed(harness.platform._place.units.items()))
    harness.turn()
    harness.clock.advance(60)
    harness.turn(3)

    assert not harness.is_alive(old)
    assert not harness.is_alive(new)
    assert harness.state(run_id) == "Cancelled"


# --- each step for itself ---


def test_a_bug_about_one_unit_stops_no_sweep(harness: SweepHarness) -> None:
    """An adapter's bug while a unit's absence is proven, or while it is removed: the others are judged and removed."""
    bad, bad_unit = harness.started()
    good, good_unit = harness.started()
    harness.turn()
    for name in (bad_unit, good_unit):
        harness.platform.vanish(name)
    done, done_unit = harness.started()
    harness.cloud.set_state(done, "Success")
    harness.platform.end(done_unit, 0)
    harness.clock.advance(1000)
    harness.sweep.platform = Buggy(harness.platform, bad_unit)
    harness.turn(2)

    assert (harness.state(bad), harness.state(good)) == ("Running", "Failed")
    assert events.BUG in harness.heard.names()
    assert harness.platform.units() == []


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


def test_a_unit_of_an_older_claim_does_not_hurry_the_sweep(harness: SweepHarness) -> None:
    """While the run's next claim is being started for minutes, its old unit is no reason to look every second."""
    run_id, old = harness.started()
    harness.cloud.add_task_run(run_id, "Retrying", harness.clock.now())
    harness.platform.end(old, 1)
    harness.clock.advance(1)
    harness.claim(run_id)
    harness.work.adopt(run_id)
    harness.turn()

    assert not harness.sweep.look_soon


# --- runs that are deleted in the Cloud ---


def test_the_unit_of_a_deleted_run_is_reported_and_stopped(harness: SweepHarness) -> None:
    """Once, and after the grace that a cancelled run has; a run that is only hard to read is left alone.

    Before, it lived on without a word.
    """
    run_id, name = harness.started()
    _, other = harness.started()
    harness.turn()
    harness.delete(run_id)
    harness.cloud.calls.clear()
    for _ in range(30):
        harness.turn()
        harness.clock.advance(30)

    assert not harness.is_alive(name)
    assert harness.is_alive(other)
    assert harness.heard.names().count(events.UNIT_WAITS) == 1
    assert harness.heard.names().count(events.UNIT_STOPPED) == 1


def test_a_deleted_run_whose_unit_cannot_be_stopped_is_tried_again(harness: SweepHarness) -> None:
    """The next sweep does."""
    run_id, name = harness.started()
    harness.delete(run_id)
    harness.turn()
    harness.clock.advance(60)
    harness.platform.fail_next("stop", PlatformUnavailable("busy"))
    harness.turn()
    assert harness.is_alive(name)

    harness.turn()
    assert not harness.is_alive(name)

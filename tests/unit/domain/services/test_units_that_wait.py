"""Units that are pending: their runs' logs say what they wait for, and hopeless ones are stopped (promise P7)."""

from datetime import timedelta

import pytest

from prefect.agent.domain.errors import PlatformUnavailable
from prefect.agent.domain.model.flow_runs import FlowRunId
from prefect.agent.domain.model.units import UnitStatus
from prefect.agent.ports import events
from support.sweeps import World

SECOND = timedelta(seconds=1)


@pytest.fixture
def world() -> World:
    """An empty world whose units wait."""
    return World(pending=True)


def stuck(world: World, state: str = "Submitted", *, seconds: float = 0) -> tuple[FlowRunId, str]:
    """A run whose unit is hopeless, or will be."""
    run_id, name = world.started(state)
    world.platform.wait(name, "ImagePullBackOff", "no such image", world.clock.now() + seconds * SECOND)
    return run_id, name


# --- waiting ---


def test_a_log_says_what_its_unit_waits_for(world: World) -> None:
    """Once for each reason, however many sweeps see it and in whatever order the reasons come."""
    run_id, name = world.started("Submitted")
    world.turn()
    assert not world.cloud.logs(run_id)

    for reason in ("Unschedulable", "ErrImagePull", "ImagePullBackOff", "ErrImagePull"):
        world.platform.wait(name, reason, f"about {reason}")
        world.turn()
        world.turn()

    assert [(line.level, line.message) for line in world.cloud.logs(run_id)] == [
        ("WARNING", f"{name} waits to start: {reason}, about {reason}")
        for reason in ("Unschedulable", "ErrImagePull", "ImagePullBackOff")
    ]
    assert world.heard.names().count(events.UNIT_WAITS) == 3
    assert world.state(run_id) == "Submitted"


def test_waits_are_of_one_unit(world: World) -> None:
    """Another unit's wait, and that of the unit of the run's next attempt, are reported anew."""
    run_id, name = world.started("Submitted")
    other, other_name = world.started("Submitted")
    for each in (name, other_name):
        world.platform.wait(each, "Unschedulable")
    world.turn(2)
    world.cloud.set_state(run_id, "Scheduled")
    world.platform.wait(world.create(world.claim(run_id)), "Unschedulable")
    world.turn(2)

    assert [len(world.cloud.logs(each)) for each in (run_id, other)] == [2, 1]


def test_a_log_says_what_threatens_a_running_unit(world: World) -> None:
    """Its node does not answer: no end yet, and the log says so once."""
    run_id, name = world.started("Running")
    world.platform.begin(name)
    world.platform.threaten(name, "NodeLost", "node-1 does not answer")

    world.turn(3)

    said = [(line.level, line.message) for line in world.cloud.logs(run_id)]
    assert said == [("WARNING", f"{name} may not end by itself: NodeLost, node-1 does not answer")]
    assert world.state(run_id) == "Running"


# --- hopeless ---


def test_a_stop_without_an_answer_does_not_hide_why_the_unit_could_not_start(world: World) -> None:
    """The API server was restarted meanwhile: the next sweep finds the unit ended, by the agent's own stop."""
    run_id, name = stuck(world)
    world.platform.tell(name, "Pod  Waiting")
    world.platform.lose_answers("stop")

    world.turn(3)

    reason = f"The unit of execution {name} could not start (ImagePullBackOff, no such image)"
    assert world.cloud.flow_run(run_id).message == reason
    assert world.log(run_id) == f"How the unit {name} stands:\nPod  Waiting\n{reason}"


def test_a_hopeless_unit_is_stopped_and_its_run_failed(world: World) -> None:
    """The log says how it stands, what it put out, and why the run failed; the unit is kept as any that has ended."""
    run_id, name = stuck(world)
    world.platform.tell(name, "Pod  Waiting")
    world.platform.write(name, "init: no route to host\n")
    for _ in range(3):
        world.turn()

    unit = world.platform.unit(name)
    assert unit is not None
    assert unit.status is UnitStatus.FAILED
    assert world.state(run_id) == "Failed"
    assert [line.message for line in world.cloud.logs(run_id)] == [
        f"How the unit {name} stands:\nPod  Waiting",
        f"Last output of {name}:\ninit: no route to host",
        f"The unit of execution {name} could not start (ImagePullBackOff, no such image)",
    ]
    world.clock.advance(301)
    world.turn()
    assert world.platform.units() == []


def test_the_findings_are_read_before_the_stop(world: World) -> None:
    """On some platforms nothing is left of a unit that is stopped."""
    stuck(world)

    world.turn()

    calls = world.platform.calls
    assert calls.index("account") < calls.index("logs_tail") < calls.index("stop")


def test_a_unit_has_until_its_time(world: World) -> None:
    """It is told what it waits for, and is given up when the platform says so."""
    run_id, _ = stuck(world, seconds=60)
    world.turn()
    world.clock.advance(59)
    world.turn()
    assert "stop" not in world.platform.calls
    assert "waits to start" in world.log(run_id)

    world.clock.advance(1)
    world.turn()

    assert world.state(run_id) == "Failed"


def test_a_unit_that_starts_at_the_last_moment_is_left_alone(world: World) -> None:
    """Between the sweep and the stop: the platform is asked once more."""
    run_id, name = stuck(world)
    world.is_busy = True
    world.turn()
    world.platform.begin(name)

    world.later.pop()()
    for _ in range(2):
        world.turn()

    assert world.state(run_id) == "Submitted"
    assert "stop" not in world.platform.calls


@pytest.mark.parametrize("method", ["stop", "unit"])
def test_a_hopeless_unit_that_cannot_be_stopped_is_tried_again(world: World, method: str) -> None:
    """The run is not called Failed before its unit is stopped; nothing is told twice."""
    run_id, _ = stuck(world)
    world.platform.fail_next(method, PlatformUnavailable("busy"))
    world.turn()
    assert world.state(run_id) == "Submitted"
    assert events.PLATFORM_TROUBLE in world.heard.names()

    world.turn()
    assert world.state(run_id) == "Failed"
    assert len(world.cloud.logs(run_id)) == 1


def test_a_lost_answer_of_a_stop(world: World) -> None:
    """It was stopped, but nobody knows: the next sweep sees a unit that ended and fails the run."""
    run_id, _ = stuck(world)
    world.platform.lose_answers("stop")
    for _ in range(3):
        world.turn()

    assert world.state(run_id) == "Failed"
    assert len(world.cloud.logs(run_id)) == 1


def test_trouble_with_findings_stops_no_report(world: World) -> None:
    """It becomes words in the log."""
    run_id, _ = stuck(world)
    world.platform.fail_next("account", PlatformUnavailable("no events"))
    world.platform.fail_next("logs_tail", PlatformUnavailable("no logs"))

    world.turn()

    assert world.state(run_id) == "Failed"
    assert "no events" in world.log(run_id)
    assert "no logs" in world.log(run_id)


def test_a_hopeless_unit_is_stopped_once(world: World) -> None:
    """While a stop takes its time, sweeps start no second one; nor is the claim taken for one without a unit."""
    run_id, name = stuck(world)
    world.is_busy = True
    world.turn()
    world.turn()
    [work] = world.later
    world.platform.vanish(name)
    world.turn()  # in the middle of the stop of a platform that removes what it stops
    work()

    assert world.made() == [name]
    assert world.state(run_id) == "Submitted"


class Removing:
    """What a platform does that keeps nothing of a unit that is stopped before it began."""

    def __init__(self, world: World) -> None:
        self._world, self._stop = world, world.platform.stop

    def __call__(self, name: str, *, grace: float) -> None:
        """Stop, and forget; nothing executes, so there is nothing to wait for."""
        assert grace == 0
        self._stop(name, grace=grace)
        self._world.platform.vanish(name)
        self._world.sweep()  # another sweep comes just now


def test_a_stop_that_removes_the_unit(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """The run is Failed once, for the right reason, and its unit is not made again."""
    run_id, name = stuck(world)
    monkeypatch.setattr(world.platform, "stop", Removing(world))
    for _ in range(3):
        world.turn()

    assert world.made() == [name]
    assert world.state(run_id) == "Failed"
    assert [line.message for line in world.cloud.logs(run_id)] == [
        f"The unit of execution {name} could not start (ImagePullBackOff, no such image)"
    ]


def test_a_run_in_hand_keeps_its_unit(world: World) -> None:
    """This very process is about to learn of the unit: it is looked at again soon."""
    run_id, _ = stuck(world)
    world.work.adopt(run_id)
    world.turn()
    assert world.state(run_id) == "Submitted"
    assert world.sweep.look_soon

    world.work.release(run_id)
    world.turn()
    assert world.state(run_id) == "Failed"
    assert not world.sweep.look_soon


def test_a_cancelled_run_whose_unit_is_hopeless(world: World) -> None:
    """It cannot end by itself: stopped without grace, and Cancelled, not Failed."""
    run_id, name = stuck(world, "Cancelling")
    for _ in range(2):
        world.turn()

    unit = world.platform.unit(name)
    assert unit is not None
    assert unit.status.has_ended
    assert world.state(run_id) == "Cancelled"
    assert len(world.cloud.logs(run_id)) == 1


@pytest.mark.parametrize("state", ["Success", "Failed", "Cancelled", "Scheduled"])
def test_a_run_that_has_moved_on_only_loses_its_hopeless_unit(world: World, state: str) -> None:
    """Finished, or scheduled again by somebody: the unit is stopped, the run is left alone."""
    run_id, name = stuck(world, state)
    for _ in range(2):
        world.turn()

    unit = world.platform.unit(name)
    assert unit is not None
    assert unit.status.has_ended
    assert world.state(run_id) == state
    assert not world.cloud.logs(run_id)


def test_the_unit_of_a_newer_attempt_speaks_for_the_run(world: World) -> None:
    """A hopeless unit of an older attempt is stopped; the run goes on in its newer one."""
    run_id, old = stuck(world, "Scheduled", seconds=10)
    world.clock.advance(10)
    new = world.create(world.claim(run_id))
    world.platform.begin(new)
    world.cloud.set_state(run_id, "Running")
    for _ in range(2):
        world.turn()

    units = {unit.name: unit.status.has_ended for unit in world.platform.units()}
    assert units == {old: True, new: False}
    assert world.state(run_id) == "Running"


def test_of_two_hopeless_units_the_newer_one_speaks(world: World) -> None:
    """Both are stopped; the run is Failed for the one that was made last."""
    run_id, old = stuck(world, "Scheduled", seconds=10)
    world.clock.advance(10)
    new = world.create(world.claim(run_id))
    world.platform.wait(new, "InvalidImageName", hopeless_at=world.clock.now())
    for _ in range(2):
        world.turn()

    assert all(unit.status.has_ended for unit in world.platform.units())
    assert world.state(run_id) == "Failed"
    assert new in world.cloud.flow_run(run_id).message
    assert old not in world.cloud.flow_run(run_id).message

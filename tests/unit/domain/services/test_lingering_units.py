"""Ended units in which helpers go on: the end is reported at once, what goes on is stopped a little later."""

import pytest

from prefect.agent.domain.errors import PlatformForbidden
from prefect.agent.ports import events
from support.sweeps import World


@pytest.fixture
def world() -> World:
    """An empty world."""
    return World()


def lingers(world: World, name: str) -> bool:
    """Whether something of the unit goes on."""
    return any(unit.lingers for unit in world.platform.units() if unit.name == name)


@pytest.mark.parametrize("code", [0, 3])
def test_the_end_is_reported_and_then_the_rest_is_stopped(world: World, code: int) -> None:
    """The helpers have the time of a cancelled unit to end by themselves."""
    run_id, name = world.started("Running")
    world.platform.write(name, "last words")
    world.platform.end(name, code, lingers=True)

    world.turn(3)

    assert world.state(run_id) == "Failed"
    assert lingers(world, name)
    assert "stop" not in world.platform.calls

    world.clock.advance(61)
    world.turn(2)

    assert not lingers(world, name)
    assert world.heard.names().count(events.UNIT_STOPPED) == 1


def test_a_finished_run_leaves_no_helpers(world: World) -> None:
    """A Success ends them, too."""
    run_id, name = world.started("Running")
    world.cloud.set_state(run_id, "Success")
    world.platform.end(name, 0, lingers=True)
    world.turn()
    world.clock.advance(61)
    world.turn()

    assert not lingers(world, name)
    assert world.state(run_id) == "Success"


def test_a_cancelled_run_ends_when_nothing_goes_on(world: World) -> None:
    """Cancelled is said with the proof that nothing of the unit executes."""
    run_id, name = world.started("Cancelling")
    world.platform.end(name, 0, lingers=True)
    world.turn(2)
    assert world.state(run_id) == "Cancelling"

    world.clock.advance(61)
    world.turn(3)

    assert world.state(run_id) == "Cancelled"
    assert not lingers(world, name)


def test_a_stop_that_is_refused_is_tried_again_after_a_while(world: World) -> None:
    """Not at each sweep."""
    _, name = world.started("Success")
    world.platform.end(name, 0, lingers=True)
    world.turn()
    world.clock.advance(61)
    world.platform.fail_next("stop", PlatformForbidden("no"))

    world.turn(3)

    assert lingers(world, name)
    world.clock.advance(61)
    world.turn()
    assert not lingers(world, name)

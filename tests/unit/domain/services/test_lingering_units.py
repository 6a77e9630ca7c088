"""Ended units in which helpers go on: the end is reported at once, what goes on is stopped a little later."""

import pytest

from prefect.agent.domain.errors import PlatformForbidden
from prefect.agent.ports import events
from support.sweep_harness import SweepHarness


@pytest.fixture
def harness() -> SweepHarness:
    """An empty world."""
    return SweepHarness()


def lingers(harness: SweepHarness, name: str) -> bool:
    """Whether something of the unit goes on."""
    return any(unit.lingers for unit in harness.platform.units() if unit.name == name)


@pytest.mark.parametrize("code", [0, 3])
def test_the_end_is_reported_and_then_the_rest_is_stopped(harness: SweepHarness, code: int) -> None:
    """The helpers have the time of a cancelled unit to end by themselves."""
    run_id, name = harness.started("Running")
    harness.platform.write(name, "last words")
    harness.platform.end(name, code, lingers=True)

    harness.turn(3)

    assert harness.state(run_id) == "Failed"
    assert lingers(harness, name)
    assert "stop" not in harness.platform.calls

    harness.clock.advance(61)
    harness.turn(2)

    assert not lingers(harness, name)
    assert harness.heard.names().count(events.UNIT_STOPPED) == 1


def test_a_finished_run_leaves_no_helpers(harness: SweepHarness) -> None:
    """A Success ends them, too."""
    run_id, name = harness.started("Running")
    harness.cloud.set_state(run_id, "Success")
    harness.platform.end(name, 0, lingers=True)
    harness.turn()
    harness.clock.advance(61)
    harness.turn()

    assert not lingers(harness, name)
    assert harness.state(run_id) == "Success"


def test_a_cancelled_run_ends_when_nothing_goes_on(harness: SweepHarness) -> None:
    """Cancelled is said with the proof that nothing of the unit executes."""
    run_id, name = harness.started("Cancelling")
    harness.platform.end(name, 0, lingers=True)
    harness.turn(2)
    assert harness.state(run_id) == "Cancelling"

    harness.clock.advance(61)
    harness.turn(3)

    assert harness.state(run_id) == "Cancelled"
    assert not lingers(harness, name)


def test_a_stop_that_is_refused_is_tried_again_after_a_while(harness: SweepHarness) -> None:
    """Not at each sweep."""
    _, name = harness.started("Success")
    harness.platform.end(name, 0, lingers=True)
    harness.turn()
    harness.clock.advance(61)
    harness.platform.fail_next("stop", PlatformForbidden("no"))

    harness.turn(3)

    assert lingers(harness, name)
    harness.clock.advance(61)
    harness.turn()
    assert not lingers(harness, name)

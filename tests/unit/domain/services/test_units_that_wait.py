"""Units that are pending: their runs' logs say what they wait for, and hopeless ones are stopped (promise P7)."""

from datetime import timedelta

import pytest

from prefect.agent.domain.errors import PlatformUnavailable
from prefect.agent.domain.model.flow_runs import FlowRunId
from prefect.agent.domain.model.units import UnitStatus
from prefect.agent.domain.wait_kinds import WaitKind
from prefect.agent.ports import events
from support.sweep_harness import SweepHarness

SECOND = timedelta(seconds=1)


@pytest.fixture
def harness() -> SweepHarness:
    """An empty world whose units wait."""
    return SweepHarness(pending=True)


def stuck(harness: SweepHarness, state: str = "Submitted", *, seconds: float = 0) -> tuple[FlowRunId, str]:
    """A run whose unit is hopeless, or will be."""
    run_id, name = harness.started(state)
    harness.platform.wait(name, "ImagePullBackOff", "no such image", harness.clock.now() + seconds * SECOND)
    return run_id, name


# --- waiting ---


def test_a_log_says_what_its_unit_waits_for(harness: SweepHarness) -> None:
    """Once for each reason, however many sweeps see it and in whatever order the reasons come."""
    run_id, name = harness.started("Submitted")
    harness.turn()
    assert not harness.cloud.logs(run_id)

    for reason in ("Unschedulable", "ErrImagePull", "ImagePullBackOff", "ErrImagePull"):
        harness.platform.wait(name, reason, f"about {reason}")
        harness.turn()
        harness.turn()

    assert [(line.level, line.message) for line in harness.cloud.logs(run_id)] == [
        ("WARNING", f"{name} waits to start: {reason}, about {reason}")
        for reason in ("Unschedulable", "ErrImagePull", "ImagePullBackOff")
    ]
    assert harness.heard.names().count(events.UNIT_WAITS) == 3
    assert harness.state(run_id) == "Submitted"


def test_a_log_names_the_kind_of_wait(harness: SweepHarness) -> None:
    """As why does; programs find it in the event."""
    run_id, name = harness.started("Submitted")
    harness.platform.wait(name, "NoImage", "x:1 is not there", kind=WaitKind.IMAGE)
    harness.turn()

    assert harness.log(run_id) == f"{name} waits for its image: NoImage, x:1 is not there"
    [event] = [event for event in harness.heard.events if event.name == events.UNIT_WAITS]
    assert event.fields["wait_kind"] == "image"


def test_waits_are_of_one_unit(harness: SweepHarness) -> None:
    """Another unit's wait, and that of the unit of the run's next attempt, are reported anew."""
    run_id, name = harness.started("Submitted")
    other, other_name = harness.started("Submitted")
    for each in (name, other_name):
        harness.platform.wait(each, "Unschedulable")
    harness.turn(2)
    harness.cloud.set_state(run_id, "Scheduled")
    harness.platform.wait(harness.create(harness.claim(run_id)), "Unschedulable")
    harness.turn(2)

    assert [len(harness.cloud.logs(each)) for each in (run_id, other)] == [2, 1]


def test_a_log_says_what_threatens_a_running_unit(harness: SweepHarness) -> None:
    """Its node does not answer: no end yet, and the log says so once."""
    run_id, name = harness.started("Running")
    harness.platform.begin(name)
    harness.platform.threaten(name, "NodeLost", "node-1 does not answer")

    harness.turn(3)

    said = [(line.level, line.message) for line in harness.cloud.logs(run_id)]
    assert said == [("WARNING", f"{name} may not end by itself: NodeLost, node-1 does not answer")]
    assert harness.state(run_id) == "Running"


# --- hopeless ---


def test_a_stop_without_an_answer_does_not_hide_why_the_unit_could_not_start(harness: SweepHarness) -> None:
    """The API server was restarted meanwhile: the next sweep finds the unit ended, by the agent's own stop."""
    run_id, name = stuck(harness)
    harness.platform.tell(name, "Pod  Waiting")
    harness.platform.lose_answers("stop")

    harness.turn(3)

    reason = f"The unit of execution {name} could not start (ImagePullBackOff, no such image)"
    assert harness.cloud.flow_run(run_id).message == reason
    assert harness.log(run_id) == f"How the unit {name} stands:\nPod  Waiting\n{reason}"


def test_a_hopeless_unit_is_stopped_and_its_run_failed(harness: SweepHarness) -> None:
    """The log says how it stands, what it put out, and why the run failed; the unit is kept as any that has ended."""
    run_id, name = stuck(harness)
    harness.platform.tell(name, "Pod  Waiting")
    harness.platform.write(name, "init: no route to host\n")
    for _ in range(3):
        harness.turn()

    unit = harness.platform.unit(name)
    assert unit is not None
    assert unit.status is UnitStatus.FAILED
    assert harness.state(run_id) == "Failed"
    assert [line.message for line in harness.cloud.logs(run_id)] == [
        f"How the unit {name} stands:\nPod  Waiting",
        f"Last output of {name}:\ninit: no route to host",
        f"The unit of execution {name} could not start (ImagePullBackOff, no such image)",
    ]
    harness.clock.advance(301)
    harness.turn()
    assert harness.platform.units() == []


def test_the_findings_are_read_before_the_stop(harness: SweepHarness) -> None:
    """On some platforms nothing is left of a unit that is stopped."""
    stuck(harness)

    harness.turn()

    calls = harness.platform.calls
    assert calls.index("account") < calls.index("logs_tail") < calls.index("stop")


def test_a_unit_has_until_its_time(harness: SweepHarness) -> None:
    """It is told what it waits for, and is given up when the platform says so."""
    run_id, _ = stuck(harness, seconds=60)
    harness.turn()
    harness.clock.advance(59)
    harness.turn()
    assert "stop" not in harness.platform.calls
    assert "waits to start" in harness.log(run_id)

    harness.clock.advance(1)
    harness.turn()

    assert harness.state(run_id) == "Failed"


def test_a_unit_that_starts_at_the_last_moment_is_left_alone(harness: SweepHarness) -> None:
    """Between the sweep and the stop: the platform is asked once more."""
    run_id, name = stuck(harness)
    harness.is_busy = True
    harness.turn()
    harness.platform.begin(name)

    harness.later.pop()()
    for _ in range(2):
        harness.turn()

    assert harness.state(run_id) == "Submitted"
    assert "stop" not in harness.platform.calls


@pytest.mark.parametrize("method", ["stop", "unit"])
def test_a_hopeless_unit_that_cannot_be_stopped_is_tried_again(harness: SweepHarness, method: str) -> None:
    """The run is not called Failed before its unit is stopped; nothing is told twice."""
    run_id, _ = stuck(harness)
    harness.platform.fail_next(method, PlatformUnavailable("busy"))
    harness.turn()
    assert harness.state(run_id) == "Submitted"
    assert events.PLATFORM_TROUBLE in harness.heard.names()

    harness.turn()
    assert harness.state(run_id) == "Failed"
    assert len(harness.cloud.logs(run_id)) == 1


def test_a_lost_answer_of_a_stop(harness: SweepHarness) -> None:
    """It was stopped, but nobody knows: the next sweep sees a unit that ended and fails the run."""
    run_id, _ = stuck(harness)
    harness.platform.lose_answers("stop")
    for _ in range(3):
        harness.turn()

    assert harness.state(run_id) == "Failed"
    assert len(harness.cloud.logs(run_id)) == 1


def test_a_finding_that_fails_stops_no_report(harness: SweepHarness) -> None:
    """It becomes words in the log."""
    run_id, _ = stuck(harness)
    harness.platform.fail_next("account", PlatformUnavailable("no events"))
    harness.platform.fail_next("logs_tail", PlatformUnavailable("no logs"))

    harness.turn()

    assert harness.state(run_id) == "Failed"
    assert "no events" in harness.log(run_id)
    assert "no logs" in harness.log(run_id)


def test_a_hopeless_unit_is_stopped_once(harness: SweepHarness) -> None:
    """While a stop takes its time, sweeps start no second one; nor is the claim taken for one without a unit."""
    run_id, name = stuck(harness)
    harness.is_busy = True
    harness.turn()
    harness.turn()
    [work] = harness.later
    harness.platform.vanish(name)
    harness.turn()  # in the middle of the stop of a platform that removes what it stops
    work()

    assert harness.made() == [name]
    assert harness.state(run_id) == "Submitted"


class Removing:
    """What a platform does that keeps nothing of a unit that is stopped before it began."""

    def __init__(self, harness: SweepHarness) -> None:
        self._harness, self._stop = harness, harness.platform.stop

    def __call__(self, name: str, *, grace: float) -> None:
        """Stop, and forget; nothing executes, so there is nothing to wait for."""
        assert grace == 0
        self._stop(name, grace=grace)
        self._harness.platform.vanish(name)
        self._harness.sweep()  # another sweep comes just now


def test_a_stop_that_removes_the_unit(harness: SweepHarness, monkeypatch: pytest.MonkeyPatch) -> None:
    """The run is Failed once, for the right reason, and its unit is not made again."""
    run_id, name = stuck(harness)
    monkeypatch.setattr(harness.platform, "stop", Removing(harness))
    for _ in range(3):
        harness.turn()

    assert harness.made() == [name]
    assert harness.state(run_id) == "Failed"
    assert [line.message for line in harness.cloud.logs(run_id)] == [
        f"The unit of execution {name} could not start (ImagePullBackOff, no such image)"
    ]


def test_a_run_in_hand_keeps_its_unit(harness: SweepHarness) -> None:
    """This very process is about to learn of the unit: it is looked at again soon."""
    run_id, _ = stuck(harness)
    harness.work.adopt(run_id)
    harness.turn()
    assert harness.state(run_id) == "Submitted"
    assert harness.sweep.look_soon

    harness.work.release(run_id)
    harness.turn()
    assert harness.state(run_id) == "Failed"
    assert not harness.sweep.look_soon


def test_a_cancelled_run_whose_unit_is_hopeless(harness: SweepHarness) -> None:
    """It cannot end by itself: stopped without grace, and Cancelled, not Failed."""
    run_id, name = stuck(harness, "Cancelling")
    for _ in range(2):
        harness.turn()

    unit = harness.platform.unit(name)
    assert unit is not None
    assert unit.status.has_ended
    assert harness.state(run_id) == "Cancelled"
    assert len(harness.cloud.logs(run_id)) == 1


@pytest.mark.parametrize("state", ["Success", "Failed", "Cancelled", "Scheduled"])
def test_a_run_that_has_moved_on_only_loses_its_hopeless_unit(harness: SweepHarness, state: str) -> None:
    """Finished, or scheduled again by somebody: the unit is stopped, the run is left alone."""
    run_id, name = stuck(harness, state)
    for _ in range(2):
        harness.turn()

    unit = harness.platform.unit(name)
    assert unit is not None
    assert unit.status.has_ended
    assert harness.state(run_id) == state
    assert not harness.cloud.logs(run_id)


def test_the_unit_of_a_newer_attempt_speaks_for_the_run(harness: SweepHarness) -> None:
    """A hopeless unit of an older attempt is stopped; the run goes on in its newer one."""
    run_id, old = stuck(harness, "Scheduled", seconds=10)
    harness.clock.advance(10)
    new = harness.create(harness.claim(run_id))
    harness.platform.begin(new)
    harness.cloud.set_state(run_id, "Running")
    for _ in range(2):
        harness.turn()

    units = {unit.name: unit.status.has_ended for unit in harness.platform.units()}
    assert units == {old: True, new: False}
    assert harness.state(run_id) == "Running"


def test_of_two_hopeless_units_the_newer_one_speaks(harness: SweepHarness) -> None:
    """Both are stopped; the run is Failed for the one that was made last."""
    run_id, old = stuck(harness, "Scheduled", seconds=10)
    harness.clock.advance(10)
    new = harness.create(harness.claim(run_id))
    harness.platform.wait(new, "InvalidImageName", hopeless_at=harness.clock.now())
    for _ in range(2):
        harness.turn()

    assert all(unit.status.has_ended for unit in harness.platform.units())
    assert harness.state(run_id) == "Failed"
    assert new in harness.cloud.flow_run(run_id).message
    assert old not in harness.cloud.flow_run(run_id).message

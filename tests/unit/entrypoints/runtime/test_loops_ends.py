"""What an agent makes of units that are deleted, cannot start or are cancelled before they do (promise P7)."""

import attrs
import pytest

from prefect.agent.adapters.system.clock import SystemClock
from prefect.agent.domain.model.flow_runs import FlowRunId
from prefect.agent.domain.model.units import Unit
from prefect.agent.ports import events
from support.lab import FAST, SECOND, Agent, Lab, WatchedPlatform
from support.waiting import wait_until

SELDOM = attrs.evolve(FAST, sweep_every=600)
"""Sweeps only when something calls for it."""


@pytest.fixture
def waiting_lab(lab: Lab) -> Lab:
    """A lab whose units wait until they are told to begin."""
    lab.platform = WatchedPlatform(pending=True)
    return lab


def started(lab: Lab, agent: Agent) -> tuple[FlowRunId, Unit]:
    """A run and its unit, which the agent has out of its hands and is watching."""
    [run] = lab.add(1)
    lab.wait_started([run])
    wait_until(lambda: run not in agent.parts.loops.sweep.work)
    assert lab.platform.is_watched.wait(30)
    [unit] = lab.platform.units()
    return run, unit


def messages(lab: Lab, run: FlowRunId) -> list[str]:
    """The run's log."""
    return [line.message for line in lab.cloud.logs(run)]


def test_a_unit_deleted_by_hand(lab: Lab) -> None:
    """The run was Running: it becomes Failed with what happened, once."""
    agent = lab.agent().start()
    run, unit = started(lab, agent)
    lab.cloud.set_state(run, "Running")
    wait_until(lambda: agent.parts.loops.sweep.work.census.alive == 1)

    lab.platform.vanish(unit.name)

    wait_until(lambda: lab.states([run]) == {"Failed"})
    sweeps = agent.heard.names().count(events.SWEPT)
    wait_until(lambda: agent.heard.names().count(events.SWEPT) >= sweeps + 2)
    wait_until(lambda: "was deleted externally" in str(messages(lab, run)), what="the log")
    assert sum("was deleted externally" in message for message in messages(lab, run)) == 1
    assert lab.units() == [run]


def test_a_unit_that_cannot_start(waiting_lab: Lab) -> None:
    """It is stopped, and its run is Failed; the log has the platform's account of it."""
    lab = waiting_lab
    agent = lab.agent().start()
    run, unit = started(lab, agent)
    lab.platform.tell(unit.name, "Pod  ImagePullBackOff")

    lab.platform.wait(unit.name, "ImagePullBackOff", "no such image", SystemClock().now())

    wait_until(lambda: lab.states([run]) == {"Failed"})
    end = f"The unit of execution {unit.name} could not start (ImagePullBackOff, no such image)"
    wait_until(lambda: end in messages(lab, run), what="the log")
    assert messages(lab, run)[-2:] == [f"How the unit {unit.name} stands:\nPod  ImagePullBackOff", end]
    assert [unit.status.has_ended for unit in lab.platform.units()] == [True]
    assert lab.units() == [run]


def test_a_unit_that_never_could_start_is_seen_at_once(waiting_lab: Lab) -> None:
    """By the watch, not by the next sweep in ten minutes."""
    lab = waiting_lab
    agent = lab.agent(SELDOM).start()
    run, unit = started(lab, agent)

    lab.platform.wait(unit.name, "InvalidImageName", hopeless_at=SystemClock().now() - SECOND)

    wait_until(lambda: lab.states([run]) == {"Failed"})


def test_a_unit_that_may_still_start_is_waited_for(waiting_lab: Lab) -> None:
    """Its run's log says what for; when it begins, nothing more is said."""
    lab = waiting_lab
    agent = lab.agent().start()
    run, unit = started(lab, agent)
    lab.platform.wait(unit.name, "Unschedulable", "0/3 nodes are available", SystemClock().now() + 3600 * SECOND)
    told = f"{unit.name} waits to start: Unschedulable, 0/3 nodes are available"
    wait_until(lambda: told in messages(lab, run))

    lab.platform.begin(unit.name)
    sweeps = agent.heard.names().count(events.SWEPT)
    wait_until(lambda: agent.heard.names().count(events.SWEPT) >= sweeps + 2)

    assert messages(lab, run).count(told) == 1
    assert lab.states([run]) == {"Submitted"}
    assert "stop" not in lab.platform.calls


@pytest.mark.parametrize("is_hopeless", [False, True])
def test_a_run_that_is_cancelled_before_it_starts(waiting_lab: Lab, is_hopeless: bool) -> None:
    """Its unit is stopped, after the grace or since it is hopeless anyway; the run is Cancelled, not Failed."""
    lab = waiting_lab
    agent = lab.agent(attrs.evolve(FAST, cancel_grace=3600 if is_hopeless else 0)).start()
    run, unit = started(lab, agent)
    lab.cloud.set_state(run, "Cancelling")
    if is_hopeless:
        lab.platform.wait(unit.name, "InvalidImageName", hopeless_at=SystemClock().now())

    wait_until(lambda: lab.states([run]) == {"Cancelled"})
    assert [unit.status.has_ended for unit in lab.platform.units()] == [True]
    assert "Failed" not in [state for state, _ in lab.cloud.flow_run(run).history]


def test_a_bug_in_the_background_is_told(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    """The pool does not keep it to itself, and the stop is tried again (promise P3)."""
    agent = lab.agent(attrs.evolve(FAST, cancel_grace=0)).start()
    run, _ = started(lab, agent)
    real, bugs = lab.platform.stop, iter([True])

    def stop(name: str, *, grace: float) -> None:
        if next(bugs, False):
            raise ZeroDivisionError("a bug")
        real(name, grace=grace)

    monkeypatch.setattr(lab.platform, "stop", stop)
    lab.cloud.set_state(run, "Cancelling")

    wait_until(lambda: lab.states([run]) == {"Cancelled"})
    wait_until(lambda: events.BUG in agent.heard.names())

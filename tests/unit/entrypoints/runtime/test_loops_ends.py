"""What an agent makes of units that are deleted, cannot start or are cancelled before they do (promise P7)."""

import attrs
import pytest

from prefect.agent.adapters.system.clock import SystemClock
from prefect.agent.domain.model.flow_runs import FlowRunId
from prefect.agent.domain.model.units import Unit
from prefect.agent.ports import events
from support.agent_harness import FAST, SECOND, Agent, AgentHarness, WatchedPlatform
from support.waiting import wait_until

SELDOM = attrs.evolve(FAST, sweep_every=600)
"""Sweeps only when something calls for it."""


@pytest.fixture
def waiting_harness(harness: AgentHarness) -> AgentHarness:
    """A harness whose units wait until they are told to begin."""
    harness.platform = WatchedPlatform(pending=True)
    return harness


def started(harness: AgentHarness, agent: Agent) -> tuple[FlowRunId, Unit]:
    """A run and its unit, which the agent has out of its hands and is watching."""
    [run] = harness.add(1)
    harness.wait_started([run])
    wait_until(lambda: run not in agent.parts.loops.sweep.work)
    assert harness.platform.is_watched.wait(30)
    [unit] = harness.platform.units()
    return run, unit


def messages(harness: AgentHarness, run: FlowRunId) -> list[str]:
    """The run's log."""
    return [line.message for line in harness.cloud.logs(run)]


def test_a_unit_deleted_by_hand(harness: AgentHarness) -> None:
    """The run was Running: it becomes Failed with what happened, once."""
    agent = harness.agent().start()
    run, unit = started(harness, agent)
    harness.cloud.set_state(run, "Running")
    wait_until(lambda: agent.parts.loops.sweep.work.census.alive == 1)

    harness.platform.vanish(unit.name)

    wait_until(lambda: harness.states([run]) == {"Failed"})
    sweeps = agent.heard.names().count(events.SWEPT)
    wait_until(lambda: agent.heard.names().count(events.SWEPT) >= sweeps + 2)
    wait_until(lambda: "was deleted externally" in str(messages(harness, run)), what="the log")
    assert sum("was deleted externally" in message for message in messages(harness, run)) == 1
    assert harness.units() == [run]


def test_a_unit_that_cannot_start(waiting_harness: AgentHarness) -> None:
    """It is stopped, and its run is Failed; the log has the platform's account of it."""
    harness = waiting_harness
    agent = harness.agent().start()
    run, unit = started(harness, agent)
    harness.platform.tell(unit.name, "Pod  ImagePullBackOff")

    harness.platform.wait(unit.name, "ImagePullBackOff", "no such image", SystemClock().now())

    wait_until(lambda: harness.states([run]) == {"Failed"})
    end = f"The unit of execution {unit.name} could not start (ImagePullBackOff, no such image)"
    wait_until(lambda: end in messages(harness, run), what="the log")
    assert messages(harness, run)[-2:] == [f"How the unit {unit.name} stands:\nPod  ImagePullBackOff", end]
    assert [unit.status.has_ended for unit in harness.platform.units()] == [True]
    assert harness.units() == [run]


def test_a_unit_that_never_could_start_is_seen_at_once(waiting_harness: AgentHarness) -> None:
    """By the watch, not by the next sweep in ten minutes."""
    harness = waiting_harness
    agent = harness.agent(SELDOM).start()
    run, unit = started(harness, agent)

    harness.platform.wait(unit.name, "InvalidImageName", hopeless_at=SystemClock().now() - SECOND)

    wait_until(lambda: harness.states([run]) == {"Failed"})


def test_a_unit_that_may_still_start_is_waited_for(waiting_harness: AgentHarness) -> None:
    """Its run's log says what for; when it begins, nothing more is said."""
    harness = waiting_harness
    agent = harness.agent().start()
    run, unit = started(harness, agent)
    harness.platform.wait(unit.name, "Unschedulable", "0/3 nodes are available", SystemClock().now() + 3600 * SECOND)
    told = f"{unit.name} waits to start: Unschedulable, 0/3 nodes are available"
    wait_until(lambda: told in messages(harness, run))

    harness.platform.begin(unit.name)
    sweeps = agent.heard.names().count(events.SWEPT)
    wait_until(lambda: agent.heard.names().count(events.SWEPT) >= sweeps + 2)

    assert messages(harness, run).count(told) == 1
    assert harness.states([run]) == {"Submitted"}
    assert "stop" not in harness.platform.calls


@pytest.mark.parametrize("is_hopeless", [False, True])
def test_a_run_that_is_cancelled_before_it_starts(waiting_harness: AgentHarness, is_hopeless: bool) -> None:
    """Its unit is stopped, after the grace or since it is hopeless anyway; the run is Cancelled, not Failed."""
    harness = waiting_harness
    agent = harness.agent(attrs.evolve(FAST, cancel_grace=3600 if is_hopeless else 0)).start()
    run, unit = started(harness, agent)
    harness.cloud.set_state(run, "Cancelling")
    if is_hopeless:
        harness.platform.wait(unit.name, "InvalidImageName", hopeless_at=SystemClock().now())

    wait_until(lambda: harness.states([run]) == {"Cancelled"})
    assert [unit.status.has_ended for unit in harness.platform.units()] == [True]
    assert "Failed" not in [state for state, _ in harness.cloud.flow_run(run).history]


def test_a_bug_in_the_background_is_reported(harness: AgentHarness, monkeypatch: pytest.MonkeyPatch) -> None:
    """The pool does not keep it to itself, and the stop is tried again (promise P3)."""
    agent = harness.agent(attrs.evolve(FAST, cancel_grace=0)).start()
    run, _ = started(harness, agent)
    real, bugs = harness.platform.stop, iter([True])

    def stop(name: str, *, grace: float) -> None:
        if next(bugs, False):
            raise ZeroDivisionError("a bug")
        real(name, grace=grace)

    monkeypatch.setattr(harness.platform, "stop", stop)
    harness.cloud.set_state(run, "Cancelling")

    wait_until(lambda: harness.states([run]) == {"Cancelled"})
    wait_until(lambda: events.BUG in agent.heard.names())

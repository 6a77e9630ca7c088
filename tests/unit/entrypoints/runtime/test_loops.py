"""All loops of one agent together, on a Cloud and a platform in memory, in real threads."""

import threading
from collections.abc import Sequence
from typing import Any

import attrs
import pytest

from prefect.agent.adapters.fakes import InMemoryPlatform
from prefect.agent.adapters.system.clock import SystemClock
from prefect.agent.domain.errors import CloudUnavailable
from prefect.agent.domain.model.flow_runs import Deferred, FlowRun
from prefect.agent.entrypoints.runtime.polling import PollLoop
from prefect.agent.ports import events
from support.agent_harness import FAST, SECOND, AgentHarness, QuickClock, submitted
from support.waiting import wait_until


def test_from_ready_to_started(harness: AgentHarness) -> None:
    """Every run gets one unit, is Submitted, and its log says which unit it is."""
    runs = harness.add(20)
    harness.agent().start()
    harness.wait_started(runs)

    wait_until(lambda: all(submitted(harness, run) for run in runs))
    assert sorted(harness.units()) == sorted(runs)
    assert harness.states(runs) == {"Submitted"}


def test_two_agents_on_one_queue_double_nothing(harness: AgentHarness) -> None:
    """However their polls interleave: one unit per run (P1)."""
    runs = harness.add(60)
    for _ in range(2):
        harness.agent(platform=InMemoryPlatform(beside=harness.platform)).start()
    harness.wait_started(runs)
    for agent in harness.agents:
        agent.stop()

    assert sorted(harness.units()) == sorted(runs)
    assert all(harness.cloud.flow_run(run).version == 2 for run in runs)


def test_a_deferred_run_starts_when_its_time_comes(harness: AgentHarness) -> None:
    """QUEUED by a concurrency limit: others start; when the limit has room, so does this one."""
    limited, free = harness.add(2)
    clock = SystemClock()
    harness.cloud.answer_claims(limited, lambda run: Deferred(run, clock.now(), "limit reached"))
    agent = harness.agent(clock=QuickClock()).start()
    harness.wait_started([free])
    wait_until(lambda: events.CLAIM_DEFERRED in agent.heard.names())
    assert limited not in harness.units()

    harness.cloud.answer_claims(limited, None)
    harness.wait_started([limited])


def test_the_limit_of_units_holds(harness: AgentHarness) -> None:
    """Never more alive than allowed; when one ends, the next one starts."""
    runs = harness.add(6)
    harness.agent(attrs.evolve(FAST, limit=2, keep_ended=1000)).start()
    ended: set[str] = set()
    for _ in range(6):
        wait_until(lambda: any(unit.name not in ended for unit in harness.platform.units()), 30, "one more unit")
        alive = [unit for unit in harness.platform.units() if not unit.status.has_ended]
        assert len(alive) <= 2
        harness.cloud.set_state(alive[0].flow_run_id, "Success")
        harness.platform.end(alive[0].name)
        ended.add(alive[0].name)

    assert sorted(harness.units()) == sorted(runs)


def test_a_unit_that_ends_leaves_its_place_to_the_next_run_at_once(harness: AgentHarness) -> None:
    """An agent at its limit asks as soon as there is room, not when its longest pause between polls is over."""
    runs = harness.add(2)
    harness.agent(attrs.evolve(FAST, limit=1, poll_last=600, keep_ended=1000)).start()
    wait_until(lambda: len(harness.units()) == 1, 30, "the first unit")
    [first] = harness.platform.units()
    harness.cloud.set_state(first.flow_run_id, "Success")
    harness.platform.end(first.name)

    harness.wait_started(runs)


def test_max_polls(harness: AgentHarness) -> None:
    """After so many polls the agent ends by itself, with everything in hand started and told."""
    runs = harness.add(3)
    agent = harness.agent(attrs.evolve(FAST, max_polls=2)).start()
    agent.join()

    assert harness.cloud.calls.count("ready_flow_runs") == 2
    assert sorted(harness.units()) == sorted(runs)
    assert all(submitted(harness, run) for run in runs)
    assert agent.end is None


def test_max_polls_waits_for_what_is_not_due_yet(harness: AgentHarness) -> None:
    """A run that was found is started, even if its time comes after the last poll."""
    clock = SystemClock()
    due = clock.now() + 6 * FAST.poll_last * SECOND
    run = harness.cloud.add_flow_run(due=due)
    agent = harness.agent(attrs.evolve(FAST, max_polls=1)).start()
    agent.join()

    assert harness.units() == [run]
    [unit] = harness.platform.units()
    assert unit.created_at is not None
    assert unit.created_at >= due


def test_a_run_starts_at_its_time_not_a_poll_later(harness: AgentHarness) -> None:
    """It is read ahead, and waits in the agent for its due time."""
    clock = SystemClock()
    agent = harness.agent(attrs.evolve(FAST, poll_first=600, poll_last=600))
    due = clock.now() + 0.4 * SECOND
    run = harness.cloud.add_flow_run(due=due)
    agent.start()
    harness.wait_started([run])

    [unit] = harness.platform.units()
    assert unit.created_at is not None
    assert 0 <= (unit.created_at - due).total_seconds() < 300


def test_a_poke_ends_the_pause(harness: AgentHarness) -> None:
    """A run that is created just after a poll need not wait for the next one."""
    agent = harness.agent(attrs.evolve(FAST, poll_first=600, poll_last=600)).start()
    wait_until(lambda: events.POLLED in agent.heard.names())
    runs = harness.add(1)

    agent.parts.loops.poke()

    harness.wait_started(runs)


def test_a_poke_during_a_poll_is_not_forgotten(harness: AgentHarness, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the Cloud answers may be older than the poke, and trouble may be over since."""
    agent = harness.agent(attrs.evolve(FAST, poll_first=600, poll_last=600))
    ready, runs = harness.cloud.ready_flow_runs, list[str]()

    def ready_flow_runs(**asked: Any) -> Sequence[FlowRun]:
        if runs:
            return ready(**asked)
        runs.extend(harness.add(1))
        agent.parts.loops.poke()
        raise CloudUnavailable("restarted", retry_after=600)

    monkeypatch.setattr(harness.cloud, "ready_flow_runs", ready_flow_runs)
    agent.start()

    wait_until(lambda: runs, what="the first poll")
    harness.wait_started(runs)


def test_stop_finishes_what_is_in_hand(harness: AgentHarness, monkeypatch: pytest.MonkeyPatch) -> None:
    """Claimed runs are started and told before the agent ends; nothing new is claimed."""
    runs = harness.add(3)
    entered, go_on, polls_are_over = threading.Event(), threading.Event(), threading.Event()
    real = PollLoop.step

    def step(loop: PollLoop) -> bool:
        goes_on = real(loop)
        if not goes_on:
            polls_are_over.set()
        return goes_on

    monkeypatch.setattr(PollLoop, "step", step)

    def deploy(run: FlowRun) -> str:
        entered.set()
        assert go_on.wait(120)
        return f"slow {run.id}"

    agent = harness.agent(deploy=deploy).start()
    assert entered.wait(30)
    wait_until(lambda: harness.states(runs) == {"Submitted"})
    agent.parts.loops.stop()
    assert polls_are_over.wait(30)  # a poll that had begun before may still find something
    late = harness.add(1)
    assert agent.thread is not None
    assert agent.thread.is_alive()
    go_on.set()
    agent.join()

    assert all(submitted(harness, run) for run in runs)
    assert harness.states(late) == {"Scheduled"}


def test_a_cancelled_run_is_stopped_and_proven(harness: AgentHarness) -> None:
    """Cancelling with a unit that does not end: stopped after its grace, then Cancelled."""
    runs = harness.add(1)
    harness.agent(attrs.evolve(FAST, cancel_grace=0)).start()
    harness.wait_started(runs)
    harness.cloud.set_state(runs[0], "Running")
    harness.cloud.cancel(runs[0])

    wait_until(lambda: harness.states(runs) == {"Cancelled"})
    assert all(unit.status.has_ended for unit in harness.platform.units())


def test_a_unit_that_dies_is_seen_at_once(harness: AgentHarness) -> None:
    """By the watch, not by the next sweep in ten minutes."""
    runs = harness.add(1)
    agent = harness.agent(attrs.evolve(FAST, sweep_every=600)).start()
    harness.wait_started(runs)
    wait_until(lambda: runs[0] not in agent.parts.loops.sweep.work)
    harness.cloud.set_state(runs[0], "Running")
    assert harness.platform.is_watched.wait(30)
    [unit] = harness.platform.units()
    harness.platform.end(unit.name, 137)

    wait_until(lambda: harness.states(runs) == {"Failed"})


def test_labels_decide(harness: AgentHarness) -> None:
    """An agent is given what its labels fit."""
    mine = harness.cloud.add_flow_run(labels=["gpu"])
    other = harness.cloud.add_flow_run(labels=["cpu"])
    agent = harness.agent(attrs.evolve(FAST, labels=["gpu", "x"], max_polls=2)).start()
    agent.join()

    assert harness.units() == [mine]
    assert harness.states([other]) == {"Scheduled"}

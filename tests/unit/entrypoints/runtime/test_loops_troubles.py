"""What an agent does about trouble: of the Cloud, of the platform, of people's code, of its own (promises P2, P3)."""

import threading
from collections.abc import Callable, Generator
from typing import Any

import attrs
import pytest

from prefect.agent.adapters.fakes import InMemoryCloudApi
from prefect.agent.adapters.system.clock import SystemClock
from prefect.agent.domain.errors import (
    CloudUnavailable,
    OutcomeUnknown,
    PlatformUnavailable,
    SubmissionRefused,
    Unauthorised,
)
from prefect.agent.domain.model.flow_runs import FlowRun, FlowRunId
from prefect.agent.domain.model.leases import Claimant
from prefect.agent.domain.services.claiming import ClaimFlowRuns
from prefect.agent.entrypoints.runtime import loops as engine
from prefect.agent.ports import events
from support.agent_harness import FAST, AgentHarness, QuickClock, submitted
from support.waiting import wait_until


@pytest.mark.parametrize("losses", [1, 3])
def test_lost_answers_of_claims(harness: AgentHarness, losses: int) -> None:
    """Three in a row: no run is stuck, none is doubled (P1, P2)."""
    runs = harness.add(10)
    harness.cloud.lose_answers("claim", losses)
    harness.agent(clock=QuickClock()).start()
    harness.wait_started(runs)

    assert sorted(harness.units()) == sorted(runs)


def claim_by_a_dead_agent(harness: AgentHarness, runs: list[FlowRunId]) -> None:
    """Leave claims whose claimant had no time left to create their units."""
    dead = Claimant(id="dead", platform=harness.platform.identity)
    claim = ClaimFlowRuns(cloud=harness.cloud, clock=SystemClock(), claimant=dead, create_within=0)
    claim(harness.cloud.flow_runs(runs))


def test_a_claim_left_by_a_killed_agent_is_started(harness: AgentHarness) -> None:
    """Kill -9 between claim and create: the next agent on this platform finishes it before its first poll (P2)."""
    runs = harness.add(5)
    claim_by_a_dead_agent(harness, runs)

    harness.agent().start()
    harness.wait_started(runs)

    assert sorted(harness.units()) == sorted(runs)
    wait_until(lambda: "ready_flow_runs" in harness.cloud.calls)
    assert harness.cloud.calls.index("claimed_flow_runs") < harness.cloud.calls.index("ready_flow_runs")


def test_an_agent_that_must_not_recover_does_not(harness: AgentHarness) -> None:
    """Runs started by a subclass's own code may have no unit here: starting them twice would be worse."""
    [run] = harness.add(1)
    claim_by_a_dead_agent(harness, [run])

    agent = harness.agent(deploy=lambda _run: "started in a way of its own").start()
    wait_until(lambda: agent.heard.names().count(events.SWEPT) >= 3)

    assert harness.units() == []


def test_one_bad_run_does_not_stop_the_others(harness: AgentHarness) -> None:
    """A run that its platform refuses is Failed with the reason; all others start (P3)."""
    runs = harness.add(8)
    harness.platform.fail_next("create", SubmissionRefused("no such image"))
    agent = harness.agent().start()
    wait_until(lambda: len(harness.units()) == 7)
    wait_until(lambda: harness.states(runs) == {"Submitted", "Failed"})

    [failed] = [run for run in runs if harness.cloud.flow_run(run).state == "Failed"]
    assert "no such image" in harness.cloud.flow_run(failed).message
    wait_until(lambda: any(line.level == "ERROR" for line in harness.cloud.logs(failed)), what="the log")
    agent.stop()
    assert agent.end is None


def test_a_platform_that_is_away_while_runs_start(harness: AgentHarness) -> None:
    """20 runs, and the engine does not answer for a while: 0 stuck (P2)."""
    runs = harness.add(20)
    harness.platform.fail_next("create", PlatformUnavailable("away"), times=8)
    harness.agent(attrs.evolve(FAST, parallel=20), clock=QuickClock()).start()
    harness.wait_started(runs)

    assert sorted(harness.units()) == sorted(runs)
    assert harness.states(runs) == {"Submitted"}


def test_a_platform_that_stays_away_fails_the_run(harness: AgentHarness) -> None:
    """After the deadline, with what is wrong."""
    runs = harness.add(1)
    harness.platform.fail_next("create", PlatformUnavailable("disk full"), times=1000)
    harness.agent(attrs.evolve(FAST, create_deadline=0.01)).start()
    wait_until(lambda: harness.states(runs) == {"Failed"})

    assert "disk full" in harness.cloud.flow_run(runs[0]).message


def test_deploy_flow_may_raise_anything(harness: AgentHarness) -> None:
    """A subclass's bug fails its run, not the agent; the pool goes on."""
    runs = harness.add(12)
    deployed: list[str] = []

    def deploy(run: FlowRun) -> str:
        if run.id != runs[-1]:
            raise {0: KeyError, 1: OSError, 2: TimeoutError}[len(deployed) % 3]("oops")
        deployed.append(run.id)
        return "mine"

    agent = harness.agent(deploy=deploy).start()
    wait_until(lambda: harness.states(runs) == {"Failed", "Submitted"} and deployed == [runs[-1]])
    wait_until(lambda: sum(harness.cloud.flow_run(run).state == "Failed" for run in runs) == 11)
    wait_until(lambda: submitted(harness, runs[-1]))

    agent.stop()
    assert agent.end is None


def test_deploy_flow_may_even_leave(harness: AgentHarness) -> None:
    """sys.exit() in a subclass takes neither a place in the pool nor the run with it."""
    runs = harness.add(6)

    def deploy(_run: FlowRun) -> str:
        raise SystemExit(3)

    harness.agent(attrs.evolve(FAST, parallel=1), deploy=deploy).start()

    wait_until(lambda: harness.states(runs) == {"Failed"}, what="every run is Failed")


def test_reports_wait_while_the_cloud_is_away(harness: AgentHarness) -> None:
    """Nothing is lost: log and end arrive when it is back."""
    [run] = harness.add(1)
    harness.platform.fail_next("create", SubmissionRefused("no such image"))
    harness.cloud.fail_next("write_logs", CloudUnavailable("away"), times=2)
    harness.cloud.fail_next("end", OutcomeUnknown("lost"), times=1)
    harness.agent(clock=QuickClock()).start()

    wait_until(lambda: harness.states([run]) == {"Failed"})
    wait_until(lambda: any(line.level == "ERROR" for line in harness.cloud.logs(run)), what="the log")
    assert len([line for line in harness.cloud.logs(run) if line.level == "ERROR"]) == 1


def test_a_cloud_that_is_away_is_polled_again(harness: AgentHarness) -> None:
    """Trouble is told; the next good poll starts what is due."""
    runs = harness.add(2)
    harness.cloud.fail_next("ready_flow_runs", CloudUnavailable("away"), times=3)
    harness.cloud.fail_next("claimed_flow_runs", CloudUnavailable("away"), times=2)
    agent = harness.agent(clock=QuickClock()).start()
    harness.wait_started(runs)

    assert events.CLOUD_TROUBLE in agent.heard.names()


def test_a_key_that_is_refused_five_times_ends_the_agent(harness: AgentHarness) -> None:
    """With the exit code that says that a restart cannot help."""
    harness.cloud.fail_next("ready_flow_runs", Unauthorised("no"), times=1000)
    harness.cloud.fail_next("claimed_flow_runs", Unauthorised("no"), times=1000)
    agent = harness.agent(clock=QuickClock()).start()
    agent.join()

    assert agent.exit_code() == 77


@pytest.fixture
def broken() -> Generator[Callable[[str], InMemoryCloudApi]]:
    """Makes Cloud adapters with a bug in one method; it is gone when the test is over."""
    over = threading.Event()

    def make(method: str) -> InMemoryCloudApi:
        real: Callable[..., object] = getattr(InMemoryCloudApi, method)

        def bug(self: InMemoryCloudApi, *args: object, **kwargs: object) -> object:
            if over.is_set():
                return real(self, *args, **kwargs)
            raise ZeroDivisionError("a bug")

        kind: type[InMemoryCloudApi] = type("BrokenCloud", (InMemoryCloudApi,), {method: bug})
        return kind()

    yield make
    over.set()


@pytest.mark.parametrize("method", ["ready_flow_runs", "claimed_flow_runs", "write_logs"])
def test_a_bug_in_a_loop_ends_the_agent(
    harness: AgentHarness, method: str, broken: Callable[[str], InMemoryCloudApi], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Polling, sweeping, reporting: a loop that always fails ends the process with 70 instead of leaving it mute."""
    monkeypatch.setattr(engine, "LAST_REPORTS", 0.1)
    cloud = broken(method)
    cloud.add_flow_run()
    settings = attrs.evolve(FAST, poll_first=0.001, poll_last=0.002)
    agent = harness.agent(settings, cloud=cloud, clock=QuickClock()).start()
    agent.join()

    assert agent.exit_code() == 70
    assert agent.heard.names().count(events.BUG) >= 5


def test_a_bug_in_polling_counts_however_seldom_it_polls(
    harness: AgentHarness, broken: Callable[[str], InMemoryCloudApi]
) -> None:
    """A turn of the loop in which nothing was asked says nothing about the bug: five failed polls are the end."""
    cloud = broken("ready_flow_runs")
    settings = attrs.evolve(FAST, poll_first=0.05, poll_last=0.05)
    agent = harness.agent(settings, cloud=cloud, clock=QuickClock()).start()
    assert agent.thread is not None
    thread = agent.thread

    wait_until(lambda: not thread.is_alive() or agent.heard.names().count(events.BUG) > 10)
    agent.stop()

    assert agent.heard.names().count(events.BUG) == 5
    assert agent.exit_code() == 70


def test_an_agent_that_ended_reports_no_more(
    harness: AgentHarness, broken: Callable[[str], InMemoryCloudApi], monkeypatch: pytest.MonkeyPatch
) -> None:
    """For those who start agents from a program of their own: no loop goes on when start() has returned."""
    monkeypatch.setattr(engine, "LAST_REPORTS", 0.1)
    before = set(threading.enumerate())
    cloud = broken("write_logs")
    cloud.add_flow_run()
    agent = harness.agent(cloud=cloud, clock=QuickClock()).start()
    agent.join()

    def reporting() -> list[str]:
        return [thread.name for thread in threading.enumerate() if thread.name == "report" and thread not in before]

    wait_until(lambda: not reporting(), what="the report loop ends")


def test_a_bug_that_passes_does_not_end_the_agent(harness: AgentHarness) -> None:
    """Once or twice is survived (P3)."""
    runs = harness.add(2)
    real: Callable[..., Any] = harness.cloud.ready_flow_runs
    failures = iter([True, True])

    def sometimes(**given: Any) -> Any:
        if next(failures, False):
            raise ZeroDivisionError("a bug")
        return real(**given)

    harness.cloud.ready_flow_runs = sometimes  # type: ignore[method-assign]
    agent = harness.agent(clock=QuickClock()).start()
    harness.wait_started(runs)
    agent.stop()

    assert agent.end is None
    assert agent.heard.names().count(events.BUG) == 2

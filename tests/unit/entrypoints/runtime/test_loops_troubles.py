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
from support.lab import FAST, Lab, QuickClock, submitted
from support.waiting import wait_until


@pytest.mark.parametrize("losses", [1, 3])
def test_lost_answers_of_claims(lab: Lab, losses: int) -> None:
    """Three in a row: no run is stuck, none is doubled (P1, P2)."""
    runs = lab.add(10)
    lab.cloud.lose_answers("claim", losses)
    lab.agent(clock=QuickClock()).start()
    lab.wait_started(runs)

    assert sorted(lab.units()) == sorted(runs)


def claim_by_a_dead_agent(lab: Lab, runs: list[FlowRunId]) -> None:
    """Leave claims whose claimant had no time left to create their units."""
    dead = Claimant(id="dead", platform=lab.platform.identity)
    claim = ClaimFlowRuns(cloud=lab.cloud, clock=SystemClock(), claimant=dead, create_within=0)
    claim(lab.cloud.flow_runs(runs))


def test_a_claim_left_by_a_killed_agent_is_started(lab: Lab) -> None:
    """Kill -9 between claim and create: the next agent on this platform finishes it before its first poll (P2)."""
    runs = lab.add(5)
    claim_by_a_dead_agent(lab, runs)

    lab.agent().start()
    lab.wait_started(runs)

    assert sorted(lab.units()) == sorted(runs)
    wait_until(lambda: "ready_flow_runs" in lab.cloud.calls)
    assert lab.cloud.calls.index("claimed_flow_runs") < lab.cloud.calls.index("ready_flow_runs")


def test_an_agent_that_must_not_recover_does_not(lab: Lab) -> None:
    """Runs started by a subclass's own code may have no unit here: starting them twice would be worse."""
    [run] = lab.add(1)
    claim_by_a_dead_agent(lab, [run])

    agent = lab.agent(deploy=lambda _run: "started in a way of its own").start()
    wait_until(lambda: agent.heard.names().count(events.SWEPT) >= 3)

    assert lab.units() == []


def test_one_bad_run_does_not_stop_the_others(lab: Lab) -> None:
    """A run that its platform refuses is Failed with the reason; all others start (P3)."""
    runs = lab.add(8)
    lab.platform.fail_next("create", SubmissionRefused("no such image"))
    agent = lab.agent().start()
    wait_until(lambda: len(lab.units()) == 7)
    wait_until(lambda: lab.states(runs) == {"Submitted", "Failed"})

    [failed] = [run for run in runs if lab.cloud.flow_run(run).state == "Failed"]
    assert "no such image" in lab.cloud.flow_run(failed).message
    wait_until(lambda: any(line.level == "ERROR" for line in lab.cloud.logs(failed)), what="the log")
    agent.stop()
    assert agent.end is None


def test_a_platform_that_is_away_while_runs_start(lab: Lab) -> None:
    """20 runs, and the engine does not answer for a while: 0 stuck (P2)."""
    runs = lab.add(20)
    lab.platform.fail_next("create", PlatformUnavailable("away"), times=8)
    lab.agent(attrs.evolve(FAST, parallel=20), clock=QuickClock()).start()
    lab.wait_started(runs)

    assert sorted(lab.units()) == sorted(runs)
    assert lab.states(runs) == {"Submitted"}


def test_a_platform_that_stays_away_fails_the_run(lab: Lab) -> None:
    """After the deadline, with what is wrong."""
    runs = lab.add(1)
    lab.platform.fail_next("create", PlatformUnavailable("disk full"), times=1000)
    lab.agent(attrs.evolve(FAST, create_deadline=0.01)).start()
    wait_until(lambda: lab.states(runs) == {"Failed"})

    assert "disk full" in lab.cloud.flow_run(runs[0]).message


def test_deploy_flow_may_raise_anything(lab: Lab) -> None:
    """A subclass's bug fails its run, not the agent; the pool goes on."""
    runs = lab.add(12)
    deployed: list[str] = []

    def deploy(run: FlowRun) -> str:
        if run.id != runs[-1]:
            raise {0: KeyError, 1: OSError, 2: TimeoutError}[len(deployed) % 3]("oops")
        deployed.append(run.id)
        return "mine"

    agent = lab.agent(deploy=deploy).start()
    wait_until(lambda: lab.states(runs) == {"Failed", "Submitted"} and deployed == [runs[-1]])
    wait_until(lambda: sum(lab.cloud.flow_run(run).state == "Failed" for run in runs) == 11)
    wait_until(lambda: submitted(lab, runs[-1]))

    agent.stop()
    assert agent.end is None


def test_deploy_flow_may_even_leave(lab: Lab) -> None:
    """sys.exit() in a subclass takes neither a place in the pool nor the run with it."""
    runs = lab.add(6)

    def deploy(_run: FlowRun) -> str:
        raise SystemExit(3)

    lab.agent(attrs.evolve(FAST, parallel=1), deploy=deploy).start()

    wait_until(lambda: lab.states(runs) == {"Failed"}, what="every run is Failed")


def test_reports_wait_while_the_cloud_is_away(lab: Lab) -> None:
    """Nothing is lost: log and end arrive when it is back."""
    [run] = lab.add(1)
    lab.platform.fail_next("create", SubmissionRefused("no such image"))
    lab.cloud.fail_next("write_logs", CloudUnavailable("away"), times=2)
    lab.cloud.fail_next("end", OutcomeUnknown("lost"), times=1)
    lab.agent(clock=QuickClock()).start()

    wait_until(lambda: lab.states([run]) == {"Failed"})
    wait_until(lambda: any(line.level == "ERROR" for line in lab.cloud.logs(run)), what="the log")
    assert len([line for line in lab.cloud.logs(run) if line.level == "ERROR"]) == 1


def test_a_cloud_that_is_away_is_polled_again(lab: Lab) -> None:
    """Trouble is told; the next good poll starts what is due."""
    runs = lab.add(2)
    lab.cloud.fail_next("ready_flow_runs", CloudUnavailable("away"), times=3)
    lab.cloud.fail_next("claimed_flow_runs", CloudUnavailable("away"), times=2)
    agent = lab.agent(clock=QuickClock()).start()
    lab.wait_started(runs)

    assert events.CLOUD_TROUBLE in agent.heard.names()


def test_a_key_that_is_refused_five_times_ends_the_agent(lab: Lab) -> None:
    """With the exit code that says that a restart cannot help."""
    lab.cloud.fail_next("ready_flow_runs", Unauthorised("no"), times=1000)
    lab.cloud.fail_next("claimed_flow_runs", Unauthorised("no"), times=1000)
    agent = lab.agent(clock=QuickClock()).start()
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
    lab: Lab, method: str, broken: Callable[[str], InMemoryCloudApi], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Polling, sweeping, reporting: a loop that always fails ends the process with 70 instead of leaving it mute."""
    monkeypatch.setattr(engine, "LAST_REPORTS", 0.1)
    cloud = broken(method)
    cloud.add_flow_run()
    settings = attrs.evolve(FAST, poll_first=0.001, poll_last=0.002)
    agent = lab.agent(settings, cloud=cloud, clock=QuickClock()).start()
    agent.join()

    assert agent.exit_code() == 70
    assert agent.heard.names().count(events.BUG) >= 5


def test_a_bug_in_polling_counts_however_seldom_it_polls(lab: Lab, broken: Callable[[str], InMemoryCloudApi]) -> None:
    """A turn of the loop in which nothing was asked says nothing about the bug: five failed polls are the end."""
    cloud = broken("ready_flow_runs")
    settings = attrs.evolve(FAST, poll_first=0.05, poll_last=0.05)
    agent = lab.agent(settings, cloud=cloud, clock=QuickClock()).start()
    assert agent.thread is not None
    thread = agent.thread

    wait_until(lambda: not thread.is_alive() or agent.heard.names().count(events.BUG) > 10)
    agent.stop()

    assert agent.heard.names().count(events.BUG) == 5
    assert agent.exit_code() == 70


def test_an_agent_that_ended_reports_no_more(
    lab: Lab, broken: Callable[[str], InMemoryCloudApi], monkeypatch: pytest.MonkeyPatch
) -> None:
    """For those who start agents from a program of their own: no loop goes on when start() has returned."""
    monkeypatch.setattr(engine, "LAST_REPORTS", 0.1)
    before = set(threading.enumerate())
    cloud = broken("write_logs")
    cloud.add_flow_run()
    agent = lab.agent(cloud=cloud, clock=QuickClock()).start()
    agent.join()

    def reporting() -> list[str]:
        return [thread.name for thread in threading.enumerate() if thread.name == "report" and thread not in before]

    wait_until(lambda: not reporting(), what="the report loop ends")


def test_a_bug_that_passes_does_not_end_the_agent(lab: Lab) -> None:
    """Once or twice is survived (P3)."""
    runs = lab.add(2)
    real: Callable[..., Any] = lab.cloud.ready_flow_runs
    failures = iter([True, True])

    def sometimes(**given: Any) -> Any:
        if next(failures, False):
            raise ZeroDivisionError("a bug")
        return real(**given)

    lab.cloud.ready_flow_runs = sometimes  # type: ignore[method-assign]
    agent = lab.agent(clock=QuickClock()).start()
    lab.wait_started(runs)
    agent.stop()

    assert agent.end is None
    assert agent.heard.names().count(events.BUG) == 2

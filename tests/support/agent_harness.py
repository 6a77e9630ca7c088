"""Agents' engines in threads, on a Cloud and a platform in memory that they share."""

import threading
from collections.abc import Callable, Iterator, Sequence
from datetime import timedelta
from typing import Any

import attrs

from prefect.agent.adapters.fakes import InMemoryCloudApi, InMemoryPlatform
from prefect.agent.adapters.system.clock import SystemClock
from prefect.agent.domain.model.flow_runs import FlowRun, FlowRunId
from prefect.agent.domain.model.settings import AgentSettings
from prefect.agent.domain.model.units import Unit
from prefect.agent.domain.services.submission import OwnDeploy
from prefect.agent.entrypoints.container import Parts, build
from prefect.agent.entrypoints.factories import Options
from prefect.agent.entrypoints.runtime.exits import AgentExit
from prefect.agent.entrypoints.runtime.rhythm import Rhythm
from prefect.agent.ports.clock import Wake
from support.builders import Heard
from support.waiting import wait_until

SECOND = timedelta(seconds=1)
QUICK = Rhythm(sweep_gap=0.02, report_gap=0.02)
"""The loops follow each other more closely than in production."""

FAST = AgentSettings(poll_first=0.01, poll_last=0.05, sweep_every=0.05, parallel=4)


class QuickClock(SystemClock):
    """The real time, but nobody waits for long: for tests of what happens again and again."""

    def pause(self, seconds: float, wake: Wake | None = None) -> bool:
        """At most an instant."""
        return super().pause(min(seconds, 0.01), wake)


class WatchedPlatform(InMemoryPlatform):
    """Says when somebody watches: what changes from then on is seen."""

    def __init__(self, *, pending: bool = False) -> None:
        super().__init__(pending=pending)
        self.is_watched = threading.Event()

    def watch(self, *, seconds: float) -> Iterator[Unit]:
        """As ever."""
        changes = super().watch(seconds=seconds)
        self.is_watched.set()
        return changes


@attrs.define
class Agent:
    """One agent process, as far as the engine goes, in a thread."""

    parts: Parts
    heard: Heard
    end: BaseException | None = None
    thread: threading.Thread | None = None

    def start(self) -> "Agent":
        """Run the engine."""
        loops = self.parts.loops

        def run() -> None:
            try:
                loops.run()
            except BaseException as end:  # noqa: BLE001 - whatever it is, the test looks at it
                self.end = end

        self.thread = threading.Thread(target=run, name="agent", daemon=True)
        self.thread.start()
        return self

    def join(self) -> None:
        """Wait for the end."""
        assert self.thread is not None
        self.thread.join(60)
        assert not self.thread.is_alive(), "the agent does not end"

    def stop(self) -> None:
        """Stop, and wait for it."""
        self.parts.loops.stop()
        self.join()

    def exit_code(self) -> int:
        """How it ended."""
        assert isinstance(self.end, AgentExit), f"it ended with {self.end!r}"
        return int(self.end.code)


@attrs.define
class AgentHarness:
    """A Cloud and a platform that any number of agents share."""

    cloud: InMemoryCloudApi = attrs.field(factory=InMemoryCloudApi)
    platform: WatchedPlatform = attrs.field(factory=WatchedPlatform)
    agents: list[Agent] = attrs.field(factory=list)

    def agent(
        self, settings: AgentSettings = FAST, *, deploy: Callable[[FlowRun], str] | None = None, **ports: Any
    ) -> Agent:
        """An agent that is not started yet; with a *deploy* of its own it starts no claim twice."""
        heard = Heard()
        given: dict[str, Any] = {"cloud": self.cloud, "platform": self.platform, "clock": SystemClock(), "tell": heard}
        parts = build(
            Options(settings=settings, own_deploy=deploy and OwnDeploy(deploy), rhythm=QUICK), **{**given, **ports}
        )
        self.agents.append(Agent(parts, heard))
        return self.agents[-1]

    def add(self, count: int) -> list[FlowRunId]:
        """Flow runs that are due."""
        return [self.cloud.add_flow_run() for _ in range(count)]

    def states(self, runs: list[FlowRunId]) -> set[str]:
        """Their states."""
        return {self.cloud.flow_run(run).state for run in runs}

    def units(self) -> list[str]:
        """Flow run ids of all units that were ever started."""
        return [submission.flow_run_id for submission in self.platform.created]

    def wait_started(self, runs: Sequence[str]) -> None:
        """Until every run has its unit."""
        wait_until(lambda: set(runs) <= set(self.units()), 30, "every run has a unit")


def submitted(harness: AgentHarness, run: FlowRunId) -> bool:
    """Whether the run's log says that it was submitted."""
    return any(line.message.startswith("Submitted for execution: ") for line in harness.cloud.logs(run))

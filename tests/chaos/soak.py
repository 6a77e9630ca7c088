"""A program: one agent that executes many short runs; it prints what it holds after a tenth of them, and at the end.

Arguments: ``memory`` or ``processes``, and how many runs. The Cloud is in memory and forgets runs that are over.
"""

import gc
import json
import os
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import attrs

from prefect.agent import Agent
from prefect.agent.adapters.fakes import InMemoryCloudApi, InMemoryPlatform
from prefect.agent.adapters.process import factory
from prefect.agent.domain.model.flow_runs import FlowRunId
from prefect.agent.domain.model.settings import AgentSettings
from prefect.agent.domain.model.units import Unit
from prefect.agent.domain.state_names import FINISHED
from prefect.agent.ports.platform import ExecutionPlatform

AT_ONCE: Final = 200
"""Runs that are open at the same time."""

KEEP: Final = 3.0
"""Seconds for which the Cloud keeps runs that are over: their last log lines are still on the way."""

LONGEST: Final = 1800.0
"""Seconds."""


class QuietPlatform(InMemoryPlatform):
    """Units in memory whose past is forgotten."""

    def watch(self, *, seconds: float) -> Iterator[Unit]:
        """See nothing; it is a hint only."""
        time.sleep(min(seconds, 0.5))
        return iter(())

    def live(self, cloud: InMemoryCloudApi) -> None:
        """Every unit that was made executes its run, and ends; each seventh dies."""
        made = self.created
        for number, submission in enumerate(made):
            cloud.set_state(submission.flow_run_id, "Running")
            if number % 7:
                cloud.set_state(submission.flow_run_id, "Success")
            self.end(submission.name, 0 if number % 7 else 137)
        with self._place.changed:
            del self._place.created[: len(made)]
            self._place.changes.clear()
        self._failures._calls.clear()


@attrs.define
class Soak:
    """One agent, and what feeds it."""

    cloud: InMemoryCloudApi
    platform: ExecutionPlatform
    total: int
    added: int = 0
    over: int = 0
    ended: dict[FlowRunId, float] = attrs.field(factory=dict)
    begun: float = attrs.field(factory=time.monotonic)

    def feed(self) -> None:
        """Forget runs that are over, and add as many."""
        if isinstance(self.platform, QuietPlatform):
            self.platform.live(self.cloud)
        runs, now = self.cloud._store.runs, time.monotonic()
        with self.cloud._guard:
            for run in [run for run, row in runs.items() if row.state in FINISHED]:
                self.ended.setdefault(run, now)
            for run in [run for run, since in self.ended.items() if now - since > KEEP]:
                del runs[run], self.ended[run]
                self.over += 1
            self.cloud._logs.clear()
        self.cloud._failures._calls.clear()
        while self.added < self.total and len(runs) - len(self.ended) < AT_ONCE:
            self.cloud.add_flow_run()
            self.added += 1

    def until(self, count: int) -> None:
        """Feed until so many runs are over.

        Raises:
            TimeoutError: It takes too long.
        """
        while self.over < count:
            self.feed()
            time.sleep(0.02)
            if time.monotonic() - self.begun > LONGEST:
                raise TimeoutError(f"{self.over} of {count} runs are over")

    def rest(self, seconds: float = 30.0) -> None:
        """Let the last units be removed, and their processes be collected."""
        end = time.monotonic() + seconds
        while (self.platform.units() or held()["zombies"]) and time.monotonic() < end:
            self.feed()
            time.sleep(0.1)


def held() -> dict[str, Any]:
    """What this process holds now."""
    gc.collect()
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return {
        "memory": pages * os.sysconf("SC_PAGE_SIZE"),
        "descriptors": len(list(Path("/proc/self/fd").iterdir())),
        "threads": threading.active_count(),
        "zombies": sum(1 for child in children() if state_of(child) == "Z"),
    }


def children() -> list[int]:
    """Processes that this one has started and not yet collected."""
    found = Path("/proc/self/task").glob("*/children")
    return [int(pid) for path in found for pid in path.read_text(encoding="ascii").split()]


def state_of(pid: int) -> str:
    """The letter of a process's state; empty if it is gone."""
    try:
        return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()[0]
    except OSError:
        return ""


def put_prefect() -> None:
    """Let a program called prefect be found, which the process platform looks for."""
    program = Path.home() / "bin" / "prefect"
    program.parent.mkdir(exist_ok=True)
    program.write_text("#!/bin/sh\n", encoding="ascii")
    program.chmod(0o755)
    os.environ["PATH"] = f"{program.parent}:{os.environ['PATH']}"


def main(kind: str, count: str) -> None:
    """Soak, and print two lines of JSON."""
    put_prefect()
    settings = AgentSettings(
        poll_first=0.02, poll_last=0.2, sweep_every=0.5, keep_ended=0.5, parallel=8, create_deadline=60
    )
    platform = QuietPlatform() if kind == "memory" else factory()
    soak = Soak(InMemoryCloudApi(command=("true",)), platform, int(count))
    agent = Agent(cloud=soak.cloud, platform=platform, settings=settings, tell=lambda _event: None)
    working = threading.Thread(target=agent.start)
    working.start()
    soak.until(soak.total // 10)
    print(json.dumps(held()), flush=True)
    soak.until(soak.total)
    soak.rest()
    print(json.dumps({**held(), "units": len(platform.units())}), flush=True)
    agent.stop()
    working.join(60)


if __name__ == "__main__":
    main(*sys.argv[1:])

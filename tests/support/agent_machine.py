"""Running agents of one user, with a home and a Cloud of their own, for ``prefect agent why`` to ask."""

import os
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any, Final

import attrs

from prefect.agent.adapters.process import ProcessPlatform
from support.commands import PREFECT, bare_environment, run
from support.waiting import wait_until
from support.why_cloud import Cloud, served, status_of, why

START: Final = ("agent", "start")
PROCESS: Final = ("process", "--no-hostname-label", "--agent-address", "http://127.0.0.1:0")


@attrs.frozen
class Machine:
    """A home folder with a Cloud, and agents of one user whose flow runs sleep."""

    cloud: Cloud
    home: Path
    stack: ExitStack

    @property
    def variables(self) -> dict[str, str]:
        """Of every command."""
        return {"PREFECT_AGENT_RUNTIME_DIRECTORY": str(self.home / "run")}

    @property
    def env(self) -> dict[str, str]:
        """The environment of every command."""
        return bare_environment(self.home) | {"PREFECT__BACKEND": "server"} | self.variables

    def prefect(self, *words: str) -> "subprocess.CompletedProcess[str]":
        """One command to its end."""
        return run(self.env, "agent", *words)

    def start(self, name: str, *words: str, platform: Sequence[str] = PROCESS) -> "subprocess.Popen[bytes]":
        """An agent that is healthy, of processes unless told otherwise."""
        command: list[str | Path] = [PREFECT, *START, *platform, "--api", self.cloud.url, "--name", name, *words]
        with (self.home / f"{name}.log").open("wb") as log:
            process = subprocess.Popen(command, env=self.env, stderr=log, cwd=self.home)
        self.stack.callback(process.wait, 60)
        self.stack.callback(process.kill)
        self.wait_for(name, "healthy")
        return process

    def log(self, name: str) -> str:
        """What the agent of this name has logged."""
        return (self.home / f"{name}.log").read_text(encoding="utf-8")

    def status(self, name: str) -> dict[str, Any]:
        """What an agent says of itself; empty if it does not answer."""
        return status_of(self.home, name, **self.variables)

    def wait_for(self, name: str, status: str) -> None:
        """Until the agent says that it is so."""
        wait_until(lambda: self.status(name).get("status") == status, 60, f"{name} is {status}")

    def why(self, run_id: str, *words: str, **more: str) -> dict[str, dict[str, Any]]:
        """The findings by cause."""
        return why(self.cloud, self.home, run_id, *words, **{**self.variables, **more})

    def fill(self, name: str) -> str:
        """Let an agent with room for one take a run; the id of another run, which waits."""
        flow = self.cloud.flow(self.cloud.project())
        runs = {self.cloud.run(flow), self.cloud.run(flow)}

        def is_full() -> bool:
            return self.status(name)["slots"]["alive"] == 1 and "Submitted" in map(self.cloud.state, runs)

        wait_until(is_full, 60, f"{name} is full")
        (waits,) = (each for each in runs if self.cloud.state(each) == "Scheduled")
        return waits


@contextmanager
def machine_at(home: Path) -> Iterator[Machine]:
    """Without agents."""
    with served(home / "cloud.db") as cloud, ExitStack() as stack:
        stack.callback(end_units, home)
        yield Machine(cloud, home, stack)


def end_units(home: Path) -> None:
    """End the processes of the flow runs, which outlive their agents."""
    platform = ProcessPlatform(home / ".prefect-agent" / "units", environ={"PATH": os.environ["PATH"]})
    with closing(platform):
        for unit in platform.units():
            platform.stop(unit.name, grace=0)

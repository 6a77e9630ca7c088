"""What ``prefect agent why`` learns from real agents that run: full, paused, unhealthy, or with room."""

import os
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, closing
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import attrs
import pytest

from prefect.agent.adapters.process import ProcessPlatform
from support.commands import PREFECT, bare_environment, run
from support.waiting import wait_until
from support.why_cloud import Cloud, served, status_of, why

START = ("agent", "start", "process", "--no-hostname-label", "--agent-address", "http://127.0.0.1:0")


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

    def start(self, name: str, *words: str) -> None:
        """A process agent that is healthy."""
        command: list[str | Path] = [PREFECT, *START, "--api", self.cloud.url, "--name", name, *words]
        process = subprocess.Popen(command, env=self.env, stderr=subprocess.DEVNULL, cwd=self.home)
        self.stack.callback(process.wait, 60)
        self.stack.callback(process.kill)
        self.wait_for(name, "healthy")

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


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Machine]:
    """Without agents."""
    with served(tmp_path / "cloud.db") as cloud, ExitStack() as stack:
        stack.callback(end_units, tmp_path)
        yield Machine(cloud, tmp_path, stack)


def end_units(home: Path) -> None:
    """End the processes of the flow runs, which outlive their agents."""
    platform = ProcessPlatform(home / ".prefect-agent" / "units", environ={"PATH": os.environ["PATH"]})
    with closing(platform):
        for unit in platform.units():
            platform.stop(unit.name, grace=0)


def test_an_agent_that_is_full_is_certain(machine: Machine) -> None:
    """It is asked at its socket: exit code 1, the count, the limit, and what to do."""
    machine.start("ann", "--limit", "1")
    waits = machine.fill("ann")

    found = machine.why(waits)

    assert found["agent-full"]["stops"]
    assert "is full: 1 unit is alive, --limit 1." in found["agent-full"]["text"]
    assert "start it with a higher --limit" in found["agent-full"]["remedies"]
    assert found["agents"]["text"].endswith("ann.")
    assert next(iter(found)) == "agent-full"


def test_an_agent_elsewhere_is_asked_at_its_address(machine: Machine) -> None:
    """As ``--agent-address`` has it; without, it is only said that it asks for work."""
    machine.start("ann", "--limit", "1")
    waits = machine.fill("ann")
    elsewhere = {"PREFECT_AGENT_RUNTIME_DIRECTORY": str(machine.home / "none")}
    address = machine.status("ann")["agent"]["address"]

    asked = machine.why(waits, "--agent-address", address, **elsewhere)
    unasked = machine.why(waits, **elsewhere)
    units = machine.why(waits, "process", **elsewhere)

    assert asked["agent-full"]["stops"]
    assert address in asked["agent-full"]["text"]
    assert "agent-full" not in unasked
    assert "may be full" in units["units-alive"]["text"]


def test_an_agent_of_others_may_take_what_a_full_one_cannot(machine: Machine) -> None:
    """Another one asks for work that cannot be asked itself: that ours is full stops nothing for certain."""
    machine.start("ann", "--limit", "1")
    waits = machine.fill("ann")
    machine.cloud.ask_for_work()

    found = machine.why(waits)

    assert not found["agent-full"]["stops"]
    assert found["agents"]["text"].endswith("ann, gpu-1.")


def test_an_agent_with_room_is_said_to_have_it(machine: Machine) -> None:
    """The run is not due yet; this is what keeps it."""
    machine.start("ann", "--limit", "3")
    due = datetime.now(timezone.utc) + timedelta(hours=2)
    run_id = machine.cloud.new_run(scheduled_start_time=due.isoformat())

    found = machine.why(run_id)

    assert found["not-due"]["stops"]
    assert found["agent-has-room"]["text"].endswith("has room: 0 units are alive, --limit 3.")
    assert not found["agent-has-room"]["stops"]


def test_an_agent_that_is_paused(machine: Machine) -> None:
    """With the command that lets it go on; an agent of other labels does not matter."""
    machine.start("ann")
    machine.start("gpu", "--label", "gpu")
    assert machine.prefect("pause", "ann").returncode == 0
    run_id = machine.cloud.new_run()

    found = machine.why(run_id)

    assert found["agent-paused"]["stops"]
    assert found["agent-paused"]["remedies"] == ["prefect agent resume ann"]
    assert "agent-has-room" not in found


def test_an_agent_whose_key_is_refused(machine: Machine) -> None:
    """It is unhealthy, and says why itself."""
    machine.start("ann")
    machine.cloud.serve(key="another-key")
    machine.wait_for("ann", "unhealthy")

    found = machine.why(machine.cloud.new_run(), PREFECT__CLOUD__API_KEY="another-key")

    assert found["agent-unhealthy"]["stops"]
    assert "is unhealthy: " in found["agent-unhealthy"]["text"]


def test_an_address_at_which_no_agent_answers(machine: Machine) -> None:
    """What the Cloud says is said all the same."""
    found = machine.why(machine.cloud.new_run(), "--agent-address", "127.0.0.1:1")

    assert found["agent-unseen"]["text"].startswith("The agent at http://127.0.0.1:1 could not be asked: it does not")
    assert found["no-agents"]["stops"]


def test_the_agent_of_another_tenant_is_not_mistaken_for_one_that_could(machine: Machine) -> None:
    """It is there, and works for another Cloud."""
    with served(machine.home / "other.db") as other:
        machine.start("ann")
        found = why(other, machine.home, other.new_run(), **machine.variables)

    assert "no-agents" in found
    assert "agent-has-room" not in found

"""``prefect agent status``, ``pause``, ``resume`` and ``stop`` against real agents and the embedded Cloud."""

import json
import os
import re
import signal
import stat
import subprocess
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import attrs
import pytest
import requests
from prometheus_client.parser import text_string_to_metric_families

from prefect.agent.entrypoints.server.testing import running_server
from support.agent_machine import end_units
from support.commands import PREFECT, bare_environment, run
from support.waiting import wait_until

AGENT = ("agent", "start", "process", "--no-hostname-label")
"""With a label, an agent takes no run without labels."""


@attrs.define
class Machine:
    """A home folder, a Cloud, and commands of one user."""

    url: str
    home: Path
    env: dict[str, str]

    def prefect(self, *words: str) -> "subprocess.CompletedProcess[str]":
        """One command to its end."""
        return run(self.env, "agent", *words)

    def status(self, *words: str) -> Any:
        """The agents' facts."""
        done = self.prefect("status", *words, "--output", "json")
        return json.loads(done.stdout) if done.stdout else None

    @contextmanager
    def agent(self, name: str, *words: str) -> "Generator[subprocess.Popen[str]]":
        """A process agent that has started."""
        command: list[str | Path] = [PREFECT, *AGENT, "--api", self.url, "--name", name, *words]
        with subprocess.Popen(
            command, env=self.env, stderr=subprocess.PIPE, text=True, cwd=self.home, start_new_session=True
        ) as process:
            try:
                assert process.stderr is not None
                for line in process.stderr:
                    if "Waiting for flow runs" in line:
                        break
                yield process
            finally:
                process.kill()

    def add_run(self) -> str:
        """A flow run that is due; its id."""
        flow = {"name": "f", "tasks": [], "edges": [], "type": "prefect.core.flow.Flow", "__version__": "1.4.1"}
        flow["storage"] = {"type": "Local", "path": "/nowhere", "__version__": "1.4.1"}  # type: ignore[assignment]
        project = self._mutate("create_project", name="p")
        flow_id = self._mutate("create_flow", project_id=project, serialized_flow=flow)
        return self._mutate("create_flow_run", flow_id=flow_id)

    def state(self, run_id: str) -> str:
        """The state of a flow run."""
        query = f'query {{ flow_run_by_pk(id: "{run_id}") {{ state }} }}'
        return str(requests.post(self.url, json={"query": query}, timeout=30).json()["data"]["flow_run_by_pk"]["state"])

    def _mutate(self, name: str, /, **given: object) -> str:
        document = f"mutation($input: {name}_input!) {{ {name}(input: $input) {{ id }} }}"
        body = {"query": document, "variables": {"input": given}}
        return str(requests.post(self.url, json=body, timeout=30).json()["data"][name]["id"])


@pytest.fixture
def machine(tmp_path: Path) -> Generator[Machine]:
    """One with a Cloud and no agents."""
    with running_server(tmp_path / "cloud.db") as url:
        env = bare_environment(tmp_path)
        env["PREFECT_AGENT_RUNTIME_DIRECTORY"] = str(tmp_path / "run")
        env["PREFECT__BACKEND"] = "server"
        yield Machine(url, tmp_path, env)
    end_units(tmp_path)


def test_without_an_agent_status_says_so(machine: Machine) -> None:
    """One sentence and an exit code, for scripts."""
    done = machine.prefect("status")

    assert done.returncode == 69
    assert done.stderr == "Error: no agent of this user runs here\n"


def test_status_shows_what_an_agent_does(machine: Machine) -> None:
    """For people: name, state, Cloud, platform, units, steps; the socket is this user's alone."""
    with machine.agent("ann") as process:
        run_id = machine.add_run()
        wait_until(lambda: machine.state(run_id) == "Submitted", 60, "the run is claimed")
        wait_until(lambda: any("created_at" in each for each in machine.status()[0]["runs"]), 60, "the unit is there")

        done = machine.prefect("status")
        [facts] = machine.status()

        assert done.returncode == 0
        assert re.match(rf"ann  healthy  ProcessAgent, process {process.pid}, up \d+ s\n", done.stdout)
        assert f"Cloud     {machine.url}, tenant " in done.stdout
        assert "labels    (none)" in done.stdout
        assert re.search(r"steps     poll (\d+|0) s ago, claim \d+ s ago, create \d+ s ago", done.stdout)
        [told] = facts["runs"]
        assert f"    running  f/{told['flow_run_name']}  {told['unit']}\n" in done.stdout
        assert (told["flow_run_id"], told["flow_name"]) == (run_id, "f")
        assert told["create_s"] > 0
        assert (facts["version"], facts["agent"]["pid"], facts["healthy"]) == (1, process.pid, True)
        [socket] = (machine.home / "run").iterdir()
        assert (stat.S_IMODE(socket.stat().st_mode), stat.S_IMODE(socket.parent.stat().st_mode)) == (0o600, 0o700)


def test_a_paused_agent_claims_nothing_until_it_is_resumed(machine: Machine) -> None:
    """What waits meanwhile starts at once then."""
    with machine.agent("ann"):
        assert "ann (" in machine.prefect("pause").stdout
        run_id = machine.add_run()
        wait_until(lambda: machine.status()[0]["status"] == "paused", 30)
        assert (machine.prefect("status").returncode, machine.state(run_id)) == (0, "Scheduled")

        assert machine.prefect("resume").returncode == 0

        wait_until(lambda: machine.state(run_id) == "Submitted", 60, "the run is claimed")


def test_of_several_agents_one_is_named(machine: Machine) -> None:
    """Status lists them all; what changes one asks which."""
    with machine.agent("ann") as ann, machine.agent("bob") as bob:
        assert {each["agent"]["name"] for each in machine.status()} == {"ann", "bob"}
        refusal = machine.prefect("stop")
        assert refusal.returncode == 2
        assert "several agents run here" in refusal.stderr

        assert machine.prefect("stop", "ann").stdout == f"ann ({ann.pid}) finishes what is in hand, and ends\n"
        assert ann.wait(60) == 0
        assert machine.prefect("stop", str(bob.pid), "--now").returncode == 0
        assert bob.wait(60) == 0
        assert machine.prefect("status", "ann").returncode == 69


def test_a_socket_without_an_agent_is_removed(machine: Machine) -> None:
    """What ``kill -9`` left behind is no agent."""
    with machine.agent("ann") as process:
        os.kill(process.pid, signal.SIGKILL)
        process.wait(60)
        assert list((machine.home / "run").iterdir())

    assert machine.prefect("status").returncode == 69
    assert list((machine.home / "run").iterdir()) == []


def test_the_agents_address_serves_status_and_metrics(machine: Machine) -> None:
    """Also to others, who can change nothing; the official parser reads the metrics."""
    with machine.agent("ann", "--agent-address", "http://127.0.0.1:0"):
        [facts] = machine.status()
        address = facts["agent"]["address"]
        run_id = machine.add_run()
        wait_until(lambda: machine.state(run_id) == "Submitted", 60, "the run is claimed")
        wait_until(lambda: any("created_at" in each for each in machine.status()[0]["runs"]), 60, "the unit is there")

        served = requests.get(f"{address}/status.json", timeout=30).json()
        metrics = requests.get(f"{address}/metrics", timeout=30)
        codes = {path: requests.get(f"{address}{path}", timeout=30).status_code for path in ("/livez", "/readyz")}
        refusal = requests.post(f"{address}/pause", timeout=30)

        assert served["agent"]["name"] == "ann"
        assert codes == {"/livez": 200, "/readyz": 200}
        assert (refusal.status_code, "error" in refusal.json()) == (405, True)
        found = {
            sample.name: sample for each in text_string_to_metric_families(metrics.text) for sample in each.samples
        }
        assert found["prefect_agent_up"].value == 1
        assert found["prefect_agent_info"].labels["name"] == "ann"
        assert found["prefect_agent_create_duration_seconds_count"].value == 1
        assert 'prefect_agent_runs_total{outcome="started"} 1.0' in metrics.text
        assert 'prefect_agent_requests_total{operation="get_runs_in_queue",outcome="ok"}' in metrics.text
        head = requests.head(f"{address}/status.json", timeout=30)
        assert (head.status_code, head.content) == (200, b"")


def test_a_long_runtime_directory_is_no_obstacle(machine: Machine) -> None:
    """Names of sockets may have some hundred characters only; a home folder may be deeper."""
    machine.env["PREFECT_AGENT_RUNTIME_DIRECTORY"] = str(machine.home / ("d" * 120) / "run")
    with machine.agent("ann") as process:
        assert machine.status()[0]["agent"]["pid"] == process.pid
        assert machine.prefect("stop").returncode == 0
        assert process.wait(60) == 0


def test_an_agent_without_a_home_makes_no_folder_called_tilde(machine: Machine) -> None:
    """Nor anything else where it was started; it works, and ``status`` does not find it."""
    work = machine.home / "work"
    work.mkdir()
    env = {**machine.env, "HOME": "~", "TMPDIR": str(machine.home), "PREFECT__CLOUD__API": machine.url}
    del env["PREFECT_AGENT_RUNTIME_DIRECTORY"]
    command: list[str | Path] = [PREFECT, *AGENT, "--max-polls", "1"]

    done = subprocess.run(command, env=env, cwd=work, capture_output=True, text=True, timeout=60, check=False)

    assert done.returncode == 0, done.stderr
    assert list(work.iterdir()) == []


def test_the_status_of_an_agent_elsewhere(machine: Machine) -> None:
    """By its address, without its socket; there it can be looked at only."""
    with machine.agent("ann", "--agent-address", "http://127.0.0.1:0"):
        address = machine.status()[0]["agent"]["address"]
        machine.env["PREFECT_AGENT_RUNTIME_DIRECTORY"] = str(machine.home / "none")

        [facts] = machine.status("--agent-address", address.removeprefix("http://"))

        assert facts["agent"]["name"] == "ann"
        assert machine.prefect("status", "--agent-address", address).stdout.startswith("ann  healthy  ")
        assert machine.prefect("status", "ann", "--agent-address", address).returncode == 2
        assert machine.prefect("pause", "--agent-address", address).returncode == 2


@pytest.mark.parametrize(
    ("address", "code", "said"),
    [
        ("http://127.0.0.1:1", 69, "Error: no agent at http://127.0.0.1:1: it does not answer: Connection refused"),
        ("THE-CLOUD", 69, "it answers 404 for /status.json"),
        ("ftp://x", 2, "is not an address"),
        ("http://x:y", 2, "is not an address"),
        ("", 2, "it is empty: give a value, or leave it out"),
    ],
)
def test_an_address_without_an_agent(machine: Machine, address: str, code: int, said: str) -> None:
    """One sentence, no traceback."""
    done = machine.prefect("status", "--agent-address", machine.url if address == "THE-CLOUD" else address)

    assert (done.returncode, said in done.stderr) == (code, True), done.stderr
    assert "Traceback" not in done.stderr

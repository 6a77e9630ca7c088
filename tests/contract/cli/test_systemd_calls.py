"""The system calls that the systemd unit allows are all that an agent and its flow runs make in an ordinary life."""

import re
import shutil
import signal
import subprocess
from pathlib import Path

import pytest

from prefect.agent.entrypoints.install.command_line import AgentCommand, flat
from prefect.agent.entrypoints.install.systemd import SystemdUnit, unit
from support.commands import PREFECT, bare_environment
from support.secrets_harness import TELLTALE, secrets_harness
from support.waiting import wait_until

CALL = re.compile(r"^\d+ +(\w+)\(", re.MULTILINE)


@pytest.fixture
def programs() -> tuple[str, str]:
    """strace, and systemd's own list of groups of calls."""
    found = shutil.which("strace"), shutil.which("systemd-analyze")
    if None in found:
        pytest.skip("strace or systemd-analyze is not here: install strace and systemd")
    return str(found[0]), str(found[1])


def calls_of(group: str, analyze: str) -> set[str]:
    """The calls of a group of systemd's, those of the groups in it too."""
    listed = subprocess.run([analyze, "syscall-filter", group], capture_output=True, text=True, timeout=60, check=True)
    words = [line.split()[0] for line in listed.stdout.splitlines()[1:] if line.strip() and "#" not in line]
    inner = [calls_of(word, analyze) for word in words if word.startswith("@")]
    return {word for word in words if not word.startswith("@")}.union(*inner)


def test_an_agent_makes_no_call_that_its_unit_forbids(tmp_path: Path, programs: tuple[str, str]) -> None:
    """From start to stop, with a flow run in between; a forbidden one would fail with EPERM."""
    strace, analyze = programs
    [group] = re.findall(
        r"^SystemCallFilter=(@\S+)$", unit(SystemdUnit(started=AgentCommand(words=flat("process")))), re.MULTILINE
    )
    traced, log = tmp_path / "calls", tmp_path / "agent.log"
    with secrets_harness(tmp_path, bare_environment(tmp_path, TELLTALE)) as harness, log.open("wb") as output:
        run_id = harness.flow_run({"type": "LocalRun"})
        words = [str(PREFECT), "agent", "start", "process", "--no-hostname-label", "--api", harness.recorder.url]
        agent = subprocess.Popen(
            [strace, "-D", "-f", "-qq", "-o", str(traced), *words], env=dict(harness.env), stdout=output, stderr=output
        )
        try:
            wait_until(lambda: harness.state(run_id) == "Failed", 120, "the flow run is Failed")
            agent.send_signal(signal.SIGTERM)
            assert agent.wait(60) == 0
        finally:
            agent.kill()
            agent.wait(60)

    made = set(CALL.findall(traced.read_text(encoding="utf-8", errors="replace")))
    assert {"execve", "prctl", "connect"} <= made
    assert made - calls_of(group, analyze) == set()

"""Attack: a flow's process reads the agent's key in /proc/<agent>/environ: it is the same user.

Rule: the agent lets no process of its own user read it. What it starts is not concerned, and its own bookkeeping works.
"""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from support.commands import bare_environment
from support.secrets_harness import KEY, SecretsHarness, secrets_harness
from support.unprivileged import SOMEONE, as_someone, python, python_path
from support.waiting import wait_until

if not sys.platform.startswith("linux"):
    pytest.skip("Linux only: prctl", allow_module_level=True)

SPY: Final = """
parent() { while read -r name value; do [ "$name" = PPid: ] && echo "$value"; done <"/proc/$1/status"; }
agent=$(parent "$(parent $$)")
echo "agent: $(tr '\\0' ' ' <"/proc/$agent/cmdline")"
if cat "/proc/$agent/environ" >/dev/null 2>&1; then echo "its environment is readable"; else echo "it is hidden"; fi
if cat "/proc/$$/environ" >/dev/null 2>&1; then echo "mine is mine"; fi
exit 3
"""


@pytest.fixture
def home() -> Iterator[Path]:
    """A folder of that user."""
    path = Path(tempfile.mkdtemp(prefix="prefect-agent-"))
    if as_someone():
        os.chown(path, SOMEONE, SOMEONE)
    yield path
    shutil.rmtree(path)


@pytest.fixture
def harness(home: Path, tmp_path: Path) -> Iterator[SecretsHarness]:
    """A Cloud, and an agent's home in which ``prefect`` spies."""
    env = {name: value for name, value in bare_environment(home, SPY).items() if not name.startswith("COVERAGE")}
    with secrets_harness(tmp_path, env) as harness:
        yield harness


def agent(harness: SecretsHarness, home: Path, name: str) -> "subprocess.Popen[bytes]":
    """An agent of that user."""
    with (home / f"{name}.log").open("ab") as output:
        return subprocess.Popen(
            [
                python(), "-m", "prefect.agent", "agent", "start", "process", "--no-hostname-label",
                "--api", harness.recorder.url, "-v",
            ],
            env={**harness.env, **python_path()}, stdout=output, stderr=output, cwd=home, **as_someone(),
        )  # fmt: skip


def test_a_flow_run_cannot_read_the_environment_of_its_agent(harness: SecretsHarness, home: Path) -> None:
    """The agent sees how it ends all the same, and finds its output."""
    run_id = harness.flow_run({"type": "LocalRun"})
    one = agent(harness, home, "one")
    try:
        wait_until(lambda: harness.state(run_id) == "Failed", 120, "the flow run is Failed")
        one.send_signal(signal.SIGTERM)
        assert one.wait(60) == 0
    finally:
        one.kill()
        one.wait(60)
    logs = harness.logs(run_id)
    assert "agent: " in logs
    assert "agent start process" in logs
    assert "it is hidden" in logs
    assert "its environment is readable" not in logs
    assert "mine is mine" in logs
    assert "exit code 3" in logs
    assert KEY not in logs


WAITING: Final = """
echo started >>"$HOME/started"
while [ ! -e "$HOME/go" ]; do sleep 0.05; done
exit 3
"""


def test_a_sibling_looks_after_what_a_hidden_agent_left(harness: SecretsHarness, home: Path) -> None:
    """It finds the living process of the unit, starts it no second time, and reports how it ends."""
    (home / "bin" / "prefect").write_text(f"#!/bin/sh\n{WAITING}", encoding="utf-8")
    run_id = harness.flow_run({"type": "LocalRun"})
    one = agent(harness, home, "one")
    try:
        wait_until((home / "started").exists, 60, "the flow run is started")
        one.kill()
        one.wait(60)
        other = agent(harness, home, "other")
        try:
            log = home / "other.log"
            wait_until(lambda: "Compared claims" in log.read_text(encoding="utf-8"), 60, "it looks at what is here")
            (home / "go").touch()
            wait_until(lambda: harness.state(run_id) == "Failed", 60, "the flow run is Failed")
            other.send_signal(signal.SIGTERM)
            assert other.wait(60) == 0
        finally:
            other.kill()
            other.wait(60)
    finally:
        (home / "go").touch()
        one.kill()
        one.wait(60)
    assert (home / "started").read_text(encoding="utf-8").split() == ["started"]
    assert "exit code 3" in harness.logs(run_id)


def test_a_process_that_hides_can_be_read_by_no_other_of_its_user() -> None:
    """Neither its environment nor its memory; what it starts can."""
    program = (
        "import subprocess, sys; from prefect.agent.entrypoints.runtime import memory; assert memory.hide();"
        "child = subprocess.Popen(['sleep', '60']); print(child.pid, flush=True); sys.stdin.read(); child.kill()"
    )
    reader = "import sys; open(f'/proc/{sys.argv[1]}/environ', 'rb').read()"
    env = {**python_path(), "PATH": "/usr/bin:/bin"}
    with subprocess.Popen(
        [python(), "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=env, **as_someone()
    ) as hidden:
        assert hidden.stdout is not None
        child = hidden.stdout.readline().strip()
        codes = [
            subprocess.run([python(), "-c", reader, str(pid)], capture_output=True, check=False, **as_someone())
            for pid in (hidden.pid, child)
        ]
        hidden.communicate("")
    assert [done.returncode for done in codes] == [1, 0]
    assert b"PermissionError" in codes[0].stderr


FIRST_PROCESS: Final = """
import os, sys
from prefect.agent.entrypoints.cli import pid1 as init
real, reap = os.getpid, init.reap_until_child_ends
def reap_once():
    reap()
    os.getpid = real
os.getpid, init.reap_until_child_ends = lambda: 1, reap_once
init.main(["agent", "start", "process", "--api", "http://127.0.0.1:1"])
"""


def test_the_first_process_of_a_container_hides_too(home: Path) -> None:
    """It has the agent's environment, and stays as long as the agent does."""
    env = {"HOME": str(home), "PATH": f"{home}/bin:/usr/bin:/bin", "PREFECT__CLOUD__API_KEY": KEY, **python_path()}
    bare_environment(home)
    log = home / "log"
    with log.open("wb") as output:
        first = subprocess.Popen(
            [python(), "-c", FIRST_PROCESS], env=env, stdout=output, stderr=output, cwd=home, **as_someone()
        )
        try:
            wait_until(lambda: "Starting:" in log.read_text(encoding="utf-8"), 60, "the agent starts")
            reader = f"open('/proc/{first.pid}/environ', 'rb').read()"
            done = subprocess.run([python(), "-c", reader], capture_output=True, check=False, **as_someone())
            assert b"PermissionError" in done.stderr
            first.send_signal(signal.SIGTERM)
            assert first.wait(60) == 0
        finally:
            first.kill()
            first.wait(60)

"""The first process of a container: it reaps, hands signals on, and ends as its child ends."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from support.waiting import wait_until

if not sys.platform.startswith("linux"):
    pytest.skip("Linux only: this is for containers", allow_module_level=True)

BECOME_INIT = """
import ctypes, os, subprocess, sys, time
from prefect.agent.entrypoints.cli import pid1 as init
PR_SET_CHILD_SUBREAPER = 36
assert ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) == 0   # orphans come here, as to process 1
init.reap_until_child_ends()
"""

LEAVE_AN_ORPHAN = """
orphan = int(subprocess.run(["sh", "-c", "sleep 0.2 >&- & echo $!"], capture_output=True, text=True).stdout)
deadline = time.monotonic() + 30
while os.path.exists(f"/proc/{orphan}") and time.monotonic() < deadline:
    time.sleep(0.02)
print("zombie" if os.path.exists(f"/proc/{orphan}") else "reaped", flush=True)
"""


def run(program: str) -> "subprocess.CompletedProcess[str]":
    """Run *program* as the child of such a process, to its end."""
    return subprocess.run(
        [sys.executable, "-c", BECOME_INIT + program], capture_output=True, text=True, timeout=60, check=False
    )


def test_what_a_flow_run_leaves_behind_is_reaped() -> None:
    """A process whose parent has ended does not stay a zombie: process 1 adopts it and must wait for it."""
    assert run(LEAVE_AN_ORPHAN).stdout == "reaped\n"


@pytest.mark.parametrize(
    ("program", "code"),
    [("sys.exit(0)", 0), ("sys.exit(78)", 78), ("os.kill(os.getpid(), 9)", 137), ("raise SystemExit", 0)],
)
def test_it_ends_as_its_child_ends(program: str, code: int) -> None:
    """Exit codes say whether a restart helps; a signal becomes 128 and its number, as in a shell."""
    assert run(program).returncode == code


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signals_reach_the_child(number: signal.Signals, tmp_path: Path) -> None:
    """`docker stop` and the kubelet send them to process 1 only."""
    ready = tmp_path / "ready"
    program = f"""
import signal
signal.signal({int(number)}, lambda *_: sys.exit(5))
open({str(ready)!r}, "w").close()
time.sleep(120)
"""
    with subprocess.Popen([sys.executable, "-c", BECOME_INIT + program]) as process:
        wait_until(ready.exists, 60, "the child")
        os.kill(process.pid, number)
        assert process.wait(timeout=60) == 5


def test_elsewhere_it_is_prefect() -> None:
    """With an init of somebody else's there is nothing to reap, and no second process."""
    done = subprocess.run(
        [sys.executable, "-m", "prefect.agent.entrypoints.cli.pid1", "agent", "-h"],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip

    assert done.returncode == 0
    assert done.stdout.startswith("Usage: prefect agent")

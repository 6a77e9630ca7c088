"""Thousands of runs leave nothing behind: memory, descriptors and threads stay flat, and there is no zombie."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any, Final

from chaos.conftest import TESTS, needs_everything

MEGABYTE: Final = 1024 * 1024


def _soak(kind: str, count: int, home: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    path = os.pathsep.join(each for each in (str(TESTS), os.environ.get("PYTHONPATH", "")) if each)
    env = {"HOME": str(home), "PATH": "/usr/bin:/bin", "PYTHONPATH": path}
    command = [sys.executable, "-m", "chaos.soak", kind, str(count)]
    done = subprocess.run(command, env=env, cwd=home, capture_output=True, text=True, timeout=2400, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    early, late = (json.loads(line) for line in done.stdout.splitlines())
    return early, late


def _check(early: dict[str, Any], late: dict[str, Any], megabytes: float) -> None:
    assert late["memory"] - early["memory"] < megabytes * MEGABYTE, (early, late)
    assert late["descriptors"] <= early["descriptors"] + 3, (early, late)
    assert late["threads"] <= early["threads"] + 3, (early, late)
    assert (late["zombies"], late["units"]) == (0, 0), late


@needs_everything
def test_twenty_thousand_runs_in_memory(tmp_path: Path) -> None:
    """On the in-memory platform; each seventh dies without a report."""
    _check(*_soak("memory", 20_000, tmp_path), megabytes=8)


@needs_everything
def test_a_thousand_processes(tmp_path: Path) -> None:
    """On the process platform; none of them reports anything."""
    _check(*_soak("processes", 1_000, tmp_path), megabytes=8)


def test_a_short_soak(tmp_path: Path) -> None:
    """The same, in seconds: nothing is left behind."""
    early, late = _soak("processes", 30, tmp_path)
    assert (late["zombies"], late["units"]) == (0, 0), late
    assert early["threads"] > 1

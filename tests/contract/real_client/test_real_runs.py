"""``prefect agent run --watch`` of flows of the real client, which our process agent executes."""

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.real_prefect import OWN_PREFECT, RealPrefect

pytestmark = pytest.mark.real_prefect

HERE = Path(__file__).parent


@pytest.fixture(scope="module")
def flows(real: RealPrefect) -> Iterator[RealPrefect]:
    """A flow that succeeds and one that fails, and an agent."""
    paths = [str(HERE / "flows" / f"{name}.py") for name in ("telling", "failing")]
    real.program(HERE / "programs" / "register.py", {"project": "ordered", "paths": paths})
    env = ("--env", "PREFECT__CLOUD__HEARTBEAT_MODE=thread")
    with real.agent("start", "process", "--interpreter", str(real.python), "--no-hostname-label", *env):
        yield real


def watched(real: RealPrefect, *words: str) -> "subprocess.CompletedProcess[str]":
    """``prefect-agent agent run WORDS --watch``, to the end of the run."""
    command = [str(OWN_PREFECT), "agent", "run", *words, "--watch", "--timeout", "240"]
    return subprocess.run(
        command, env=real.env, cwd=real.home, capture_output=True, text=True, timeout=300, check=False
    )


def test_a_watched_run_shows_its_states_and_all_of_its_log(flows: RealPrefect) -> None:
    """Exit code 0; the lines that the flow's process sends at its end are there, each once and in order of time."""
    done = watched(flows, "ordered/telling", "--param", "who=Ada", "--output", "json")

    assert done.returncode == 0, done.stdout + done.stderr
    said = [json.loads(line) for line in done.stdout.splitlines()]
    states = [each["name"] for each in said if each["kind"] == "state"]
    lines = [each["message"] for each in said if each["kind"] == "log"]
    assert states == ["Scheduled", "Submitted", "Running", "Success"]
    assert sorted(lines) == sorted(flows.logs(said[0]["id"]))
    assert "printed for Ada" in lines
    assert said[-1] == {"kind": "ended", "state": "Success", "exit_code": 0}


def test_a_watched_run_that_fails_says_why(flows: RealPrefect) -> None:
    """Exit code 1, as text for people; the error of the task is among the lines."""
    done = watched(flows, "failing", "--name", "doomed")

    assert done.returncode == 1, done.stdout + done.stderr
    assert done.stdout.splitlines()[-1] == "The flow run ended: Failed"
    assert "Submitted: Submitted for execution" in done.stdout
    assert "no such table" in done.stdout

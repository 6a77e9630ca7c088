"""Promises P1 and P2 with real parts: an agent is killed while it starts flow runs, another one finishes the work."""

import collections
import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import attrs
import pytest
import requests

from prefect.agent.entrypoints.server.testing import running_server
from support.waiting import wait_until

PREFECT = Path(sys.executable).parent / "prefect-agent"
RUNS = 60
AGENT = ("agent", "start", "process", "--no-hostname-label")
"""Takes the flow runs, which have no labels: an agent that has one does not."""

FLOW = """#!/bin/sh
echo "$PREFECT__CONTEXT__FLOW_RUN_ID" >> "$(dirname "$0")/started"
exec sleep 120
"""
"""Stands in for ``prefect execute flow-run``: writes down which run it is, and goes on running."""


@attrs.frozen
class RecoveryHarness:
    """An embedded Cloud with flow runs that are due, and agents to start on them."""

    url: str
    home: Path

    def agent(self, name: str) -> "subprocess.Popen[bytes]":
        """A new agent."""
        env = {"HOME": str(self.home), "PATH": f"{self.home}/bin:/usr/bin:/bin"}
        with self._log(name).open("wb") as log:
            return subprocess.Popen([PREFECT, *AGENT, "--api", self.url, "--verbose"], env=env, stdout=log, stderr=log)

    def is_at_work(self, name: str) -> bool:
        """Whether the agent has come as far as to hear signals."""
        return "Compared claims with units" in self._log(name).read_text(encoding="utf-8")

    def _log(self, name: str) -> Path:
        return self.home / f"agent-{name}.log"

    def ask(self, document: str, given: Mapping[str, object] | None = None) -> dict[str, dict[str, str]]:
        """Ask the Cloud."""
        body = {"query": document, "variables": {"input": given}}
        answer = requests.post(self.url, json=body, timeout=60).json()
        assert "errors" not in answer, answer
        data: dict[str, dict[str, str]] = answer["data"]
        return data

    def started(self) -> "collections.Counter[str]":
        """How often each flow run was started."""
        path = self.home / "bin" / "started"
        return collections.Counter(path.read_text(encoding="ascii").split() if path.exists() else ())


@pytest.fixture
def harness(tmp_path: Path) -> Iterator[RecoveryHarness]:
    """See :class:`RecoveryHarness`. Everything that was started is ended."""
    program = tmp_path / "bin" / "prefect"
    program.parent.mkdir()
    program.write_text(FLOW, encoding="ascii")
    program.chmod(0o755)
    with running_server(tmp_path / "cloud.db") as url:
        harness = RecoveryHarness(url, tmp_path)
        create = "mutation($input: create_{0}_input!) {{ create_{0}(input: $input) {{ id }} }}"
        project = harness.ask(create.format("project"), {"name": "p"})["create_project"]["id"]
        flow = {"project_id": project, "serialized_flow": {"name": "f", "storage": {"type": "Local"}}}
        flow_id = harness.ask(create.format("flow"), flow)["create_flow"]["id"]
        for _ in range(RUNS):
            harness.ask(create.format("flow_run"), {"flow_id": flow_id})
        yield harness
        for path in (tmp_path / ".prefect-agent" / "units").glob("*/pid"):
            for group in path.read_text(encoding="ascii").split()[-1:]:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(int(group), signal.SIGKILL)


@pytest.mark.parametrize("begun", [0, 1, 17])
def test_an_agent_that_is_killed_loses_and_doubles_nothing(harness: RecoveryHarness, begun: int) -> None:
    """Kill -9 while flow runs are being started; the next agent starts every run that has no unit, and no other."""
    first = harness.agent("first")
    try:
        wait_until(lambda: len(harness.started()) >= begun, 60, "the first starts")
    finally:
        first.kill()
        first.wait()
    second = harness.agent("second")
    try:
        wait_until(lambda: len(harness.started()) == RUNS, 60, "all starts")
        wait_until(lambda: harness.is_at_work("second"), 60, "the second agent is at work")
        second.send_signal(signal.SIGTERM)
        assert second.wait(60) == 0
    finally:
        second.kill()
        second.wait()
    assert set(harness.started().values()) == {1}


def test_two_agents_on_one_queue_double_nothing(harness: RecoveryHarness) -> None:
    """Two agents ask for the same flow runs; each run is started once."""
    names = ("one", "other")
    agents = [harness.agent(name) for name in names]
    try:
        wait_until(lambda: len(harness.started()) == RUNS, 60, "all starts")
        wait_until(lambda: all(map(harness.is_at_work, names)), 60, "both are at work")
    finally:
        for agent in agents:
            agent.send_signal(signal.SIGTERM)
    assert [agent.wait(60) for agent in agents] == [0, 0]
    assert set(harness.started().values()) == {1}

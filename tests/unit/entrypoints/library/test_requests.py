"""How many requests an agent makes: per run while it drains a queue, and per sweep. Counted, not timed."""

import threading
from collections import Counter
from collections.abc import Generator
from pathlib import Path
from typing import Any

import attrs
import pytest
import requests

from prefect.agent.adapters.fakes import InMemoryPlatform
from prefect.agent.adapters.graphql import GraphQLCloudApi
from prefect.agent.adapters.graphql.transport import Transport
from prefect.agent.adapters.system.clock import SystemClock
from prefect.agent.domain.model.settings import AgentSettings
from prefect.agent.entrypoints.container import build
from prefect.agent.entrypoints.factories import Options
from prefect.agent.entrypoints.server.testing import running_server
from support.waiting import wait_until

RUNS = 200
PER_RUN = 0.4
"""Requests per started run that an agent may make while it drains a queue on a machine that is busy with other things:
what waits for longer than three seconds is read again. tests/chaos/test_idle.py counts without the machine."""

LOGS = "write_run_logs"
"""Written four times a second at the most, whatever there is: how often that is depends on how fast the machine is."""


@attrs.define
class Counted:
    """The embedded Cloud, and how often an adapter asks it."""

    url: str
    asked: Counter[str] = attrs.field(factory=Counter)

    def mutate(self, name: str, gives: str, /, **given: Any) -> Any:
        """One mutation, as a person makes it."""
        document = f"mutation($input: {name}_input!) {{ {name}(input: $input) {{ {gives} }} }}"
        answer = requests.post(self.url, json={"query": document, "variables": {"input": given}}, timeout=30).json()
        return answer["data"][name]

    def add(self, count: int) -> None:
        """Flow runs that are due."""
        project = self.mutate("create_project", "id", name="p")["id"]
        flow = {"name": "f", "tasks": [], "edges": [], "type": "prefect.core.flow.Flow", "__version__": "1.4.1"}
        flow_id = self.mutate("create_flow", "id", project_id=project, serialized_flow=flow)["id"]
        for _ in range(count):
            self.mutate("create_flow_run", "id", flow_id=flow_id)


@pytest.fixture
def cloud(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Generator[Counted]:
    """A Cloud whose requests by the agent are counted."""
    with running_server(tmp_path / "cloud.db") as url:
        counted = Counted(url)
        real, guard = Transport.send, threading.Lock()

        def send(self: Transport, document: str, *args: Any, **kwargs: Any) -> Any:
            with guard:
                counted.asked[document.partition("{")[2].partition("(")[0].split(":")[-1].strip()] += 1
            return real(self, document, *args, **kwargs)

        monkeypatch.setattr(Transport, "send", send)
        yield counted


def drained(cloud: Counted, runs: int, platform: InMemoryPlatform) -> int:
    """Drain a queue; how many requests that took, log lines aside."""
    api = GraphQLCloudApi(cloud.url, clock=SystemClock())
    api.connect()
    parts = build(Options(settings=AgentSettings()), cloud=api, platform=platform)
    before = cloud.asked.total() - cloud.asked[LOGS]
    thread = threading.Thread(target=parts.loops.run, daemon=True)
    thread.start()
    wait_until(lambda: len(platform.created) >= runs, 60, "every run is started")
    asked = cloud.asked.total() - cloud.asked[LOGS] - before
    parts.loops.stop()
    thread.join(60)
    api.close()
    return asked


def test_draining_a_queue_takes_a_part_of_a_request_for_each_run(cloud: Counted) -> None:
    """Queue, rows and claims are asked for in batches, and log lines of many runs are sent together."""
    cloud.add(RUNS)

    assert drained(cloud, RUNS, InMemoryPlatform()) <= PER_RUN * RUNS
    assert cloud.asked[LOGS] <= RUNS / 4


@pytest.mark.parametrize("living", [0, 60])
def test_a_sweep_takes_one_request_whatever_lives(cloud: Counted, living: int) -> None:
    """What has changed is asked for, not what is there."""
    cloud.add(living)
    platform = InMemoryPlatform()
    if living:
        drained(cloud, living, platform)
    api = GraphQLCloudApi(cloud.url, clock=SystemClock())
    api.connect()
    sweep = build(Options(), cloud=api, platform=platform).loops.sweep.sweep
    sweep()
    before = cloud.asked.total()

    for _ in range(3):
        sweep()

    assert cloud.asked.total() - before == 3
    assert sweep.work.census.alive == living
    api.close()

"""Each cause that ``prefect agent why`` names, against the embedded Cloud and real platforms."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import closing
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import attrs
import pytest
import requests

from prefect.agent.adapters.graphql import GraphQLCloudApi
from prefect.agent.adapters.process import ProcessPlatform
from prefect.agent.adapters.system import SystemClock
from prefect.agent.domain.model.flow_runs import ClaimRecord, FlowRunId
from prefect.agent.domain.model.submissions import Submission
from prefect.agent.domain.model.units import Unit, unit_name
from prefect.agent.entrypoints.server.testing import running_server
from prefect.agent.ports.cloud_api import ClaimRequest
from support.commands import bare_environment
from support.embedded import Embedded, Json, task_run
from support.waiting import wait_until

SCHEDULE = {"clocks": [{"type": "IntervalClock", "interval": 3_600_000_000, "start_date": None}]}


@attrs.define
class Cloud(Embedded):
    """An embedded Cloud over HTTP, whose clock can be set back.

    Attributes:
        back: How far.
    """

    url: str = ""
    back: timedelta = timedelta()

    def __attrs_post_init__(self) -> None:
        """The server has the file."""

    def clock(self) -> datetime:
        """The Cloud's time."""
        return datetime.now(timezone.utc) - self.back

    def send(self, query: str, variables: object = None, headers: Mapping[str, str] | None = None) -> tuple[int, Json]:
        """As a client does."""
        body = {"query": query, "variables": variables}
        answer = requests.post(self.url, json=body, headers=dict(headers or {}), timeout=30)
        return answer.status_code, answer.json()

    def new_run(self, *, tasks: int = 0, **more: Any) -> str:
        """A new flow run of a new flow."""
        return self.run(self.flow(self.project(), tasks=tasks), flow_run_name="crimson-dolphin", **more)

    def ask_for_work(self, *labels: str) -> None:
        """An agent registers, and asks."""
        given = {"name": "gpu-1", "type": "DockerAgent", "labels": list(labels), "tenant_id": None}
        agent = self.change("register_agent", "id", **given)["id"]
        about = {"before": "2026-01-01T00:00:00+00:00", "labels": list(labels), "tenant_id": None}
        self.change("get_runs_in_queue", "flow_run_ids", {"X-PREFECT-AGENT-ID": agent}, **about)


@pytest.fixture
def cloud(tmp_path: Path) -> Iterator[Cloud]:
    """A Cloud of one's own."""
    cloud = Cloud(tmp_path / "cloud.db")
    with running_server(cloud.path, now=cloud.clock) as url:
        cloud.url = url
        yield cloud


def command(cloud: Cloud, home: Path, *words: str, **more: str) -> "subprocess.CompletedProcess[str]":
    """One of our commands, as a person calls it."""
    env = bare_environment(home) | {"PREFECT__BACKEND": "server", "PREFECT__CLOUD__API": cloud.url} | more
    env |= {"PYTHONPATH": os.environ.get("PYTHONPATH", "")}
    program = [sys.executable, "-m", "prefect.agent", "agent", *words]
    return subprocess.run(program, env=env, capture_output=True, text=True, timeout=120, check=False)


def why(cloud: Cloud, home: Path, *words: str, **more: str) -> dict[str, dict[str, Any]]:
    """The findings for the run, by cause; the exit code fits them."""
    done = command(cloud, home, "why", *words, "--output", "json", **more)
    assert done.stdout, done.stderr
    findings = json.loads(done.stdout)["findings"]
    assert done.returncode == int(any(finding["stops"] for finding in findings))
    return {finding["cause"]: finding for finding in findings}


def test_a_run_that_is_not_due(cloud: Cloud, tmp_path: Path) -> None:
    """With the time, by the Cloud's clock."""
    due = datetime.now(timezone.utc) + timedelta(hours=2)
    run = cloud.new_run(scheduled_start_time=due.isoformat())

    found = why(cloud, tmp_path, run)["not-due"]

    assert found["stops"]
    assert f"at {due:%Y-%m-%d %H:%M:%S} UTC" in found["text"]


def test_agents_that_have_gone(cloud: Cloud, tmp_path: Path) -> None:
    """With the time when each was seen last."""
    run = cloud.new_run(labels=["vm"])
    cloud.back = timedelta(minutes=5)
    cloud.ask_for_work("vm")
    cloud.back = timedelta()

    found = why(cloud, tmp_path, run)["agents-gone"]

    assert found["rows"][1][:3] == ["gpu-1", "DockerAgent", "vm"]
    assert found["rows"][1][3].startswith("5 min")


def test_a_flow_whose_schedule_is_off(cloud: Cloud, tmp_path: Path) -> None:
    """It keeps no run that is there from being started."""
    flow = cloud.flow(cloud.project(), schedule=SCHEDULE)
    cloud.change("set_schedule_inactive", "success", flow_id=flow)
    run = cloud.run(flow)
    cloud.ask_for_work()

    found = why(cloud, tmp_path, run)

    assert not found["schedule-off"]["stops"]
    assert not found["agents"]["stops"]


def test_a_flow_without_a_schedule_has_none_that_is_off(cloud: Cloud, tmp_path: Path) -> None:
    """Nothing is said."""
    assert "schedule-off" not in why(cloud, tmp_path, cloud.new_run())


def test_a_flow_that_is_archived(cloud: Cloud, tmp_path: Path) -> None:
    """The Cloud has cancelled the run: with the remedy."""
    flow = cloud.flow(cloud.project())
    run = cloud.run(flow)
    cloud.change("archive_flow", "success", flow_id=flow)

    assert why(cloud, tmp_path, run)["archived"]["stops"]


def test_a_run_that_a_limit_keeps(cloud: Cloud, tmp_path: Path) -> None:
    """With the name of the run that holds the place."""
    cloud.change("update_flow_concurrency_limit", "id", label="vm", limit=1)
    flow = cloud.flow(cloud.project())
    holder, waits = (cloud.run(flow, flow_run_name=name, labels=["vm"]) for name in ("holder", "waits"))
    cloud.set_state(holder, "Running")
    cloud.set_state(waits, "Running")

    found = why(cloud, tmp_path, waits)["queued"]

    assert "The places are held by holder." in found["text"]


def test_a_run_that_is_paused(cloud: Cloud, tmp_path: Path) -> None:
    """A person has to resume it."""
    run = cloud.new_run()
    cloud.set_state(run, "Paused")

    assert why(cloud, tmp_path, run)["paused"]["stops"]


def test_task_runs_that_wait_for_a_retry(cloud: Cloud, tmp_path: Path) -> None:
    """How many, and when."""
    run = cloud.new_run(tasks=1)
    cloud.set_state(run, "Running")
    again = datetime.now(timezone.utc) + timedelta(minutes=7)
    state = {"type": "Retrying", "message": "again", "start_time": again.isoformat()}
    task = {"task_run_id": task_run(cloud, run), "state": state}
    cloud.change("set_task_run_states", "states { id }", states=[task])

    found = why(cloud, tmp_path, run)["retries-wait"]

    assert not found["stops"]
    assert found["text"].startswith(f"1 of its task runs wait to be tried again, the first one at {again:%H:%M:%S} UTC")


def test_a_platform_that_is_away(cloud: Cloud, tmp_path: Path) -> None:
    """What the Cloud says is said all the same."""
    found = why(cloud, tmp_path, cloud.new_run(), "docker", DOCKER_HOST="tcp://127.0.0.1:1")

    assert found["platform-unavailable"]["stops"]
    assert "no-agents" in found


@pytest.mark.parametrize(
    ("config", "options", "cause"),
    [
        ({"type": "LocalRun", "env": {"LD_PRELOAD": "x"}}, ("--policy", "restricted"), "refused-by-policy"),
        ({"type": "KubernetesRun"}, (), "refused"),
    ],
)
def test_a_run_that_an_agent_refused(
    cloud: Cloud, tmp_path: Path, config: Json, options: tuple[str, ...], cause: str
) -> None:
    """By its policy, or since the platform cannot run it: a real agent says it in the run's state."""
    run = cloud.run(cloud.flow(cloud.project(), run_config={**config, "labels": []}))
    words = ("start", "process", "--no-hostname-label", "--max-polls", "1", *options)
    done = command(cloud, tmp_path, *words)
    assert cloud.state(run) == "Failed", done.stderr

    found = why(cloud, tmp_path, run)[cause]

    assert found["stops"]
    assert found["remedies"]


# --- claimed ---


@attrs.frozen
class Claimed:
    """A run that an agent has claimed for a unit of this machine's processes."""

    run: str
    unit: str
    platform: ProcessPlatform

    def start(self, script: str) -> None:
        """The claim's unit."""
        words = ("/bin/sh", "-c", script)
        given = Submission(name=self.unit, flow_run_id=FlowRunId(self.run), attempt="1", command=words)
        self.platform.create(given)

    def look(self) -> Unit:
        """The unit."""
        unit = self.platform.unit(self.unit)
        assert unit is not None
        return unit


@pytest.fixture
def claimed(cloud: Cloud, tmp_path: Path) -> Iterator[Claimed]:
    """A claim without a unit."""
    run_id = FlowRunId(cloud.new_run())
    api = GraphQLCloudApi(cloud.url, clock=SystemClock())
    platform = ProcessPlatform(tmp_path / ".prefect-agent" / "units", environ={"PATH": os.environ["PATH"]})
    with closing(api), closing(platform):
        api.connect()
        (run,) = api.flow_runs([run_id])
        name = unit_name(run.id, run.attempt)
        record = ClaimRecord(
            claimant="vm-1@host/1",
            platform=platform.identity,
            unit=name,
            attempt=str(run.attempt),
            agent_name="vm-1",
            claimed_at=datetime.now(timezone.utc) - timedelta(minutes=3),
        )
        api.claim([ClaimRequest(run=run, record=record)])
        try:
            yield Claimed(run_id, name, platform)
        finally:
            platform.stop(name, grace=0)


def test_a_claim_whose_unit_is_absent(cloud: Cloud, claimed: Claimed, tmp_path: Path) -> None:
    """By whom, when, and for which unit it was claimed."""
    found = why(cloud, tmp_path, claimed.run, "process")

    text = found["claimed"]["text"]
    assert text.startswith("The agent vm-1 claimed it 3 min")
    assert text.endswith(f"for the unit {claimed.unit}.")
    assert found["unit-absent"]["stops"]


def test_a_claim_whose_unit_executes(cloud: Cloud, claimed: Claimed, tmp_path: Path) -> None:
    """Nothing keeps the run, until it is late."""
    claimed.start("exec sleep 600")

    assert not why(cloud, tmp_path, claimed.run, "process")["unit-executes"]["stops"]


def test_a_claim_whose_unit_has_ended(cloud: Cloud, claimed: Claimed, tmp_path: Path) -> None:
    """With its evidence."""
    claimed.start("exit 3")
    wait_until(lambda: claimed.look().status.has_ended, 30, "the unit has ended")

    assert "exit code 3" in why(cloud, tmp_path, claimed.run, "process")["unit-ended"]["text"]


def test_a_claim_on_a_platform_that_was_not_asked(cloud: Cloud, claimed: Claimed, tmp_path: Path) -> None:
    """With the command that asks it."""
    assert f"why {claimed.run}" in why(cloud, tmp_path, claimed.run)["unit-unseen"]["remedies"][0]


def test_units_that_may_fill_an_agent(cloud: Cloud, claimed: Claimed, tmp_path: Path) -> None:
    """Of a run that waits it is said how many units are alive: an agent at its limit takes none."""
    claimed.start("exec sleep 600")

    found = why(cloud, tmp_path, cloud.run(cloud.flow(cloud.project("q"))), "process")["units-alive"]

    assert not found["stops"]
    assert found["text"].startswith("1 units are alive")

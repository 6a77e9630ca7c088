"""``prefect agent why`` as a person calls it, and an embedded Cloud over HTTP with runs to ask about."""

import json
import os
import subprocess
import sys
from collections.abc import Generator, Mapping
from contextlib import ExitStack, closing, contextmanager
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import attrs
import requests

from prefect.agent.adapters.graphql import GraphQLCloudApi
from prefect.agent.adapters.system import SystemClock
from prefect.agent.domain.model.flow_runs import ClaimRecord, FlowRunId
from prefect.agent.domain.model.submissions import Submission
from prefect.agent.domain.model.units import unit_name
from prefect.agent.entrypoints.server.testing import running_server
from prefect.agent.ports.cloud_api import ClaimRequest
from support.commands import bare_environment
from support.embedded import Embedded, Json


@attrs.define
class Cloud(Embedded):
    """An embedded Cloud over HTTP, whose clock can be set back.

    Attributes:
        back: How far.
        key: With which it is asked.
        server: What ends with the server.
    """

    url: str = ""
    back: timedelta = timedelta()
    key: str = ""
    server: ExitStack = attrs.field(factory=ExitStack)

    def __attrs_post_init__(self) -> None:
        """The server has the file."""

    def clock(self) -> datetime:
        """The Cloud's time."""
        return datetime.now(timezone.utc) - self.back

    def send(self, query: str, variables: object = None, headers: Mapping[str, str] | None = None) -> tuple[int, Json]:
        """As a client does."""
        body, login = (
            {"query": query, "variables": variables},
            {"Authorization": f"Bearer {self.key}"} if self.key else {},
        )
        answer = requests.post(self.url, json=body, headers={**login, **(headers or {})}, timeout=30)
        return answer.status_code, answer.json()

    def serve(self, key: str = "") -> None:
        """Serve the file; again at the same address, to those with *key*, if it is served already."""
        self.server.close()
        port = urlsplit(self.url).port or 0
        keys = frozenset({key} if key else ())
        self.key = key
        self.url = self.server.enter_context(running_server(self.path, port=port, keys=keys, now=self.clock))

    def new_run(self, *, tasks: int = 0, **more: Any) -> str:
        """A new flow run of a new flow."""
        return self.run(self.flow(self.project(), tasks=tasks), flow_run_name="crimson-dolphin", **more)

    def ask_for_work(self, *labels: str) -> None:
        """An agent registers, and asks."""
        given = {"name": "gpu-1", "type": "DockerAgent", "labels": list(labels), "tenant_id": None}
        agent = self.change("register_agent", "id", **given)["id"]
        about = {"before": "2026-01-01T00:00:00+00:00", "labels": list(labels), "tenant_id": None}
        self.change("get_runs_in_queue", "flow_run_ids", {"X-PREFECT-AGENT-ID": agent}, **about)


@contextmanager
def served(path: Path) -> Generator[Cloud]:
    """A Cloud of one's own on this file."""
    cloud = Cloud(path)
    try:
        cloud.serve()
        yield cloud
    finally:
        cloud.server.close()


def claim(cloud: Cloud, platform: str) -> Submission:
    """Claim a new run, as an agent on *platform* that has taken the claim up twice; what its unit would be of."""
    run_id = FlowRunId(cloud.new_run())
    with closing(GraphQLCloudApi(cloud.url, clock=SystemClock())) as api:
        api.connect()
        (run,) = api.flow_runs([run_id])
        name, since = unit_name(run.id, run.attempt), datetime.now(timezone.utc) - timedelta(minutes=3)
        record = ClaimRecord(
            claimant="vm-1@host/1",
            platform=platform,
            unit=name,
            attempt=str(run.attempt),
            agent_name="vm-1",
            claimed_at=since,
            recoveries=2,
        )
        api.claim([ClaimRequest(run=run, record=record)])
    return Submission(name=name, flow_run_id=run_id, attempt=str(run.attempt), command=("true",))


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


def status_of(home: Path, name: str, **variables: str) -> dict[str, Any]:
    """What a running agent says of itself; empty if it does not answer."""
    env = bare_environment(home) | {"PYTHONPATH": os.environ.get("PYTHONPATH", "")} | variables
    program = [sys.executable, "-m", "prefect.agent", "agent", "status", name, "--output", "json"]
    done = subprocess.run(program, env=env, capture_output=True, text=True, timeout=60, check=False)
    found: list[dict[str, Any]] = json.loads(done.stdout) if done.stdout else [{}]
    return found[0]

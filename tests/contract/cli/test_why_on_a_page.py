"""The page of a flow run and ``prefect agent why`` say the same, word for word."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Final

import pytest
import requests

from prefect.agent.domain.times import iso
from prefect.agent.entrypoints.server.services import Routine
from prefect.agent.entrypoints.server.testing import running_server
from support.page_browser import Shown
from support.remote_cloud import RemoteCloud

SPAN: Final = re.compile(r"\d+ (d|h|min|s)( \d+ (h|min|s))?\b")


@pytest.fixture
def cloud(tmp_path: Path) -> Iterator[RemoteCloud]:
    """A Cloud at an address, with one agent, which does nothing by itself."""
    with running_server(tmp_path / "cloud.db", routine=Routine(enabled=())) as url, closing(RemoteCloud(url)) as found:
        found.change("register_agent", "id", type="DockerAgent", name="large", labels=["gpu"])
        yield found


def made(cloud: RemoteCloud, case: str) -> str:
    """A run that waits for one of several reasons."""
    hour = timedelta(hours=1)
    start = {"not due": hour, "late": -hour}.get(case, timedelta())
    labels = ["vm"] if case == "no agent" else ["gpu"]
    flow = cloud.flow(cloud.project(case), schedule={"clocks": []} if case == "schedule off" else None)
    when = iso(datetime.now(timezone.utc) + start)
    run = cloud.run(flow, labels=labels, scheduled_start_time=when)
    if case == "paused":
        cloud.set_state(run, "Paused", start_time=when)
    if case == "queued":
        cloud.change("update_flow_concurrency_limit", "id", label="gpu", limit=1)
        cloud.set_state(cloud.run(flow, labels=labels, flow_run_name="holder"), "Running")
        cloud.set_state(run, "Running")
    if case == "archived":
        cloud.ask(f'mutation {{ archive_flow(input: {{ flow_id: "{flow}" }}) {{ success }} }}')
        cloud.set_state(run, "Scheduled", start_time=when)
    return run


def on_page(cloud: RemoteCloud, run: str) -> list[tuple[bool, str]]:
    """Whether it stops the run, and the sentence, of each finding of the page."""
    answer = requests.get(f"{cloud.url}/default/flow-run/{run}", timeout=30)
    shown = Shown(answer.status_code, {}, answer.text)
    found = re.compile("(Stops it|Well): (.*)")
    return [(one[1] == "Stops it", one[2]) for one in map(found.fullmatch, shown.texts("p")) if one]


def by_command(cloud: RemoteCloud, run: str, home: Path) -> list[tuple[bool, str]]:
    """The same of the command."""
    env = {"PATH": os.environ["PATH"], "HOME": str(home), "PREFECT__BACKEND": "server"}
    command = [sys.executable, "-m", "prefect.agent", "agent", "why", run, "--output", "json", "--api", cloud.url]
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=60, check=False)
    assert done.stdout, done.stderr
    return [(one["stops"], one["text"]) for one in json.loads(done.stdout)["findings"]]


@pytest.mark.parametrize("case", ["no agent", "not due", "late", "paused", "queued", "archived", "schedule off"])
def test_page_and_command_say_the_same(cloud: RemoteCloud, tmp_path: Path, case: str) -> None:
    """In the same order; only how long ago something was may differ, since the two are asked one after the other."""
    run = made(cloud, case)

    said = on_page(cloud, run), by_command(cloud, run, tmp_path)

    page, command = ([(stops, SPAN.sub("_", text)) for stops, text in each] for each in said)
    assert page
    assert page == command

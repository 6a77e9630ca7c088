"""SIGKILL at fault points of a real agent process: the next one finishes every run, and starts none twice."""

import os
import random
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Final

import attrs
import docker
import pytest

from chaos.conftest import EVERYTHING, TESTS
from chaos.http_lives import OverHttp
from prefect.agent.entrypoints.server.testing import running_server
from support.waiting import wait_until

FATES: Final = ("well", "dies", "cancelled", "well")
ENDS: Final = {"well": "Success", "dies": "Failed", "cancelled": "Cancelled"}
SAMPLE: Final = 4
PATIENCE: Final = 90.0

FLOW: Final = """#!{python}
import json, os, time, urllib.request
run = os.environ["PREFECT__CONTEXT__FLOW_RUN_ID"]
home = os.path.dirname(os.path.abspath(__file__))

def change(name, answer, given):
    query = f"mutation($input: {{name}}_input!) {{{{ {{name}}(input: $input) {{{{ {{answer}} }}}} }}}}"
    body = json.dumps({{"query": query, "variables": {{"input": given}}}}).encode()
    request = urllib.request.Request("{url}", body, {{"Content-Type": "application/json"}})
    with urllib.request.urlopen(request, timeout=30) as answer:
        answer.read()

def become(state):
    entry = {{"flow_run_id": run, "state": {{"type": state, "message": state}}}}
    change("set_flow_run_states", "states {{ id }}", {{"states": [entry]}})

with open(home + "/started", "a") as file:
    file.write(run + "\\n")
with open(home + "/" + run) as file:
    fate = file.read()
become("Running")
if fate == "dies":
    os.abort()
if fate == "cancelled":
    change("cancel_flow_run", "state", {{"flow_run_id": run}})
    time.sleep(600)
become("Success")
"""
"""Stands in for ``prefect execute flow-run``; it does what the file with the run's id says."""


@attrs.define(eq=False)
class Case:
    """One home with an agent in it, and runs that only it may execute."""

    cloud: OverHttp
    flow: str
    label: str
    home: Path
    in_containers: bool = False
    fates: dict[str, str] = attrs.field(factory=dict)

    def __attrs_post_init__(self) -> None:
        program = self.home / "bin" / "prefect"
        program.parent.mkdir(parents=True)
        python = "/usr/bin/env python3" if self.in_containers else f"{Path(sys.executable).resolve()} -SE"
        program.write_text(FLOW.format(python=python, url=f"{self.cloud.url}/graphql"), encoding="ascii")
        program.chmod(0o755)

    def add_runs(self) -> None:
        """A run of every fate; its fate is written down before the agent can see the run."""
        later = "2999-01-01T00:00:00+00:00"
        for fate in FATES:
            run = self.cloud.run(self.flow, labels=[self.label], scheduled_start_time=later)
            self.fates[run] = fate
            (self.home / "bin" / run).write_text(fate, encoding="ascii")
            self.cloud.set_state(run, "Scheduled")

    def agent(self, name: str, **chaos: str) -> "subprocess.Popen[bytes]":
        """An agent process."""
        env = {
            "HOME": str(self.home),
            "PATH": f"{self.home}/bin:/usr/bin:/bin",
            "PREFECT__BACKEND": "server",
            "PYTHONPATH": os.pathsep.join(each for each in (str(TESTS), os.environ.get("PYTHONPATH", "")) if each),
            **({"CHAOS_FOLDER": str(self.home / "bin")} if self.in_containers else {}),
            **{name: os.environ[name] for name in ("DOCKER_HOST",) if name in os.environ},
            **chaos,
        }
        with (self.home / f"{name}.log").open("wb") as log:
            command = [sys.executable, "-m", "chaos.mortal_agent", self.cloud.url, self.label]
            return subprocess.Popen(command, env=env, stdout=log, stderr=log, cwd=self.home)

    def points(self) -> list[str]:
        """The fault points that a clean life passes until all of its runs have ended."""
        self.add_runs()
        path = self.home / "points"
        first = self.agent("first", CHAOS_POINTS=str(path))
        try:
            wait_until(lambda: not self.open_runs(), PATIENCE, every=0.1)
        finally:
            first.send_signal(signal.SIGTERM)
            code = first.wait(60)
        assert code == 0, self._tail("first")
        return path.read_text(encoding="ascii").split("\n")

    def open_runs(self) -> dict[str, str]:
        """Runs that have not ended as they have to."""
        states = {run: self.cloud.state(run) for run in self.fates}
        return {run: f"{self.fates[run]}: {is_}" for run, is_ in states.items() if is_ != ENDS[self.fates[run]]}

    def finish(self) -> str:
        """A second agent finishes; what is wrong then, in words."""
        second = self.agent("second")
        try:
            wait_until(lambda: not self.open_runs(), PATIENCE, every=0.1)
        except AssertionError:
            return f"open: {self.open_runs()}\n{self._tail('first')}\n---\n{self._tail('second')}"
        finally:
            second.send_signal(signal.SIGTERM)
            code = second.wait(60)
        started = Counter((self.home / "bin" / "started").read_text(encoding="ascii").split())
        if code not in {0, -signal.SIGTERM} or set(started.values()) != {1} or set(started) != set(self.fates):
            return f"exit code {code}, started {started}\n{self._tail('first')}\n---\n{self._tail('second')}"
        return ""

    def _tail(self, name: str) -> str:
        return (self.home / f"{name}.log").read_text(encoding="utf-8", errors="replace")[-3000:]


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[OverHttp, str]]:
    """An embedded Cloud and the id of a flow in it."""
    with running_server(tmp_path_factory.mktemp("cloud") / "cloud.db") as url:
        asked = OverHttp(Path(), url=url)
        yield asked, asked.flow(asked.project())


@pytest.fixture(scope="module")
def points(cloud: tuple[OverHttp, str], tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """The fault points that a clean life passes until all of its runs have ended."""
    return Case(*cloud, "clean", tmp_path_factory.mktemp("clean")).points()


def test_the_process_agent_passes_calls_and_files(points: list[str]) -> None:
    """Both kinds of points are there."""
    assert {"before cloud.claim", "after platform.create"} <= set(points)
    assert any(point.startswith("before os.") for point in points)


def test_sigkill_at_a_fault_point_loses_and_doubles_nothing(
    cloud: tuple[OverHttp, str], points: list[str], tmp_path: Path
) -> None:
    """A sample that differs with ``CHAOS_SEED``, or every point with ``make chaos``."""
    numbers = list(range(len(points)))
    if not EVERYTHING:
        numbers = sorted(random.Random(os.environ.get("CHAOS_SEED", "0")).sample(numbers, SAMPLE))
    with ThreadPoolExecutor(4) as pool:
        wrong = [each for each in pool.map(lambda n: _killed(cloud, tmp_path, n, points), numbers) if each]
    assert not wrong, "\n\n".join(wrong)


def _killed(
    cloud: tuple[OverHttp, str], folder: Path, number: int, points: list[str], *, in_containers: bool = False
) -> str:
    """Kill an agent at one point, and let another one finish; what is wrong then, in words."""
    name = f"{'docker-' if in_containers else ''}kill-{number}"
    case = Case(*cloud, name, folder / name, in_containers=in_containers)
    case.add_runs()
    first = case.agent("first", CHAOS_KILL_AT=str(number))
    try:
        wait_until(lambda: first.poll() is not None or not case.open_runs(), PATIENCE, every=0.1)
    finally:
        first.kill()
        first.wait()
    wrong = case.finish()
    return f"killed at point {number} ({points[number]}): {wrong}" if wrong else ""


def remove_containers(folder: Path) -> None:
    """Remove the containers that see a folder below *folder*."""
    with closing(docker.from_env(timeout=60)) as client:
        for container in client.containers.list(all=True, ignore_removed=True):
            if any(str(folder) in str(mount.get("Source")) for mount in container.attrs["Mounts"]):
                container.remove(force=True)


@pytest.fixture
def contained(cloud: tuple[OverHttp, str], flow_image: str) -> tuple[OverHttp, str]:
    """The same Cloud, and a flow whose runs execute in containers."""
    asked, _ = cloud
    run_config = {"type": "DockerRun", "image": flow_image, "labels": []}
    return asked, asked.flow(asked.project("containers"), "in-containers", run_config=run_config)


@pytest.mark.docker
def test_sigkill_of_the_docker_agent_loses_and_doubles_nothing(contained: tuple[OverHttp, str], tmp_path: Path) -> None:
    """Before and after the container is made, and at another point; at every third one with ``make chaos``."""
    clean = Case(*contained, "docker-clean", tmp_path / "clean", in_containers=True)
    points = clean.points()
    wanted = {points.index("before platform.create"), points.index("after platform.create")}
    numbers = range(len(points))
    one = random.Random(os.environ.get("CHAOS_SEED", "0")).sample(numbers, 1)
    more = numbers[::3] if EVERYTHING else one
    try:
        wrong = [_killed(contained, tmp_path, n, points, in_containers=True) for n in sorted(wanted | set(more))]
    finally:
        remove_containers(tmp_path)
    assert not any(wrong), "\n\n".join(wrong)


@pytest.mark.parametrize("descriptors", [24, 40] if EVERYTHING else [40])
def test_scarce_descriptors_lose_and_double_nothing(
    cloud: tuple[OverHttp, str], tmp_path: Path, descriptors: int
) -> None:
    """An agent that runs out of descriptors claims less or waits; no run is ended or started twice for that."""
    case = Case(*cloud, f"descriptors-{descriptors}", tmp_path)
    for _ in range(3):
        case.add_runs()
    first = case.agent("first", CHAOS_DESCRIPTORS=str(descriptors))
    try:
        wait_until(lambda: first.poll() is not None or not case.open_runs(), 10 if not EVERYTHING else 30, every=0.1)
    except AssertionError:
        pass  # too few to work with: the next agent finishes
    finally:
        first.kill()
        first.wait()
    assert not (wrong := case.finish()), wrong

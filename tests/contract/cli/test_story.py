"""The story of flow runs in the log of a real agent: claimed, started, ended, each line with its run."""

import json
import os
import re
import signal
import subprocess
import sys
import uuid
from collections.abc import Generator
from contextlib import closing
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any, Final

import attrs
import pytest
import requests

from prefect.agent.entrypoints.server.testing import running_server
from support.commands import bare_environment
from support.fault_proxy import RESET_BEFORE, FaultProxy
from support.image_registry import image_registry
from support.waiting import wait_until

AGENT: Final = """
import json, sys
from prefect.agent import AgentSettings, DockerAgent, ProcessAgent
from prefect.agent.entrypoints.runtime import logs

kind, options = sys.argv[1], json.loads(sys.argv[2])
logs.set_up(level="DEBUG", form="json", agent_name="ann")
settings = AgentSettings(name="ann", sweep_every=0.5, cancel_grace=2, stop_grace=1, keep_ended=1, max_lateness=300)
{"docker": DockerAgent, "process": ProcessAgent}[kind](settings=settings, show_flow_logs=True, **options).start()
"""
"""An agent as users have it, in a hurry."""

FLOW: Final = """
import json, os, sys, time, urllib.request

run, kind = os.environ["PREFECT__CONTEXT__FLOW_RUN_ID"], os.environ["KIND"]

def ask(query, **variables):
    body = json.dumps({"query": query, "variables": variables}).encode()
    request = urllib.request.Request(os.environ["TEST_URL"], body, {"Content-Type": "application/json"})
    return json.load(urllib.request.urlopen(request, timeout=30))["data"]

def read(what):
    return ask('query { flow_run_by_pk(id: "%s") { %s } }' % (run, what))["flow_run_by_pk"][what]

def become(state):
    states = [{"flow_run_id": run, "version": read("version"), "state": {"type": state, "message": state}}]
    ask("mutation($input: set_flow_run_states_input!) { set_flow_run_states(input: $input) { states { id } } }",
        input={"states": states})

become("Running")
print("the flow says", kind, os.getpid(), flush=True)
if kind == "fails":
    sys.exit(3)
while kind in ("stubborn", "killed", "lost") or (kind == "obeys" and read("state") != "Cancelling"):
    time.sleep(0.05)
become("Cancelled" if kind == "obeys" else "Success")
"""

NAMES: Final = {"flow_name": "etl", "flow_run_name": "teal"}
ENDS: Final = {"run_ended", "run_failed", "run_dropped"}
STARTED: Final = ["claimed", "unit_created"]


@attrs.define
class StoryHarness:
    """A Cloud, and an agent whose log is read."""

    url: str
    home: Path
    platform: str
    image: str = ""
    engine: str = ""
    pulls: bool = False
    process: "subprocess.Popen[bytes] | None" = None

    def start(self) -> None:
        """Start the agent."""
        env = bare_environment(self.home, 'exec "$PYTHON" "$STORY/flow.py"')
        (self.home / "bin" / "flow.py").write_text(FLOW, encoding="utf-8")
        inside = {"PYTHON": sys.executable, "STORY": f"{self.home}/bin"}
        options: dict[str, Any] = {"hostname_label": False}
        if self.platform == "docker":
            inside = {"PYTHON": "python3", "STORY": "/story", "PATH": "/story:/usr/local/bin:/usr/bin:/bin"}
            options = {
                "base_url": self.engine or None,
                "no_pull": not self.pulls,
                "volumes": [f"{self.home}/bin:/story:ro"],
                "networks": ["host"],
            }
        options |= {"api": self.url, "env_vars": {"TEST_URL": self.url, **inside}}
        with (self.home / "log").open("wb") as log, (self.home / "out").open("wb") as out:
            self.process = subprocess.Popen(
                [sys.executable, "-c", AGENT, self.platform, json.dumps(options)],
                env={**env, "PREFECT__BACKEND": "server", **_docker_host()},
                stdout=out,
                stderr=log,
                cwd=self.home,
                start_new_session=True,
            )

    def stop(self) -> None:
        """End the agent."""
        if self.process is not None:
            self.process.terminate()
            try:
                self.process.wait(60)
            finally:
                self.process.kill()

    def entries(self, name: str = "log") -> list[dict[str, Any]]:
        """The agent's lines of JSON; one that is not finished is left out."""
        return [json.loads(line) for line in (self.home / name).read_text(encoding="utf-8").split("\n")[:-1]]

    def events(self, run_id: str, *, of_developers: bool = False) -> list[dict[str, Any]]:
        """The lines about one flow run, without those for developers unless they are wanted."""
        lines = [each for each in self.entries() if run_id in json.dumps(each)]
        return [each for each in lines if of_developers or each["level"] != "DEBUG"]

    def named(self, run_id: str, event: str) -> bool:
        """Whether the log has that event of the run."""
        return any(each["event"] == event for each in self.events(run_id, of_developers=True))

    def run(self, kind: str, **more: object) -> str:
        """A flow run called teal of the flow etl, that behaves as its kind says."""
        docker = self.platform == "docker"
        config: dict[str, Any] = {"type": "DockerRun" if docker else "LocalRun", "env": {"KIND": kind}, "labels": []}
        if docker:
            config["image"] = "127.0.0.1:1/absent:1" if kind == "refused" else self.image
        elif kind == "refused":
            config["type"] = "DockerRun"
        flow = {"name": "etl", "tasks": [], "edges": [], "type": "prefect.core.flow.Flow", "__version__": "1.4.1"}
        flow["storage"] = {"type": "Local", "path": "/nowhere", "__version__": "1.4.1"}  # type: ignore[assignment]
        project = self.mutate("create_project", name=kind)
        flow_id = self.mutate("create_flow", project_id=project, serialized_flow=flow)
        config["__version__"] = "1.4.1"
        return self.mutate("create_flow_run", flow_id=flow_id, flow_run_name="teal", run_config=config, **more)

    def mutate(self, name: str, /, **given: object) -> str:
        """The id that a mutation answers with."""
        field = "state" if name == "cancel_flow_run" else "id"
        document = f"mutation($input: {name}_input!) {{ {name}(input: $input) {{ {field} }} }}"
        body = {"query": document, "variables": {"input": given}}
        return str(requests.post(self.url, json=body, timeout=30).json()["data"][name][field])

    def said(self, kind: str) -> int:
        """The process id that the flow tells, in a line of its output; 0 as long as there is none."""
        lines = [each["message"] for each in self.entries("out") if f"the flow says {kind} " in each["message"]]
        return int(lines[0].split()[-1]) if lines else 0

    def attack(self, kind: str, run_id: str) -> None:
        """Do from outside what ends a run of that kind."""
        if kind in {"obeys", "stubborn"}:
            self.mutate("cancel_flow_run", flow_run_id=run_id)
        elif self.platform == "process":
            os.kill(self.said(kind), signal.SIGKILL)
        else:
            unit = next(each["unit"] for each in self.events(run_id) if each["event"] == "unit_created")
            subprocess.run(["docker", *{"killed": ["kill"], "lost": ["rm", "--force"]}[kind], unit], check=True)


def _docker_host() -> dict[str, str]:
    return {"DOCKER_HOST": os.environ["DOCKER_HOST"]} if "DOCKER_HOST" in os.environ else {}


@pytest.fixture(params=["process", pytest.param("docker", marks=pytest.mark.docker)])
def harness(request: pytest.FixtureRequest, tmp_path: Path) -> Generator[StoryHarness]:
    """A Cloud, and an agent that starts; what it leaves is removed."""
    image = request.getfixturevalue("flow_image") if request.param == "docker" else ""
    with running_server(tmp_path / "cloud.db") as url:
        harness = StoryHarness(url, tmp_path, request.param, image)
        harness.start()
        yield harness
        harness.stop()
        if image:
            units = {each["unit"] for each in harness.entries() if each.get("unit")}
            subprocess.run(["docker", "rm", "--force", *units], capture_output=True, check=False)


STORIES: Final = {
    "succeeds": ([*STARTED, "run_ended"], "ended as Success after "),
    "fails": ([*STARTED, "unit_ended", "run_failed"], "failed after "),
    "obeys": ([*STARTED, "run_ended"], "ended as Cancelled after "),
    "stubborn": ([*STARTED, "unit_stopped", "run_ended"], "ended as Cancelled after "),
    "killed": ([*STARTED, "unit_ended", "run_failed"], "failed after "),
    "lost": ([*STARTED, "unit_ended", "run_failed"], "failed"),
    "refused": (["claimed", "run_failed"], "failed: "),
}
"""By kind of flow: the events of its run, and how the line of its end goes on. A process is killed, never lost."""


@pytest.mark.parametrize(
    ("harness", "kind"),
    [
        *(("process", kind) for kind in STORIES if kind != "lost"),
        *(pytest.param("docker", kind, marks=pytest.mark.docker) for kind in STORIES),
    ],
    indirect=["harness"],
)
def test_a_run_is_logged_from_its_claim_to_its_end(harness: StoryHarness, kind: str) -> None:
    """Each line has flow, name and id, in its text and in its fields; one line says how and when it ended."""
    events, says = STORIES[kind]
    run_id = harness.run(kind)
    if kind in {"obeys", "stubborn", "killed", "lost"}:
        wait_until(lambda: harness.said(kind) and harness.named(run_id, "unit_created"), 75, "the flow")
        harness.attack(kind, run_id)
    wait_until(lambda: harness.named(run_id, events[-1]), 75, f"the end of the story: {harness.events(run_id)}")
    if kind not in {"lost", "refused"}:
        wait_until(lambda: harness.named(run_id, "unit_removed"), 75, "the end of the unit")
    story = harness.events(run_id)

    assert [each["event"] for each in story if each["event"] in events] == events, story
    for entry in story:
        assert {name: entry[name] for name in NAMES} == NAMES, entry
        assert (entry["flow_run_id"], entry["agent"], entry["version"] != "") == (run_id, "ann", True)
        assert f"etl/teal ({run_id})" in entry["message"]
    [end] = [each for each in story if each["event"] in ENDS]
    assert f"Flow run etl/teal ({run_id}) {says}" in end["message"]
    if kind != "lost":  # the agent may see that it was killed before it is removed
        assert ("duration_s" in end) is (kind != "refused")
    assert story[0]["level"] == "INFO"
    if harness.platform == "process" and kind != "refused":
        assert f"(PID: {harness.said(kind)})" in next(
            each["message"] for each in story if each["event"] == "unit_created"
        )


def test_a_run_that_is_too_late_is_told_once(harness: StoryHarness) -> None:
    """With flow, name and id, in the agent's log and in the run's own; the run stays as it was."""
    due = datetime.now(timezone.utc) - timedelta(minutes=10)
    run_id = harness.run("succeeds", scheduled_start_time=due.isoformat())
    wait_until(lambda: harness.named(run_id, "run_dropped"), 75, "the agent's word")
    later = harness.run("refused")
    wait_until(lambda: harness.named(later, "run_failed"), 75, "some more polls")

    [line] = harness.events(run_id)
    asked = f'query {{ flow_run_by_pk(id: "{run_id}") {{ state logs {{ message }} }} }}'
    run = requests.post(harness.url, json={"query": asked}, timeout=30).json()["data"]["flow_run_by_pk"]
    assert {name: line[name] for name in NAMES} == NAMES
    assert line["message"].startswith(f"Flow run etl/teal ({run_id}): Not started: ")
    assert run["state"] == "Scheduled"
    assert [each["message"] for each in run["logs"] if "(--max-lateness)" in each["message"]]


@pytest.mark.docker
def test_a_pull_is_told_with_its_run(tmp_path: Path) -> None:
    """When it begins and how it ends, between the claim and what becomes of it; this image has no program."""
    with image_registry() as registry, running_server(tmp_path / "cloud.db") as url:
        image = f"{registry.address}/story/{uuid.uuid4().hex[:8]}:1"
        harness = StoryHarness(url, tmp_path, "docker", image, pulls=True)
        harness.start()
        try:
            run_id = harness.run("succeeds")
            wait_until(lambda: harness.named(run_id, "run_failed"), 75, "the end of the story")
        finally:
            harness.stop()
            subprocess.run(["docker", "rmi", "--force", image], capture_output=True, check=False)
    story = harness.events(run_id)
    pull = [each for each in story if each["event"].startswith("pull_")]

    assert [each["event"] for each in story][:3] == ["claimed", "pull_started", "pull_ended"]
    assert [{name: each[name] for name in NAMES} for each in pull] == [NAMES, NAMES]
    assert all(f"etl/teal ({run_id})" in each["message"] and image in each["message"] for each in pull)
    assert pull[1]["duration_s"] > 0


def test_an_outage_of_the_cloud_is_a_few_lines(tmp_path: Path) -> None:
    """It is said once, then "Still" with tries and time, and in the end for how long it was."""
    with running_server(tmp_path / "cloud.db") as url:
        harness = StoryHarness(url, tmp_path, "process")
        harness.start()
        try:
            wait_until(lambda: "Waiting for flow runs" in (tmp_path / "log").read_text("utf-8"), what="the agent")
        except BaseException:
            harness.stop()
            raise
    try:
        wait_until(lambda: "Still (" in (tmp_path / "log").read_text("utf-8"), 75, "the outage goes on")
        with running_server(tmp_path / "cloud.db", port=int(url.rpartition(":")[2])):
            wait_until(lambda: "reachable_again" in (tmp_path / "log").read_text("utf-8"), 75, "the end of the outage")
    finally:
        harness.stop()
    assert_that_an_outage_is_a_few_lines(harness, "Cloud")


@pytest.mark.docker
def test_an_outage_of_the_engine_is_a_few_lines(tmp_path: Path, flow_image: str) -> None:
    """As one of the Cloud, however often the agent looks for its containers."""
    engine = os.environ.get("DOCKER_HOST", "unix:///var/run/docker.sock")
    if not engine.startswith("unix://"):
        pytest.skip("the engine is not at a socket of this machine: unset DOCKER_HOST")
    with (
        closing(FaultProxy(engine.removeprefix("unix://"), tmp_path / "engine")) as proxy,
        running_server(tmp_path / "cloud.db") as url,
    ):
        harness = StoryHarness(url, tmp_path, "docker", flow_image, f"unix://{tmp_path}/engine")
        harness.start()
        try:
            wait_until(lambda: "Waiting for flow runs" in (tmp_path / "log").read_text("utf-8"), what="the agent")
            proxy.fail("*", RESET_BEFORE)
            wait_until(lambda: "Still (" in (tmp_path / "log").read_text("utf-8"), 75, "the outage goes on")
            proxy.lift()  # its end is known when a watch has gone well, which takes a minute
            wait_until(lambda: "reachable_again" in (tmp_path / "log").read_text("utf-8"), 150, "the end of the outage")
        finally:
            harness.stop()
    assert_that_an_outage_is_a_few_lines(harness, "platform")


def assert_that_an_outage_is_a_few_lines(harness: StoryHarness, what: str) -> None:
    """One that begins, some that say that it goes on, and one that ends it; no line for each try."""
    told = [each for each in harness.entries() if each["level"] != "DEBUG"]
    outage = [each for each in told if each["event"] in {f"{what.lower()}_trouble", "reachable_again"}]
    *before, last = [each["message"] for each in outage]
    begun = [message for message in before if not message.startswith("Still")]
    still = [message for message in before if message.startswith("Still")]

    assert len(told) < 15, told
    assert 1 <= len(begun) <= 2, "a connection that breaks, and one that cannot be made"
    assert not [message for message in begun if re.search(r"(Error|Disconnected)\(", message)]
    assert still
    assert all(re.match(r"Still \(\d+ tries, since \d+ s\): ", message) for message in still)
    assert re.fullmatch(rf"The {what} is reachable again after \d+ s \(\d+ tries\)", last)
    assert 10 <= outage[-1]["duration_s"] < 60

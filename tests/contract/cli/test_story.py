"""The story of flow runs in the log of a real process agent: claimed, started, ended, each line with its run."""

import json
import subprocess
import sys
from collections.abc import Generator
from pathlib import Path
from typing import Any, Final

import attrs
import pytest
import requests

from prefect.agent.entrypoints.server.testing import running_server
from support.commands import PREFECT, bare_environment
from support.waiting import wait_until

FLOW: Final = """
import json, os, sys, urllib.request

run, kind = os.environ["PREFECT__CONTEXT__FLOW_RUN_ID"], os.environ["KIND"]

def ask(query, **variables):
    body = json.dumps({"query": query, "variables": variables}).encode()
    request = urllib.request.Request(os.environ["TEST_URL"], body, {"Content-Type": "application/json"})
    return json.load(urllib.request.urlopen(request, timeout=30))["data"]

def become(state):
    version = ask('query { flow_run_by_pk(id: "%s") { version } }' % run)["flow_run_by_pk"]["version"]
    states = [{"flow_run_id": run, "version": version, "state": {"type": state, "message": state}}]
    ask("mutation($input: set_flow_run_states_input!) { set_flow_run_states(input: $input) { states { id } } }",
        input={"states": states})

become("Running")
print("the flow says", kind, flush=True)
if kind == "fails":
    sys.exit(3)
else:
    become("Success")
"""

NAMES: Final = {"flow_name": "etl", "flow_run_name": "teal"}


@attrs.define
class Stage:
    """A Cloud, and an agent whose log is read."""

    url: str
    home: Path
    process: "subprocess.Popen[bytes] | None" = None

    def start(self, form: str) -> None:
        """Start the agent with ``--show-flow-logs``."""
        env = bare_environment(self.home, f"exec {sys.executable} {self.home}/flow.py")
        (self.home / "flow.py").write_text(FLOW, encoding="utf-8")
        words = [
            "agent",
            "start",
            "process",
            "--api",
            self.url,
            "--name",
            "ann",
            "--show-flow-logs",
            "--no-hostname-label",
        ]
        words += ["--log-format", form, "--env", f"TEST_URL={self.url}"]
        with (self.home / "log").open("wb") as log, (self.home / "out").open("wb") as out:
            self.process = subprocess.Popen(
                [PREFECT, *words],
                env={**env, "PREFECT__BACKEND": "server"},
                stdout=out,
                stderr=log,
                cwd=self.home,
                start_new_session=True,
            )

    def text(self, name: str = "log") -> str:
        """What the agent has written so far."""
        return (self.home / name).read_text(encoding="utf-8")

    def entries(self, name: str = "log") -> list[dict[str, Any]]:
        """Its lines of JSON; one that is not finished is left out."""
        return [json.loads(line) for line in self.text(name).split("\n")[:-1]]

    def about(self, run_id: str) -> dict[str, dict[str, Any]]:
        """The lines about one flow run, the latest one of each event, without those for developers."""
        lines = [each for each in self.entries() if run_id in json.dumps(each) and each["level"] != "DEBUG"]
        return {each["event"]: each for each in lines}

    def run(self, kind: str) -> str:
        """A flow run called teal of the flow etl, that behaves as its kind says."""
        kind_of_config = "DockerRun" if kind == "refused" else "LocalRun"
        config = {"type": kind_of_config, "env": {"KIND": kind}, "labels": [], "__version__": "1.4.1"}
        flow = {"name": "etl", "tasks": [], "edges": [], "type": "prefect.core.flow.Flow", "__version__": "1.4.1"}
        flow["storage"] = {"type": "Local", "path": "/nowhere", "__version__": "1.4.1"}  # type: ignore[assignment]
        project = self.mutate("create_project", name=kind)
        flow_id = self.mutate("create_flow", project_id=project, serialized_flow=flow)
        return self.mutate("create_flow_run", flow_id=flow_id, flow_run_name="teal", run_config=config)

    def mutate(self, name: str, /, **given: object) -> str:
        """The id that a mutation answers with."""
        document = f"mutation($input: {name}_input!) {{ {name}(input: $input) {{ id }} }}"
        body = {"query": document, "variables": {"input": given}}
        return str(requests.post(self.url, json=body, timeout=30).json()["data"][name]["id"])


@pytest.fixture
def stage(tmp_path: Path) -> Generator[Stage]:
    """An empty one."""
    with running_server(tmp_path / "cloud.db") as url:
        stage = Stage(url, tmp_path)
        yield stage
        if stage.process is not None:
            stage.process.terminate()
            try:
                stage.process.wait(60)
            finally:
                stage.process.kill()


@pytest.mark.parametrize(
    ("kind", "events", "end", "says"),
    [
        ("succeeds", ["claimed", "unit_created", "run_ended"], "run_ended", "ended as Success after "),
        ("fails", ["claimed", "unit_created", "unit_ended", "run_failed"], "run_failed", "failed after "),
        ("refused", ["claimed", "run_failed"], "run_failed", "failed: "),
    ],
)
def test_a_run_is_told_from_its_claim_to_its_end(
    stage: Stage, kind: str, events: list[str], end: str, says: str
) -> None:
    """Each line has flow, name and id, in its text and in its fields; the end says how, and after how long."""
    stage.start("json")
    run_id = stage.run(kind)
    wait_until(lambda: end in stage.about(run_id), 75, "the end of the story")
    story = stage.about(run_id)

    assert [name for name in story if name in events] == events
    for entry in story.values():
        assert {name: entry[name] for name in NAMES} == NAMES, entry
        assert (entry["flow_run_id"], entry["agent"], entry["version"] != "") == (run_id, "ann", True)
        assert f"etl/teal ({run_id})" in entry["message"]
    assert f"Flow run etl/teal ({run_id}) {says}" in story[end]["message"]
    assert ("duration_s" in story[end]) is (kind != "refused")
    assert {entry["event"] for entry in story.values() if entry["level"] == "INFO"} >= {events[0]}

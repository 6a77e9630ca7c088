"""The real Prefect 1.4.1 client and agents, each in an environment and a home of its own, against an embedded Cloud."""

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import attrs
import requests

FLOWS = Path(__file__).parent.parent / "flows"
OWN_PREFECT = Path(sys.executable).parent / "prefect-agent"
"""This package's own command."""


@attrs.frozen
class RealPrefect:
    """Runs the real client against *url*.

    Attributes:
        python: Of the environment that has Prefect 1.4.1.
        home: For everything the client writes.
        settings: Environment variables in addition, or in place of the usual ones.
    """

    python: Path
    url: str
    home: Path
    settings: Mapping[str, str] = attrs.field(factory=dict)

    @property
    def env(self) -> dict[str, str]:
        """The whole environment of the programs that are started."""
        return {
            "HOME": str(self.home),
            "PATH": f"{self.python.parent}{os.pathsep}/usr/local/bin:/usr/bin:/bin",
            "LANG": "C.UTF-8",
            "PREFECT__BACKEND": "server",
            "PREFECT__SERVER__ENDPOINT": self.url,
            "PREFECT__SERVER__UI__ENDPOINT": self.url,
            **self.settings,
        }

    def cli(self, *words: str, typed: str = "") -> str:
        """Run ``prefect WORDS``, answering its questions with *typed*; return what it prints; it must succeed."""
        return self._run([str(self.python), "-m", "prefect", *words], typed)

    def script(self, text: str) -> str:
        """Run a Python program with Prefect; likewise."""
        return self._run([str(self.python), "-c", text])

    def program(self, path: Path, given: object = None) -> Any:
        """Run a Python program that reads JSON from its input and prints JSON as its last line; return that."""
        printed = self._run([str(self.python), str(path)], json.dumps(given))
        return json.loads(printed.strip().splitlines()[-1])

    def attempt(self, *words: str) -> tuple[int, str]:
        """Run ``prefect WORDS``, which may fail; return its exit status and all it prints."""
        done = self._done([str(self.python), "-m", "prefect", *words])
        return done.returncode, done.stdout + done.stderr

    def register(self, flow: str) -> str:
        """Register a flow of tests/flows with ``Client.register``; return its id."""
        path = FLOWS / f"{flow}.py"
        text = (
            f"import runpy, prefect; flow = runpy.run_path({str(path)!r})['flow']; client = prefect.Client(); "
            "client.create_project('tests'); print('ID', flow.register('tests', labels=[], no_url=True))"
        )
        return found(r"ID (\S+)", self.script(text))

    def graphql(self, document: str, variables: dict[str, Any] | None = None) -> dict[str, Any]:
        """Ask the embedded Cloud directly; return the data."""
        answer = requests.post(self.url, json={"query": document, "variables": variables}, timeout=60).json()
        assert "errors" not in answer, answer
        data: dict[str, Any] = answer["data"]
        return data

    def create_run(self, flow_id: str, **given: Any) -> str:
        """Create a flow run by GraphQL; return its id."""
        document = "mutation($input: create_flow_run_input!) { create_flow_run(input: $input) { id } }"
        run_id: str = self.graphql(document, {"input": {"flow_id": flow_id, **given}})["create_flow_run"]["id"]
        return run_id

    def states(self, run_ids: Sequence[str]) -> list[str]:
        """The present states of flow runs, in order."""
        document = "query($ids: [uuid!]) { flow_run(where: { id: { _in: $ids } }) { id state } }"
        rows = {row["id"]: row["state"] for row in self.graphql(document, {"ids": list(run_ids)})["flow_run"]}
        return [rows[run_id] for run_id in run_ids]

    def history(self, run_id: str) -> list[str]:
        """All states of a flow run."""
        document = "query($id: uuid!) { flow_run_by_pk(id: $id) { states { state } } }"
        return [row["state"] for row in self.graphql(document, {"id": run_id})["flow_run_by_pk"]["states"]]

    def task_runs(self, run_id: str) -> dict[tuple[str, int], dict[str, Any]]:
        """The task runs of a flow run by slug and map index; ``history`` holds the names of all their states."""
        document = (
            "query($id: uuid!) { task_run(where: { flow_run_id: { _eq: $id } }) { id name map_index version state "
            "state_message state_start_time start_time serialized_state task { slug } states { state } } }"
        )
        rows = self.graphql(document, {"id": run_id})["task_run"]
        return {
            (row["task"]["slug"], row["map_index"]): {**row, "history": [past["state"] for past in row["states"]]}
            for row in rows
        }

    def logs(self, run_id: str) -> list[str]:
        """All log messages of a flow run."""
        document = "query($id: uuid!) { flow_run_by_pk(id: $id) { logs(order_by: {timestamp: asc}) { message } } }"
        return [row["message"] for row in self.graphql(document, {"id": run_id})["flow_run_by_pk"]["logs"]]

    @contextmanager
    def agent(self, *words: str, own: bool = True) -> Generator["subprocess.Popen[str]"]:
        """Run ``prefect agent WORDS``, ours or the real one, and end it afterwards.

        Our process agent is started without this machine's name as a label: the flows of the tests have no labels.
        """
        if own and words[:2] == ("start", "process") and not any("hostname-label" in word for word in words):
            words = (*words, "--no-hostname-label")
        program = [str(OWN_PREFECT)] if own else [str(self.python), "-m", "prefect"]
        with (self.home / f"agent-{'own' if own else 'real'}.log").open("w+", encoding="utf-8") as log:
            child = subprocess.Popen(
                [*program, "agent", *words], env=self.env, cwd=self.home, stdout=log, stderr=log, text=True
            )
            try:
                yield child
            except AssertionError:
                print(self.agent_log(own=own))  # shown by pytest with the failure
                raise
            finally:
                if child.poll() is None:
                    child.send_signal(signal.SIGTERM)
                try:
                    child.wait(60)
                except subprocess.TimeoutExpired:
                    child.kill()
                    child.wait()

    def agent_log(self, *, own: bool = True) -> str:
        """What the agent has printed."""
        return (self.home / f"agent-{'own' if own else 'real'}.log").read_text(encoding="utf-8")

    def _run(self, words: list[str], given: str = "") -> str:
        done = self._done(words, given)
        assert done.returncode == 0, f"{words}: {done.stdout}\n{done.stderr}"
        return done.stdout

    def _done(self, words: list[str], given: str = "") -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            words, env=self.env, cwd=self.home, input=given, capture_output=True, text=True, timeout=600, check=False
        )


def found(pattern: str, text: str) -> str:
    """The first group of *pattern* in *text*."""
    match = re.search(pattern, text)
    assert match, f"{pattern} is not in {text}"
    return match[1]

"""One flow run, end to end, by an agent that is a process of its own; and every place where a key could show."""

import base64
import contextlib
import json
import os
import re
import signal
import subprocess
import urllib.request
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any, Final

import attrs
import requests

from prefect.agent.entrypoints.server.testing import running_server
from support.commands import PREFECT
from support.waiting import wait_until

KEY: Final = "pak_AGENT-key-that-must-never-be-seen"
FLOW_KEY: Final = "pak_FLOWS-key-that-must-never-be-seen"

TELLTALE: Final = """
echo command lines: $$ $PPID
for pid in $$ $PPID; do
    case "$(tr '\\0' ' ' </proc/$pid/cmdline)" in *"$PREFECT__CLOUD__API_KEY"*) echo command line with the key;; esac
done
echo "it is $PREFECT__CLOUD__API_KEY"
exit 3
"""
"""What a careless flow does: its key in its last output, then its end. It looks at its own command lines before."""

LONGEST: Final = 4 * 1024 * 1024


def forms(secret: str) -> list[bytes]:
    """What shows *secret*: itself, and the base64 of it alone."""
    return [secret.encode(), base64.b64encode(secret.encode()).rstrip(b"=")]


class Recorder(ThreadingHTTPServer):
    """Hands requests on to *target*, and remembers all but the Authorization header."""

    daemon_threads = True

    def __init__(self, target: str) -> None:
        self.target = target
        self.seen: list[bytes] = []
        super().__init__(("127.0.0.1", 0), _Handler)
        self._thread = Thread(target=self.serve_forever, kwargs={"poll_interval": 0.02}, name="recorder")
        self._thread.start()

    @property
    def url(self) -> str:
        """Its address."""
        return f"http://127.0.0.1:{self.server_address[1]}"

    def close(self) -> None:
        """End it."""
        self.shutdown()
        self._thread.join()
        self.server_close()


class _Handler(BaseHTTPRequestHandler):
    server: Recorder

    def do_POST(self) -> None:
        """Hand one request on."""
        body = self.rfile.read(int(self.headers["Content-Length"]))
        shown = [f"{name}: {value}".encode() for name, value in self.headers.items() if name != "Authorization"]
        self.server.seen.append(b"\n".join([self.path.encode(), *shown, body]))
        headers = {name: self.headers[name] for name in ("Content-Type", "Authorization") if name in self.headers}
        asked = urllib.request.Request(self.server.target, body, headers)
        with urllib.request.urlopen(asked, timeout=60) as answer:
            content = answer.read()
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@attrs.define(kw_only=True)
class SecretsHarness:
    """A Cloud that knows both keys, an agent's home, and what is asked of the Cloud.

    Attributes:
        env: Variables of the agent.
        found: By place: what is there, to be searched.
    """

    home: Path
    env: Mapping[str, str]
    recorder: Recorder
    found: dict[str, bytes] = attrs.field(factory=dict)

    def ask(self, document: str, given: object = None) -> dict[str, Any]:
        """Ask the Cloud, past the recorder."""
        body = {"query": document, "variables": {"input": given}}
        headers = {"Authorization": f"Bearer {KEY}"}
        answer = requests.post(self.recorder.target, json=body, headers=headers, timeout=60).json()
        assert "errors" not in answer, answer
        data: dict[str, Any] = answer["data"]
        return data

    def flow_run(self, run_config: object, *, name: str = "run") -> str:
        """The id of a new flow run that is due."""
        create = "mutation($input: create_{0}_input!) {{ create_{0}(input: $input) {{ id }} }}"
        project = self.ask(create.format("project"), {"name": "p"})["create_project"]["id"]
        flow = {"name": "f", "storage": {"type": "Local"}, "run_config": run_config}
        given = {"project_id": project, "serialized_flow": flow}
        flow_id = self.ask(create.format("flow"), given)["create_flow"]["id"]
        return str(
            self.ask(create.format("flow_run"), {"flow_id": flow_id, "flow_run_name": name})["create_flow_run"]["id"]
        )

    def state(self, run_id: str) -> str:
        """The state of a flow run."""
        asked = self.ask(f'query {{ flow_run_by_pk(id: "{run_id}") {{ state }} }}')
        return str(asked["flow_run_by_pk"]["state"])

    def logs(self, run_id: str) -> str:
        """Everything that the Cloud has of a flow run, as JSON."""
        wanted = "state_message serialized_state states { message serialized_state } logs { message name }"
        return json.dumps(self.ask(f'query {{ flow_run_by_pk(id: "{run_id}") {{ {wanted} }} }}'))

    @contextmanager
    def agent(self, *words: str) -> Generator["subprocess.Popen[bytes]"]:
        """An agent; its output is among what was found. A process agent takes runs without labels, as all are here."""
        if words[:1] == ("process",):
            words = (*words, "--no-hostname-label")
        log = self.home / "agent.log"
        with log.open("ab") as output:
            agent = subprocess.Popen(
                [PREFECT, "agent", "start", *words, "--api", self.recorder.url, "-v"],
                env=dict(self.env),
                stdout=output,
                stderr=output,
            )
        try:
            yield agent
            self.look_at_process("agent", agent.pid)
            agent.send_signal(signal.SIGTERM)
            assert agent.wait(60) == 0
        finally:
            agent.kill()
            agent.wait(60)
            self.found["log of the agent"] = log.read_bytes()

    def look_at_process(self, name: str, pid: int) -> None:
        """Remember the command line of a process."""
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            self.found[f"argv of {name}"] = Path(f"/proc/{pid}/cmdline").read_bytes()

    def run(self, run_config: object, *words: str) -> str:
        """Have an agent execute a flow run that fails; return what the Cloud has of it then."""
        run_id = self.flow_run(run_config)
        with self.agent(*words):
            wait_until(lambda: self.state(run_id) == "Failed", 120, "the flow run is Failed")
            self._look_at_health()
            for pid in filter(str.isdigit, os.listdir("/proc")):  # noqa: PTH208 - names
                self.look_at_process(pid, int(pid))
        logs = self.logs(run_id)
        self.found["the Cloud's states and logs"] = logs.encode()
        self.found |= {f"request {number}": each for number, each in enumerate(self.recorder.seen)}
        return logs

    def _look_at_health(self) -> None:
        served = re.search(r"Health is served at (http://\S+)", (self.home / "agent.log").read_text(encoding="utf-8"))
        if served:
            self.found["health"] = requests.get(f"{served[1]}/api/health", timeout=60).content

    def look_at_files(self, folder: Path, *, but: str = "no such file") -> None:
        """Remember every file below a folder, but those of a name: a flow's own output."""
        for path in folder.rglob("*"):
            if path.is_file() and path.name != but:
                self.found[str(path)] = path.read_bytes()[:LONGEST]

    def places_of(self, secret: str) -> list[str]:
        """Where *secret* shows."""
        return [place for place, content in self.found.items() if any(form in content for form in forms(secret))]


@contextmanager
def secrets_harness(home: Path, env: Mapping[str, str]) -> Generator[SecretsHarness]:
    """A Cloud with both keys, and a home for an agent that has *env*."""
    keys = {"PREFECT__CLOUD__API_KEY": KEY, "PREFECT_AGENT_FLOW_RUN_KEY": FLOW_KEY}
    with running_server(home / "cloud.db", keys=frozenset({KEY, FLOW_KEY})) as url:
        recorder = Recorder(url)
        try:
            yield SecretsHarness(home=home, env={**env, **keys}, recorder=recorder)
        finally:
            recorder.close()

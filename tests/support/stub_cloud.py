"""A scripted HTTP server on a loopback port that stands for a Cloud, and rows for it to send."""

import json
import sys
import threading
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final

import attrs

from prefect.agent.adapters.graphql import GraphQLCloudApi
from prefect.agent.adapters.system import SystemClock
from prefect.agent.domain.model.flow_runs import ClaimRecord, FlowRun, FlowRunId
from prefect.agent.ports.cloud_api import ClaimRequest

RUN: Final = FlowRunId("00000000-0000-4000-8000-000000000001")
STATE: Final = {"type": "Scheduled", "message": "waits", "start_time": "2022-05-04T06:48:30.056652+00:00"}
ROW: Final[dict[str, Any]] = {
    "id": RUN,
    "version": 1,
    "state": "Scheduled",
    "serialized_state": STATE,
    "name": "amber-fox",
    "run_config": {"type": "UniversalRun"},
    "flow": {"id": "f", "name": "flow", "storage": {"type": "Local"}, "core_version": "1.4.1"},
    "task_runs": [],
}
RECORD: Final = {"claimant": "c", "platform": "p", "unit": "u", "attempt": "1", "agent_name": "a"}
SUBMITTED: Final = {"type": "Submitted", "state": STATE, "context": {"prefect_agent": RECORD}}
CLAIM: Final = {"state": "Submitted", "version": 2, "timestamp": "2022-05-04T06:50:00Z", "serialized_state": SUBMITTED}
CLAIMED: Final[dict[str, Any]] = {
    **ROW,
    "version": 2,
    "state": "Submitted",
    "serialized_state": SUBMITTED,
    "claims": [CLAIM],
}
"""A run that was claimed for the unit ``u``."""


@attrs.frozen
class Asked:
    """One request: its headers (names in lower case) and its JSON body."""

    headers: Mapping[str, str]
    body: Mapping[str, Any]

    @property
    def query(self) -> str:
        """The GraphQL document."""
        return str(self.body.get("query"))

    @property
    def variables(self) -> Mapping[str, Any]:
        """The variables, which travel as JSON within JSON."""
        return json.loads(self.body.get("variables") or "null") or {}


@attrs.frozen
class Reply:
    """One answer.

    Attributes:
        missing: How many bytes of the body are announced and never come.
        drops: Close the connection instead of answering.
    """

    status: int = 200
    body: bytes = b"{}"
    headers: Mapping[str, str] = attrs.field(factory=dict)
    missing: int = 0
    drops: bool = False


Script = Callable[[Asked], Reply]


def says(status: int = 200, headers: Mapping[str, str] | None = None, **body: Any) -> Reply:
    """An answer of JSON."""
    return Reply(status, json.dumps(body).encode(), headers or {})


@attrs.define
class Stub:
    """A server that answers by a script, which may be replaced at any time."""

    url: str
    script: Script
    asked: list[Asked] = attrs.field(factory=list)

    def answers(self, *replies: Reply) -> None:
        """Give these answers, one after the other, the last one for ever."""
        left = list(replies)
        self.script = lambda _asked: left.pop(0) if len(left) > 1 else left[0]


@contextmanager
def running_stub(script: Script = lambda _asked: Reply()) -> Generator[Stub]:
    """Serve from threads of this process, on a port of its own, and say nothing."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            asked = Asked({k.lower(): v for k, v in self.headers.items()}, json.loads(body))
            stub.asked.append(asked)
            reply = stub.script(asked)
            if reply.drops:
                self.close_connection = True
                return
            self.send_response_only(reply.status)
            for name, value in {"Date": self.date_time_string(), **reply.headers}.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(reply.body) + reply.missing))
            self.end_headers()
            self.wfile.write(reply.body)
            self.close_connection = self.close_connection or reply.missing > 0

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class's word
            pass

    class Server(ThreadingHTTPServer):
        def handle_error(self, request: object, client_address: object) -> None:
            if not isinstance(sys.exc_info()[1], ConnectionError):  # the client may hang up when it likes
                super().handle_error(request, client_address)  # type: ignore[arg-type]

    server = Server(("127.0.0.1", 0), Handler)
    stub = Stub(f"http://127.0.0.1:{server.server_address[1]}", script)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield stub
    finally:
        server.shutdown()
        thread.join(30)
        server.server_close()


def a_run(**columns: Any) -> FlowRun:
    """A run as the adapter reads it from a row."""
    with running_stub(lambda _asked: says(data={"flow_run": [{**ROW, **columns}]})) as stub:
        api = GraphQLCloudApi(stub.url, clock=SystemClock())
        (run,) = api.flow_runs([RUN])
        api.close()
    return run


def a_request(run: FlowRun | None = None) -> ClaimRequest:
    """A claim of it."""
    run = run or a_run()
    return ClaimRequest(run=run, record=ClaimRecord(claimant="c", platform="p", unit="u", attempt=str(run.attempt)))


def refusal(key: str, message: str, code: str = "INTERNAL_SERVER_ERROR") -> dict[str, Any]:
    """One entry of ``errors``."""
    return {"message": message, "path": [key], "extensions": {"code": code}}


def taken(status: str = "SUCCESS", message: str | None = None) -> dict[str, Any]:
    """What a state update gives."""
    return {"states": [{"id": RUN, "status": status, "message": message}]}

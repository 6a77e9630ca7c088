"""Every kind of fault on every request that the agent makes of a Cloud; once it is lifted, all runs end right."""

import socket
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from http.client import HTTPException
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Final

import pytest

from chaos.conftest import EVERYTHING
from chaos.http_lives import OverHttp, life, meet
from prefect.agent.entrypoints.server.testing import running_server
from support.fault_proxy import (
    BAD_GATEWAY,
    CLOSED_BEFORE,
    HTML_AFTER,
    HTML_PAGE,
    LOST,
    RESET_AFTER,
    RESET_BEFORE,
    TRUNCATED,
    Fault,
    FaultProxy,
    drip,
    graphql_error,
    latency,
    status,
)

PATIENCE: Final = 200.0 if EVERYTHING else 60.0
"""Seconds: a request that is called invalid is tried again after a minute."""

AT_ONCE: Final = 8


def faults(operation: str) -> list[Fault]:
    """Every kind of fault."""
    codes = [400, 401, 403, 404, 408, 409, 413, 422, 425, 429, 500, 502, 503, 504]
    return [
        *(status(code) for code in codes),
        *(status(code, {"error": "planted"}) for code in codes),
        status(503, {"error": "planted"}, Retry_After="3600"),
        status(500, {"error": "planted"}, reaches=True),
        RESET_BEFORE, RESET_AFTER, CLOSED_BEFORE, LOST, TRUNCATED, BAD_GATEWAY, HTML_PAGE, HTML_AFTER,
        drip(0.02), latency(1.0),
        graphql_error("INTERNAL_SERVER_ERROR", "request to ... failed, reason: socket hang up", operation),
        graphql_error("INTERNAL_SERVER_ERROR"),
        graphql_error("INTERNAL_SERVER_ERROR", "socket hang up", operation, reaches=True),
        graphql_error("", "Too many requests", operation),
        graphql_error("RATE_LIMITED", "Too many requests"),
        graphql_error("BAD_USER_INPUT", "planted", operation),
        graphql_error("GRAPHQL_VALIDATION_FAILED", http=400),
        graphql_error("UNAUTHENTICATED"),
    ]  # fmt: skip


SAMPLE: Final = (
    ("*", RESET_BEFORE),
    ("set_flow_run_states", RESET_AFTER),
    ("set_flow_run_states", graphql_error("INTERNAL_SERVER_ERROR", "socket hang up", "set_flow_run_states")),
    ("set_flow_run_states", status(500, {"error": "planted"}, reaches=True)),
    ("flow_run", TRUNCATED),
    ("get_runs_in_queue", HTML_PAGE),
    ("write_run_logs", status(500)),
    ("*", status(401, {"error": "planted"})),
)


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, OverHttp, str]]:
    """An embedded Cloud with a flow: its address, the way to it, the flow's id."""
    with running_server(tmp_path_factory.mktemp("cloud") / "cloud.db") as url:
        cloud = OverHttp(Path(), url=url)
        yield url, cloud, cloud.flow(cloud.project())


@pytest.fixture(scope="module")
def operations(served: tuple[str, OverHttp, str]) -> list[str]:
    """What a clean life asks of the Cloud."""
    with life(*served, "clean") as one:
        one.add_runs()
        one.check(30)
        return sorted(set(one.proxy.seen))


def test_a_clean_life_behind_the_proxy(operations: list[str]) -> None:
    """The proxy itself changes nothing; the agent claims, ends and writes logs through it."""
    assert {"set_flow_run_states", "write_run_logs"} <= set(operations)


def test_runs_end_right_after_any_fault(served: tuple[str, OverHttp, str], operations: list[str]) -> None:
    """A sample in the normal run, everything with ``make chaos``; several lives at a time."""
    cases = [(name, fault) for name in operations for fault in faults(name)] if EVERYTHING else list(SAMPLE)

    def one_case(number: int) -> str:
        operation, fault = cases[number]
        try:
            with life(*served, f"case-{number}") as one:
                meet(one, operation, fault, lasts=1.0, seconds=PATIENCE)
        except AssertionError as wrong:
            return f"{fault.name} on {operation}: {wrong}"
        return ""

    with ThreadPoolExecutor(AT_ONCE) as pool:
        wrong = [each for each in pool.map(one_case, range(len(cases))) if each]
    assert not wrong, "\n\n".join(wrong)


# --- the proxy itself ---


class _Echo(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        """Send back what came."""
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.received.append(body)  # type: ignore[attr-defined]
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def echo() -> Iterator[ThreadingHTTPServer]:
    """A service that answers with what it got, and remembers it."""
    with ThreadingHTTPServer(("127.0.0.1", 0), _Echo) as server:
        server.received = []  # type: ignore[attr-defined]
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def _post(url: str, body: bytes = b"hello") -> tuple[int, bytes]:
    try:
        with urllib.request.urlopen(f"{url}/v1.43/containers/create?name=x", body, timeout=5) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as problem:
        with problem:
            return problem.code, problem.read()


@pytest.mark.parametrize(
    ("fault", "reaches"),
    [(RESET_BEFORE, False), (CLOSED_BEFORE, False), (RESET_AFTER, True), (TRUNCATED, True)],
    ids=lambda value: value.name if isinstance(value, Fault) else "",
)
def test_connections_that_break(echo: ThreadingHTTPServer, fault: Fault, reaches: bool) -> None:
    """Before the effect the service gets nothing, after it everything; the client gets no whole answer."""
    with closing(FaultProxy(("127.0.0.1", echo.server_address[1]))) as proxy:
        proxy.fail("POST /containers/*", fault, times=1)
        with pytest.raises((OSError, HTTPException)):
            _post(proxy.url)
        assert echo.received == ([b"hello"] if reaches else [])  # type: ignore[attr-defined]
        assert _post(proxy.url) == (200, b"hello")
        assert proxy.seen == ["POST /containers/create"] * 2


def test_answers_of_its_own(echo: ThreadingHTTPServer) -> None:
    """Any status, with a body or without, before or after the effect."""
    with closing(FaultProxy(("127.0.0.1", echo.server_address[1]))) as proxy:
        proxy.fail("*", status(503, {"a": 1}), times=1)
        proxy.fail("*", status(500, reaches=True), times=1)
        proxy.fail("*", BAD_GATEWAY, times=1)
        assert _post(proxy.url) == (503, b'{"a": 1}')
        assert echo.received == []  # type: ignore[attr-defined]
        assert _post(proxy.url) == (500, b"")
        assert echo.received == [b"hello"]  # type: ignore[attr-defined]
        code, body = _post(proxy.url)
        assert (code, b"nginx" in body) == (502, True)


def test_root_fields_name_a_graphql_request(echo: ThreadingHTTPServer) -> None:
    """Aliases, arguments, nested fields and several roots."""
    document = (
        b'{"query": "query($a: A!) { one: flow_run(where: {id: {_eq: $a}}) { id state } agent(x: \\"{\\") { id } }"}'
    )
    with closing(FaultProxy(("127.0.0.1", echo.server_address[1]))) as proxy:
        _post(proxy.url, document)
        assert proxy.seen == ["flow_run", "agent"]


def test_a_unix_socket(tmp_path: Path) -> None:
    """A service on a unix socket, through a proxy on another."""
    service, path = socket.socket(socket.AF_UNIX), tmp_path / "service.sock"
    service.bind(str(path))
    service.listen()

    def serve() -> None:
        connection, _ = service.accept()
        with connection:
            connection.recv(1000)
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nOK")

    thread = threading.Thread(target=serve)
    thread.start()
    with closing(service), closing(FaultProxy(str(path), tmp_path / "proxy.sock")) as proxy:
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(tmp_path / "proxy.sock"))
            client.sendall(b"GET /v1.43/_ping HTTP/1.1\r\nHost: docker\r\n\r\n")
            answer = b""
            while piece := client.recv(1000):
                answer += piece
        thread.join()
        assert answer.endswith(b"OK")
        assert proxy.seen == ["GET /_ping"]

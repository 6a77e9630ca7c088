"""A server that answers like a Docker engine or a Kubernetes API server: as a test wants it, also wrongly."""

import contextlib
import json
import re
import tempfile
import threading
import time
from collections.abc import Callable, Generator
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from socketserver import BaseServer, ThreadingMixIn, UnixStreamServer
from typing import Any

import attrs

Answer = Callable[["Handler"], None]


@attrs.define(eq=False)
class StubServer:
    """What it answers, and what it was asked.

    Attributes:
        address: Its URL.
        ahead: Seconds that its clock is ahead.
        answers: By a pattern of method and path (``GET /containers/json``); the latest that fits counts.
        headers: Of the requests, likewise.
        over: Set when it is to end; answers that go on look at it.
    """

    address: str
    ahead: float = 0.0
    answers: dict[str, Answer] = attrs.field(factory=dict)
    headers: list[tuple[str, dict[str, str]]] = attrs.field(factory=list)
    over: threading.Event = attrs.field(factory=threading.Event)

    def asked(self, pattern: str) -> int:
        """How many requests fit."""
        return sum(re.fullmatch(pattern, line) is not None for line, _ in self.headers)


class Handler(BaseHTTPRequestHandler):
    """One connection."""

    protocol_version = "HTTP/1.1"
    stub: StubServer

    def handle_any(self) -> None:
        """Answer as the stub's answers say."""
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        path = re.sub(r"^/v1\.\d+", "", self.path.partition("?")[0])
        line = f"{self.command} {path}"
        self.stub.headers.append((line, dict(self.headers)))
        fits = [answer for pattern, answer in self.stub.answers.items() if re.fullmatch(pattern, line)]
        with contextlib.suppress(OSError):
            (fits[-1] if fits else says({"message": "no such thing"}, 404))(self)

    do_GET = do_POST = do_DELETE = do_HEAD = do_PATCH = handle_any  # noqa: N815 - names of the standard library

    def date_time_string(self, timestamp: float | None = None) -> str:
        """The stub's time."""
        return formatdate((timestamp or time.time()) + self.stub.ahead, usegmt=True)

    def log_message(self, *_words: Any) -> None:
        """Say nothing."""

    def address_string(self) -> str:
        """A socket of this machine has no address."""
        return ""


class _UnixServer(ThreadingMixIn, UnixStreamServer):
    daemon_threads = True


def says(answer: object, status: int = 200) -> Answer:
    """Answer with this as JSON; bytes as they are."""

    def write(handler: Handler) -> None:
        body = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
        handler.send_response(status)
        handler.send_header("Content-Type", "application/json")
        handler.send_header("Content-Length", str(len(body)))
        handler.end_headers()
        handler.wfile.write(body)

    return write


def drips(*, head: bool = False, piece: bytes = b" ", every: float = 0.02) -> Answer:
    """Never end: send piece after piece, within the head or after it. An empty piece sends nothing."""

    def write(handler: Handler) -> None:
        if head:
            handler.wfile.write(b"HTTP/1.1 200 OK\r\nX-Slow: ")
        else:
            handler.send_response(200)
            handler.send_header("Transfer-Encoding", "chunked")
            handler.end_headers()
        sent = piece if head or not piece else b"%x\r\n%s\r\n" % (len(piece), piece)
        while not handler.stub.over.wait(every):
            handler.wfile.write(sent)

    return write


@contextlib.contextmanager
def stub_engine() -> Generator[StubServer]:
    """A Docker engine that knows its version and no containers, on a socket of this machine."""
    with tempfile.TemporaryDirectory(prefix="engine-") as folder:  # short: the system takes 100 characters
        path = Path(folder) / "socket"
        stub = StubServer(f"unix://{path}")
        stub.answers["GET /version"] = says({"ApiVersion": "1.44", "Version": "27.0"})
        stub.answers["GET /containers/json"] = says([])
        with _serving(_UnixServer(str(path), _handler(stub)), stub):
            yield stub


@contextlib.contextmanager
def stub_api_server() -> Generator[StubServer]:
    """A Kubernetes API server that knows no objects, without TLS, on loopback."""
    stub = StubServer("")
    server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(stub))
    stub.address = f"http://127.0.0.1:{server.server_address[1]}"
    with _serving(server, stub):
        yield stub


def _handler(stub: StubServer) -> type[Handler]:
    return type("StubHandler", (Handler,), {"stub": stub})


@contextlib.contextmanager
def _serving(server: BaseServer, stub: StubServer) -> Generator[None]:
    with server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield
        finally:
            stub.over.set()
            server.shutdown()
            thread.join()

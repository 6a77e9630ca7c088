"""A server that answers like a Docker engine, on a socket of this machine: as a test wants it, also wrongly."""

import contextlib
import json
import re
import tempfile
import threading
import time
from collections.abc import Callable, Generator
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from socketserver import ThreadingMixIn, UnixStreamServer
from typing import Any

import attrs

Answer = Callable[["Handler"], None]


@attrs.define(eq=False)
class StubEngine:
    """What it answers, and what it was asked.

    Attributes:
        address: For ``base_url``.
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
    engine: StubEngine

    def handle_any(self) -> None:
        """Answer as the engine's answers say."""
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        path = re.sub(r"^/v1\.\d+", "", self.path.partition("?")[0])
        line = f"{self.command} {path}"
        self.engine.headers.append((line, dict(self.headers)))
        fits = [answer for pattern, answer in self.engine.answers.items() if re.fullmatch(pattern, line)]
        with contextlib.suppress(OSError):
            (fits[-1] if fits else says({"message": "no such thing"}, 404))(self)

    do_GET = do_POST = do_DELETE = do_HEAD = handle_any  # noqa: N815 - names of the standard library

    def date_time_string(self, timestamp: float | None = None) -> str:
        """The engine's time."""
        return formatdate((timestamp or time.time()) + self.engine.ahead, usegmt=True)

    def log_message(self, *_words: Any) -> None:
        """Say nothing."""

    def address_string(self) -> str:
        """A socket of this machine has no address."""
        return ""


class _Server(ThreadingMixIn, UnixStreamServer):
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
    """Never end: send piece after piece, within the head or after it."""

    def write(handler: Handler) -> None:
        if head:
            handler.wfile.write(b"HTTP/1.1 200 OK\r\nX-Slow: ")
        else:
            handler.send_response(200)
            handler.send_header("Connection", "close")
            handler.end_headers()
        while not handler.engine.over.wait(every):
            handler.wfile.write(piece)

    return write


@contextlib.contextmanager
def stub_engine() -> Generator[StubEngine]:
    """An engine that knows its version and no containers."""
    with tempfile.TemporaryDirectory(prefix="engine-") as folder:  # short: the system takes 100 characters
        yield from _serving(Path(folder) / "socket")


def _serving(path: Path) -> Generator[StubEngine]:
    engine = StubEngine(f"unix://{path}")
    engine.answers["GET /version"] = says({"ApiVersion": "1.44", "Version": "27.0"})
    engine.answers["GET /containers/json"] = says([])
    handler = type("EngineHandler", (Handler,), {"engine": engine})
    with _Server(str(path), handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield engine
        finally:
            engine.over.set()
            server.shutdown()
            thread.join()

"""Health over HTTP, if an address is given.

``GET /api/health`` answers 200 or 503 with the facts as JSON; ``/api/poke``, by GET or POST and from this machine only,
ends the present pause between polls, at most once a second.
"""

import contextlib
import io
import ipaddress
import json
import socket
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, ClassVar, Final
from urllib.parse import urlsplit

import attrs

from prefect.agent.domain.errors import ConfigurationError
from prefect.agent.entrypoints.runtime.health import Health

MOST_CONNECTIONS: Final = 16
"""Connections that are served at once."""

SECONDS: Final = 5.0
"""How long one request may take, from its connection to the end of its answer."""

YOUNG: Final = 2.5
"""Seconds in which no connection has to make room for another one."""

BETWEEN_POKES: Final = 1.0
"""Seconds."""

LONGEST_HEAD: Final = 8192
"""Bytes of the head of a request."""

TURNED_AWAY: Final = b"HTTP/1.0 503 Service Unavailable\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"


@attrs.define
class HealthServer:
    """A small HTTP server in a daemon thread: at most 16 connections at once, one request for each, 5 s for it.

    Attributes:
        thread: The one that listens; None unless it does.
    """

    health: Health
    poke: Callable[[], None]
    thread: threading.Thread | None = attrs.field(default=None, init=False)
    over: threading.Event = attrs.field(factory=threading.Event, init=False)
    """Set when the server is asked to stop."""
    _server: ThreadingHTTPServer | None = attrs.field(default=None, init=False)
    _pokes: "_Pokes | None" = attrs.field(default=None, init=False)

    def start(self, address: str) -> str:
        """Listen at *address* (``http://127.0.0.1:8080``, ``http://:8080`` for all interfaces); return the real one.

        Raises:
            ConfigurationError: The address has no port, or cannot be listened at.
        """
        try:
            parts = urlsplit(address if "//" in address else f"//{address}")
            port = parts.port
        except ValueError as problem:
            raise ConfigurationError(f"--agent-address {address!r} is no address: {problem}") from problem
        if port is None:
            raise ConfigurationError(f"--agent-address {address!r} has no port; it looks like http://127.0.0.1:8080")
        try:
            self._pokes = _Pokes(self.poke)
            server = _listen(parts.hostname or "", port, _handler(self.health, self._pokes))
        except (TypeError, UnicodeError) as problem:  # what Python raises for a name that no host has
            raise ConfigurationError(f"--agent-address {address!r} has a name that no host has") from problem
        except OSError as problem:
            raise ConfigurationError(f"cannot listen at --agent-address {address!r}: {problem.strerror}") from problem
        self._server = server
        self.thread = threading.Thread(target=server.serve_forever, name="health", daemon=True)
        self.thread.start()
        return f"http://{parts.hostname or '0.0.0.0'}:{server.server_address[1]}"  # noqa: S104 - as asked for

    def stop(self) -> None:
        """Stop listening. May be repeated."""
        self.over.set()
        if self._pokes is not None:
            self._pokes.close()
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
            self._server = None


class _Pokes:
    """Pokes at most once a second: those that come sooner are one poke, as soon as it may be."""

    def __init__(self, act: Callable[[], None]) -> None:
        self._act = act
        self._guard = threading.Lock()
        self._last = -BETWEEN_POKES
        self._later: threading.Timer | None = None

    def __call__(self) -> None:
        with self._guard:
            wait = self._last + BETWEEN_POKES - time.monotonic()
            if wait > 0:
                if self._later is None:
                    self._later = threading.Timer(wait, self._now)
                    self._later.daemon = True
                    self._later.start()
                return
        self._now()

    def close(self) -> None:
        """Forget a poke that is still to come."""
        with self._guard:
            if self._later is not None:
                self._later.cancel()

    def _now(self) -> None:
        with self._guard:
            self._last, self._later = time.monotonic(), None
        self._act()


class _Server(ThreadingHTTPServer):
    """Serves so many connections at once. One more is answered 503 and closed, or takes the place of the oldest one.

    So clients that send slowly neither take threads without end nor keep a probe out for long.
    """

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, *arguments: Any, **keywords: Any) -> None:
        self._guard = threading.Lock()
        self._served: dict[socket.socket, float] = {}
        super().__init__(*arguments, **keywords)

    def process_request(self, request: Any, client_address: Any) -> None:
        """Serve *request* in a thread, or turn it away."""
        if not self._has_place(request):
            with contextlib.suppress(OSError):
                request.settimeout(0)
                request.send(TURNED_AWAY)
            self.shutdown_request(request)
            return
        try:
            super().process_request(request, client_address)
        except BaseException:
            self._leave(request)
            raise

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """Serve *request*; its place is free again on every way out."""
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._leave(request)

    def _has_place(self, request: socket.socket) -> bool:
        """Give *request* a place, if there is one or the oldest connection has had its time."""
        now = time.monotonic()
        with self._guard:
            if len(self._served) >= MOST_CONNECTIONS:
                oldest = next(iter(self._served))
                if now - self._served[oldest] < YOUNG:
                    return False
                del self._served[oldest]
                with contextlib.suppress(OSError):
                    oldest.shutdown(socket.SHUT_RDWR)  # its thread ends
            self._served[request] = now
            return True

    def _leave(self, request: socket.socket) -> None:
        with self._guard:
            self._served.pop(request, None)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing: a client that goes away is its own business."""


class _DualStackServer(_Server):
    """Listens at all addresses of both families: in a cluster of IPv6 only, the probes come by that."""

    address_family = socket.AF_INET6

    def server_bind(self) -> None:
        self.socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        super().server_bind()


def _listen(host: str, port: int, handler: type[BaseHTTPRequestHandler]) -> ThreadingHTTPServer:
    """Raises OSError if that cannot be."""
    if not host and socket.has_dualstack_ipv6():
        with contextlib.suppress(OSError):  # IPv6 that is compiled in but switched off
            return _DualStackServer(("::", port), handler)
    return _Server((host, port), handler)


def _read_head(connection: socket.socket, deadline: float) -> bytes:
    """Read the head of a request, and what came with it, until *deadline* (seconds of ``time.monotonic``).

    Raises:
        TimeoutError: The head is not there by then.
        ValueError: It is longer than a head may be.
    """
    head = b""
    while b"\r\n\r\n" not in head and b"\n\n" not in head:
        left = deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError("the request did not come in time")
        connection.settimeout(left)
        part = connection.recv(LONGEST_HEAD)
        if not part:
            break
        head += part
        if len(head) > LONGEST_HEAD:
            raise ValueError("the head of the request is too long")
    connection.settimeout(max(0.1, deadline - time.monotonic()))  # for the whole of the answer
    return head


def _is_here(address: str) -> bool:
    """Whether a client's address is one of this machine's loopback addresses."""
    found = ipaddress.ip_address(address.partition("%")[0])
    mapped = getattr(found, "ipv4_mapped", None)
    return (mapped or found).is_loopback


class _Handler(BaseHTTPRequestHandler):
    """Answers one request. The server makes a subclass with its own health."""

    health: ClassVar[Health]
    poke: "ClassVar[staticmethod[[], None]]"

    def setup(self) -> None:
        """Read the whole head within the time of a request: a client cannot hold the thread by sending slowly."""
        head = _read_head(self.request, time.monotonic() + SECONDS)
        super().setup()
        self.rfile.close()
        self.rfile = io.BufferedReader(io.BytesIO(head))

    def do_GET(self) -> None:
        """Answer with health, or poke."""
        path = urlsplit(self.path).path
        if path == "/api/health":
            healthy, facts = self.health.report()
            self._answer(200 if healthy else 503, json.dumps(facts).encode(), "application/json")
        elif path == "/api/poke":
            self._poke()
        else:
            self._answer(404, b"", "text/plain")

    def do_POST(self) -> None:
        """Poke."""
        if urlsplit(self.path).path == "/api/poke":
            self._poke()
        else:
            self._refuse()

    def _poke(self) -> None:
        if not _is_here(self.client_address[0]):
            self._answer(403, b"only from the agent's own machine\n", "text/plain")
            return
        type(self).poke()
        self._answer(200, b"", "text/html")

    def _refuse(self) -> None:
        self._answer(405, b"", "text/plain")

    do_PUT = do_DELETE = do_PATCH = _refuse  # noqa: N815

    def _answer(self, status: int, body: bytes, content_type: str) -> None:
        self.close_connection = True
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Say nothing: the agent's log is for facts about flow runs."""


def _handler(health: Health, poke: Callable[[], None]) -> type[BaseHTTPRequestHandler]:
    return type("Handler", (_Handler,), {"health": health, "poke": staticmethod(poke)})

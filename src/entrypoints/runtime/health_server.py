"""Serves health over HTTP, if the agent has an address for it.

``GET /api/health`` answers 200 or 503 with the facts as JSON. ``/api/poke`` (GET or POST, from this machine only) ends
the current pause between two polls, at most once a second.
"""

import contextlib
import io
import socket
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar, Final
from urllib.parse import urlsplit

import attrs

from prefect.agent.domain.addresses import is_loopback_address
from prefect.agent.domain.errors import ConfigurationError
from prefect.agent.entrypoints.runtime.site import JSON, Page, Reply, Site, done, refused
from prefect.agent.entrypoints.runtime.visits import SECURITY_HEADERS, has_foreign_name, is_from_another_site

MOST_CONNECTIONS: Final = 16
"""Most connections that are served at the same time."""

SECONDS: Final = 5.0
"""Most seconds for one request, from its connection to the end of its answer."""

YOUNG: Final = 2.5
"""Seconds for which a connection is not closed to make room for a new one."""

BETWEEN_POKES: Final = 1.0
"""Least seconds between two pokes that take effect."""

LONGEST_HEAD: Final = 8192
"""Most bytes of the head of a request."""

LOCAL: Final = "local"
"""Stands for the address of a client that came by a unix socket."""


def _plain(status: str, why: str) -> bytes:
    """Return an answer for a client whose request is not read."""
    body = refused(0, why).body
    head = f"HTTP/1.0 {status}\r\nContent-Type: {JSON}\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    return head.encode() + body


TURNED_AWAY: Final = _plain("503 Service Unavailable", f"{MOST_CONNECTIONS} connections are open already: try again")
TOO_LONG: Final = _plain("431 Request Header Fields Too Large", f"the head has more than {LONGEST_HEAD} bytes")


@attrs.define
class HealthServer:
    """An HTTP server in a daemon thread: at most 16 connections at once, each with one request of at most 5 s.

    Attributes:
        site: What it answers, poke aside.
        poke: Has the agent poll now.
        thread: The thread that listens; None before the start.
    """

    site: Site
    poke: Callable[[], None]
    thread: threading.Thread | None = attrs.field(default=None, init=False)
    over: threading.Event = attrs.field(factory=threading.Event, init=False)
    """Set when the server stops."""
    _server: ThreadingHTTPServer | None = attrs.field(default=None, init=False)
    _pokes: "_Pokes | None" = attrs.field(default=None, init=False)

    def start(self, address: str) -> str:
        """Listen at *address* (``http://127.0.0.1:8080``, ``http://:8080`` for all interfaces); return the actual one.

        Raises:
            ConfigurationError: The address has no port, or the server cannot listen there.
        """
        try:
            parts = urlsplit(address if "//" in address else f"//{address}")
            port = parts.port
        except ValueError as problem:
            raise ConfigurationError(f"--agent-address {address!r} is not an address: {problem}") from problem
        if port is None:
            raise ConfigurationError(f"--agent-address {address!r} has no port; write it like http://127.0.0.1:8080")
        try:
            self._pokes = _Pokes(self.poke)
            server = _listen(parts.hostname or "", port, _handler(self.site, self._pokes, parts.hostname))
        except (TypeError, UnicodeError) as problem:  # Python raises these for impossible host names
            raise ConfigurationError(f"--agent-address {address!r} has an impossible host name") from problem
        except OSError as problem:
            raise ConfigurationError(f"cannot listen at --agent-address {address!r}: {problem.strerror}") from problem
        self._server = server
        self.thread = threading.Thread(target=server.serve_forever, name="health", daemon=True)
        self.thread.start()
        return f"http://{parts.hostname or '0.0.0.0'}:{server.server_address[1]}"  # noqa: S104 - as asked for

    def start_local(self, path: Path) -> None:
        """Listen at a unix socket that only this user can open.

        Raises:
            OSError: It cannot be made.
        """
        self._pokes = _Pokes(self.poke)
        self._server = _LocalServer(str(path), _handler(self.site, self._pokes))
        self.thread = threading.Thread(target=self._server.serve_forever, name="local-endpoint", daemon=True)
        self.thread.start()

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
    """Calls *act* at most once a second; pokes that come sooner are combined into one at the end of that second."""

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
        """Cancel a poke that is still pending."""
        with self._guard:
            if self._later is not None:
                self._later.cancel()

    def _now(self) -> None:
        with self._guard:
            self._last, self._later = time.monotonic(), None
        self._act()


class _BoundedServer(ThreadingHTTPServer):
    """Serves a limited number of connections; one more gets a 503, or replaces the oldest one if that is old enough.

    So clients that send slowly can neither occupy more and more threads, nor block a probe for long.
    """

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, *arguments: Any, **keywords: Any) -> None:
        self._guard = threading.Lock()
        self._served: dict[socket.socket, float] = {}
        super().__init__(*arguments, **keywords)

    def process_request(self, request: Any, client_address: Any) -> None:
        """Serve *request* in a thread, or answer 503."""
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
        """Serve *request*, and free its place in every case."""
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._leave(request)

    def _has_place(self, request: socket.socket) -> bool:
        """Reserve a place for *request* if one is free, or if the oldest connection is old enough to be closed."""
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
        """Ignore the error: a client that disconnects needs no log line."""


class _DualStackServer(_BoundedServer):
    """Listens at all IPv4 and IPv6 addresses, since in a cluster with only IPv6 the probes use IPv6."""

    address_family = socket.AF_INET6

    def server_bind(self) -> None:
        self.socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        super().server_bind()


class _LocalServer(_BoundedServer):
    """Listens at a unix socket."""

    address_family = getattr(socket, "AF_UNIX", socket.AF_INET)

    def server_bind(self) -> None:
        """Bind in a folder of this user's own, and take the socket from all others."""
        path = str(self.server_address)
        self.socket.bind(path)
        Path(path).chmod(0o600)
        self.server_name, self.server_port = LOCAL, 0


def _listen(host: str, port: int, handler: type[BaseHTTPRequestHandler]) -> ThreadingHTTPServer:
    """Return a server that listens at *host* and *port*; raise OSError if that is not possible."""
    if not host and socket.has_dualstack_ipv6():
        with contextlib.suppress(OSError):  # IPv6 is compiled in, but switched off
            return _DualStackServer(("::", port), handler)
    return _BoundedServer((host, port), handler)


def _read_head(connection: socket.socket, deadline: float) -> bytes:
    """Read the head of a request, and any bytes after it, until *deadline* (seconds of ``time.monotonic``).

    Raises:
        TimeoutError: The head is not complete by then.
        ValueError: The head is too long.
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


class _Handler(BaseHTTPRequestHandler):
    """Answers one request. Each server makes a subclass with its own health."""

    site: ClassVar[Site]
    poke: "ClassVar[staticmethod[[], None]]"
    own_name: ClassVar[str]

    def setup(self) -> None:
        """Read the whole head within the time of a request, so that a slow client cannot occupy the thread."""
        try:
            head = _read_head(self.request, time.monotonic() + SECONDS)
        except ValueError:
            self.request.sendall(TOO_LONG)
            raise
        super().setup()
        self.rfile.close()
        self.rfile = io.BufferedReader(io.BytesIO(head))

    def do_GET(self) -> None:
        """Answer with a page, or poke."""
        path = urlsplit(self.path).path
        if path in self.site.personal and self._has_foreign_name():
            self._answer(refused(421, "this agent has another name: open its page under the one it is configured with"))
        elif path in self.site.pages:
            self._answer(self.site.pages[path]())
        elif path == "/api/poke":
            self._act(done(type(self).poke))
        elif path in self.site.actions:
            self._answer(refused(405, f"{path} takes POST"))
        else:
            self._answer(refused(404, f"there is no {path[:100]!r}; there are {', '.join(self.site.pages)}"))

    def do_HEAD(self) -> None:
        """Answer like GET, without the body."""
        self.do_GET()

    def do_POST(self) -> None:
        """Poke, or do what else may be done here."""
        path = urlsplit(self.path).path
        if path == "/api/poke":
            self._act(done(type(self).poke))
        elif path in self.site.actions:
            self._act(self.site.actions[path])
        else:
            self._refuse()

    def _act(self, action: Page) -> None:
        client = self.address_string()
        if is_from_another_site(self.headers) or self._has_foreign_name():
            self._answer(refused(403, "not for pages of other sites"))
        elif client == LOCAL or is_loopback_address(client):
            self._answer(action())
        else:
            self._answer(refused(403, "only from the agent's own machine"))

    def _has_foreign_name(self) -> bool:
        local = self.connection.getsockname()
        return has_foreign_name(self.headers, local[0] if isinstance(local, tuple) else LOCAL, self.own_name)

    def _refuse(self) -> None:
        self._answer(refused(405, f"{self.command[:20]} is not for this path"))

    do_PUT = do_DELETE = do_PATCH = do_OPTIONS = _refuse  # noqa: N815

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """Answer what is no request that can be served, as the standard library finds it."""
        self.request_version = self.protocol_version  # one that was not understood: an answer has a head all the same
        self._answer(refused(code, message or explain or self.responses.get(code, ("",))[0]))

    def _answer(self, reply: Reply) -> None:
        self.close_connection = True
        self.send_response(reply.status)
        self.send_header("Content-Type", reply.content_type)
        self.send_header("Content-Length", str(len(reply.body)))
        for name, value in SECURITY_HEADERS.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(reply.body)

    def address_string(self) -> str:
        """The client's address; one of a unix socket has none."""
        return str(next(iter(self.client_address), LOCAL))

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Log nothing: the agent's log is for flow runs, not for requests."""


def _handler(site: Site, poke: Callable[[], None], own_name: str | None = None) -> type[BaseHTTPRequestHandler]:
    members = {"site": site, "poke": staticmethod(poke), "own_name": own_name or ""}
    return type("Handler", (_Handler,), members)

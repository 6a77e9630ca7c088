"""How the agent is: made from the same events as the log, told over HTTP if an address is given (promise P4).

``GET /api/health`` answers 200 or 503 with the facts as JSON; ``GET /api/poke`` ends the present pause between polls
(protocol section 10).
"""

import contextlib
import json
import socket
import threading
from collections.abc import Callable
from datetime import datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final
from urllib.parse import urlsplit

import attrs

from prefect.agent.domain.errors import ConfigurationError
from prefect.agent.ports import events
from prefect.agent.ports.clock import Clock
from prefect.agent.ports.events import Event

STALE_AFTER: Final = 60.0
"""Seconds without a good poll after which an agent that polls every 10 s is unwell: several polls have failed."""

WATCHED: Final = {
    events.POLLED: "last_poll",
    events.CLAIMED: "last_claim",
    events.UNIT_CREATED: "last_create",
    events.SWEPT: "last_sweep",
    events.WATCHED: "last_watch",
    events.REPORTED: "last_report",
}


@attrs.define(kw_only=True)
class Health:
    """Remembers when things last went well, and what went wrong since."""

    clock: Clock
    stale_after: float = STALE_AFTER
    _since: float = attrs.field(init=False)
    _last: dict[str, datetime] = attrs.field(factory=dict, init=False)
    _good_poll: float | None = attrs.field(default=None, init=False)
    _trouble: str = attrs.field(default="", init=False)

    def __attrs_post_init__(self) -> None:
        self._since = self.clock.monotonic()

    def take(self, event: Event) -> None:
        """Learn from one event."""
        if event.name in WATCHED:
            self._last[WATCHED[event.name]] = self.clock.now()
        if event.name == events.POLLED:
            self._good_poll, self._trouble = self.clock.monotonic(), ""
        elif event.name in {events.CLOUD_TROUBLE, events.PLATFORM_TROUBLE, events.BUG}:
            self._trouble = event.message

    def report(self) -> tuple[bool, dict[str, Any]]:
        """Whether the agent is well, and the facts as JSON-ready values."""
        age = self.clock.monotonic() - (self._since if self._good_poll is None else self._good_poll)
        healthy = age <= self.stale_after
        facts: dict[str, Any] = {
            "status": "healthy" if healthy else "unhealthy",
            "seconds_since_good_poll": round(age, 1),
            "trouble": self._trouble or None,
        }
        facts.update({name: self._last[name].isoformat() if name in self._last else None for name in WATCHED.values()})
        return healthy, facts


@attrs.define
class HealthServer:
    """A small HTTP server in a daemon thread."""

    health: Health
    poke: Callable[[], None]
    _server: ThreadingHTTPServer | None = attrs.field(default=None, init=False)

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
            server = _listen(parts.hostname or "", port, _handler(self.health, self.poke))
        except OSError as problem:
            raise ConfigurationError(f"cannot listen at --agent-address {address!r}: {problem.strerror}") from problem
        self._server = server
        threading.Thread(target=server.serve_forever, name="health", daemon=True).start()
        return f"http://{parts.hostname or '0.0.0.0'}:{server.server_address[1]}"  # noqa: S104 - as asked for

    def stop(self) -> None:
        """Stop listening."""
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
            self._server = None


class _Server(ThreadingHTTPServer):
    daemon_threads = True


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


def _handler(health: Health, poke: Callable[[], None]) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        timeout = 10  # a client that says nothing does not hold a thread for ever

        def do_GET(self) -> None:
            path = urlsplit(self.path).path
            if path == "/api/health":
                healthy, facts = health.report()
                self._answer(200 if healthy else 503, json.dumps(facts).encode(), "application/json")
            elif path == "/api/poke":
                poke()
                self._answer(200, b"", "text/html")
            else:
                self._answer(404, b"", "text/plain")

        def _answer(self, status: int, body: bytes, content_type: str) -> None:
            self.send_response(status)
            self.send_header("Content-Type", content_type)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def do_POST(self) -> None:
            self._answer(405, b"", "text/plain")

        do_PUT = do_DELETE = do_PATCH = do_POST  # noqa: N815

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            """Say nothing: the agent's log is for facts about flow runs."""

    return Handler

"""The listening socket and the HTTP server on it."""

import signal
import socket
from collections.abc import Callable
from datetime import datetime
from types import FrameType
from typing import Final

import uvicorn

from prefect.agent.domain.cloud.strictness import STRICT, Strictness
from prefect.agent.entrypoints.server.graphql.execution import Executor
from prefect.agent.entrypoints.server.http.app import make_app
from prefect.agent.entrypoints.server.http.connections import BACKLOG, ClientConnection
from prefect.agent.entrypoints.server.http.gate import SECURITY_HEADERS, Hosts
from prefect.agent.entrypoints.server.http.long_poll import WaitingRequests
from prefect.agent.entrypoints.server.pages.changes import ChangeBell
from prefect.agent.entrypoints.server.services import Routine, Services, running
from prefect.agent.entrypoints.server.storage.checkpoints import Checkpoints
from prefect.agent.entrypoints.server.storage.clock import utc_now
from prefect.agent.entrypoints.server.storage.database import Database

KEEP_ALIVE: Final = 75
"""Seconds that an unused connection stays open: longer than the longest pause between two polls of an agent."""


END_SECONDS: Final = 10
"""Seconds that requests get which are still being read when the server is asked to end."""


def listen(host: str, port: int) -> socket.socket:
    """Return a socket that listens at *host* and *port*; port 0 takes a free one.

    Raises:
        OSError: The address cannot be used.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listening = socket.create_server((host, port), family=family)
    # asyncio sets this only on sockets of its own; without it each answer would wait 40 ms for an ACK.
    listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listening


class _CloudServer(uvicorn.Server):
    """The HTTP server; it runs the services while it answers, and ends the requests that wait before it ends."""

    def __init__(
        self, config: uvicorn.Config, services: Services, waiting: WaitingRequests, changes: ChangeBell
    ) -> None:
        super().__init__(config)
        self._services, self._waiting, self._changes = services, waiting, changes

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Begin to end. A second signal kills the process at once, which the database survives."""
        super().handle_exit(sig, frame)
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_DFL)

    async def main_loop(self) -> None:
        """Answer requests, and run the services, until the server is asked to end."""
        with running(self._services), running(Checkpoints(self._services.database)):
            await super().main_loop()
        self._waiting.close()
        self._changes.close()


def make_server(
    database: Database,
    keys: frozenset[str] = frozenset(),
    routine: Routine | None = None,
    strictness: Strictness = STRICT,
    now: Callable[[], datetime] = utc_now,
    *,
    hosts: Hosts | None = None,
) -> uvicorn.Server:
    """Return a server that the caller runs on a listening socket.

    Args:
        database: The open database, which the caller closes.
        keys: API keys that are accepted; if empty, the keys in the database decide alone.
        routine: Which services work, and when; None: the defaults.
        strictness: How strict the Cloud is.
        now: The Cloud's clock.
        hosts: The hosts that the server answers to; None: this machine's loopback.
    """
    waiting, changes = WaitingRequests(), ChangeBell()
    config = uvicorn.Config(
        make_app(Executor(database, keys, strictness, now), waiting, hosts, changes),
        log_config=None,
        log_level="warning",
        lifespan="off",
        ws="none",
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_keep_alive=KEEP_ALIVE,
        timeout_graceful_shutdown=END_SECONDS,
        http=ClientConnection,
        headers=list(SECURITY_HEADERS),
        backlog=BACKLOG,
    )
    return _CloudServer(config, Services(database, routine or Routine(), now), waiting, changes)

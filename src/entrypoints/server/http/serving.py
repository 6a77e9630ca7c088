"""A listening socket and the server on it."""

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
from prefect.agent.entrypoints.server.http.connections import BACKLOG, Connection
from prefect.agent.entrypoints.server.http.gate import SECURITY_HEADERS, Hosts
from prefect.agent.entrypoints.server.http.long_poll import WaitingRoom
from prefect.agent.entrypoints.server.pages.changes import Changes
from prefect.agent.entrypoints.server.services import Routine, Services, running
from prefect.agent.entrypoints.server.storage.clock import utc_now
from prefect.agent.entrypoints.server.storage.database import Database

KEEP_ALIVE: Final = 75
"""Seconds that an unused connection stays open: longer than the longest pause between two polls of an agent."""


END_SECONDS: Final = 10
"""For requests that are still being read when the server is asked to end."""


def listen(host: str, port: int) -> socket.socket:
    """Listen at *host* and *port* (0: a free one).

    Raises:
        OSError: The address cannot be listened at.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listening = socket.create_server((host, port), family=family)
    # asyncio leaves this out for sockets that somebody else made; each answer would then wait 40 ms for an ACK.
    listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listening


class _Server(uvicorn.Server):
    """A server whose services work as long as it answers, and whose requests do not wait longer than that."""

    def __init__(self, config: uvicorn.Config, services: Services, waiting_room: WaitingRoom, changes: Changes) -> None:
        super().__init__(config)
        self._services, self._waiting_room, self._changes = services, waiting_room, changes

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """End when all is answered. The next signal ends the process at once: the file stands it."""
        super().handle_exit(sig, frame)
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_DFL)

    async def main_loop(self) -> None:
        """Answer requests until told to exit."""
        with running(self._services):
            await super().main_loop()
        self._waiting_room.close()
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
    """The server, to be run on a listening socket.

    Args:
        keys: If not empty, the API keys that are accepted.
        routine: Of the services that work beside it; None: as usual.
        strictness: Of this Cloud.
        now: Its clock.
        hosts: What it answers to; None: this machine's loopback.
    """
    waiting_room, changes = WaitingRoom(), Changes()
    config = uvicorn.Config(
        make_app(Executor(database, keys, strictness, now), waiting_room, hosts, changes),
        log_level="warning",
        lifespan="off",
        ws="none",
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_keep_alive=KEEP_ALIVE,
        timeout_graceful_shutdown=END_SECONDS,
        http=Connection,
        headers=list(SECURITY_HEADERS),
        backlog=BACKLOG,
    )
    return _Server(config, Services(database, routine or Routine(), now), waiting_room, changes)

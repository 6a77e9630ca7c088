"""A listening socket and the server on it."""

import socket

import uvicorn

from prefect.agent.entrypoints.server.app import make_app
from prefect.agent.entrypoints.server.database import Database


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


def make_server(database: Database, keys: frozenset[str] = frozenset()) -> uvicorn.Server:
    """The server, to be run on a listening socket.

    Args:
        keys: If not empty, the API keys that are accepted.
    """
    return uvicorn.Server(
        uvicorn.Config(make_app(database, keys), log_level="warning", lifespan="off", access_log=False)
    )

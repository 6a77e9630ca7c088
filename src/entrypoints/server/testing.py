"""Run an embedded Cloud for as long as a test or a demonstration needs it."""

import socket
import threading
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import uvicorn

from prefect.agent.entrypoints.server.database import Database
from prefect.agent.entrypoints.server.serving import listen, make_server


@contextmanager
def running_server(
    database: Path, *, host: str = "127.0.0.1", port: int = 0, keys: frozenset[str] = frozenset()
) -> Generator[str]:
    """Serve *database* from a thread of this process; yield the address.

    Args:
        port: 0 lets the system choose a free one.
        keys: If not empty, the API keys that are accepted.
    """
    opened = Database(database)
    listening = listen(host, port)
    server = make_server(opened, keys)
    thread = threading.Thread(target=_serve, args=(server, listening), name="embedded-cloud", daemon=True)
    thread.start()
    try:
        # The socket listens already: connections wait in its backlog until the server takes them.
        yield f"http://{host}:{listening.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(10)
        listening.close()
        opened.close()


def _serve(server: uvicorn.Server, listening: socket.socket) -> None:
    server.run(sockets=[listening])

"""Run an embedded Cloud for a test or a demonstration."""

import socket
import threading
from collections.abc import Callable, Generator
from contextlib import ExitStack, closing, contextmanager
from datetime import datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

import uvicorn

from prefect.agent.domain.cloud.strictness import LOOSE, STRICT
from prefect.agent.entrypoints.server.http.gate import hosts_of
from prefect.agent.entrypoints.server.http.serving import listen, make_server
from prefect.agent.entrypoints.server.services import Routine
from prefect.agent.entrypoints.server.storage.clock import utc_now
from prefect.agent.entrypoints.server.storage.database import Database

END_WITHIN: Final = 60.0
"""Seconds that a server gets to end."""


@contextmanager
def running_server(
    database: Path | None = None,
    *,
    host: str = "127.0.0.1",
    port: int = 0,
    keys: frozenset[str] = frozenset(),
    routine: Routine | None = None,
    as_loose_as_server: bool = False,
    now: Callable[[], datetime] = utc_now,
) -> Generator[str]:
    """Serve *database* from a thread of this process; yield the server's address once it answers.

    Real clients find the server by two settings::

        with running_server() as url:
            env = {"PREFECT__BACKEND": "server", "PREFECT__SERVER__ENDPOINT": url}

    Several servers can run at the same time, each on its own file. A file can be served again later.

    Args:
        database: The file, which is created if it is missing; None: a temporary file that is removed at the end.
        host: The address to listen at.
        port: The port to listen at; 0 takes a free one.
        keys: API keys that are accepted. If empty, the keys in the file decide.
        routine: Which services work, and when; None: the defaults of ``prefect server start``.
        as_loose_as_server: Whether to accept claims without comparing versions, as Prefect Server does.
        now: The Cloud's clock, UTC. It is called from the thread that serves.

    Raises:
        DatabaseProblem: The file cannot be used.
        OSError: The address cannot be used.
        RuntimeError: The server does not end within ``END_WITHIN`` seconds.
    """
    strictness = LOOSE if as_loose_as_server else STRICT
    hosts = hosts_of(host, own_names=[socket.gethostname()])
    with ExitStack() as stack:
        path = database or Path(stack.enter_context(TemporaryDirectory(prefix="prefect-cloud-")), "cloud.db")
        opened = stack.enter_context(closing(Database(path)))
        listening = stack.enter_context(listen(host, port))
        stack.enter_context(_running(make_server(opened, keys, routine, strictness, now, hosts=hosts), listening))
        shown = f"[{host}]" if ":" in host else host
        yield f"http://{shown}:{listening.getsockname()[1]}"


@contextmanager
def _running(server: uvicorn.Server, listening: socket.socket) -> Generator[None]:
    thread = threading.Thread(target=_serve, args=(server, listening), name="embedded-cloud", daemon=True)
    thread.start()
    try:
        # The socket listens already: connections wait in its backlog until the server takes them.
        yield
    finally:
        server.should_exit = True
        thread.join(END_WITHIN)
        if thread.is_alive():
            raise RuntimeError(f"the embedded Cloud still serves, {END_WITHIN:g} seconds after it was asked to end")


def _serve(server: uvicorn.Server, listening: socket.socket) -> None:
    server.run(sockets=[listening])

"""Run an embedded Cloud for as long as a test or a demonstration needs it."""

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
"""Seconds."""


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
    """Serve *database* from a thread of this process; yield the address, ready to be used.

    Real clients find it by two settings::

        with running_server() as url:
            env = {"PREFECT__BACKEND": "server", "PREFECT__SERVER__ENDPOINT": url}

    Any number of servers can run beside each other and one after the other, each on a file of its own; a file that was
    served can be served again.

    Args:
        database: The file; made if it is not there. Without one, a temporary file that is removed at the end.
        port: 0 lets the system choose a free one.
        keys: If not empty, the API keys that are accepted.
        routine: What it does by itself, and when; None: as ``prefect server start`` does if nothing is said.
        as_loose_as_server: Whether it compares as little as Prefect Server does.
        now: The Cloud's clock, UTC. Called from the thread that serves.

    Raises:
        DatabaseProblem: The file cannot be used.
        OSError: The address cannot be listened at.
        RuntimeError: It does not end when it should.
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
            raise RuntimeError(f"the embedded Cloud still serves, {END_WITHIN:g} seconds after it was told to end")


def _serve(server: uvicorn.Server, listening: socket.socket) -> None:
    server.run(sockets=[listening])

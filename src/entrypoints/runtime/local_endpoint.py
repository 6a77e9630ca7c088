"""A socket by which its own user reaches a running agent: ``prefect agent status``, ``pause``, ``resume``, ``stop``."""

import http.client
import os
import re
import socket
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

import attrs

from prefect.agent.entrypoints.runtime.health_server import HealthServer

PRIVATE: Final = 0o700
SUFFIX: Final = ".sock"
LONGEST: Final = 100
"""Bytes of a socket's path: operating systems take little more."""

SECONDS: Final = 10.0
"""How long an agent may take to answer its own user."""


@contextmanager
def short_path(path: Path) -> Generator[Path]:
    """Yield *path*, or a name of the same file that is short enough for a socket (Linux: proc(5))."""
    if len(os.fsencode(path)) <= LONGEST or not Path("/proc/self/fd").is_dir():
        yield path
        return
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield Path("/proc/self/fd") / str(folder) / path.name
    finally:
        os.close(folder)


@attrs.define
class LocalEndpoint:
    """Serves at a socket in a folder that no other user can enter."""

    server: HealthServer
    folder: Path
    name: str
    path: Path | None = attrs.field(default=None, init=False)

    def start(self) -> Path:
        """Make the socket, and return its path.

        Raises:
            OSError: It cannot be made; the agent works without it.
        """
        self.folder.mkdir(parents=True, exist_ok=True, mode=PRIVATE)
        about = self.folder.lstat()
        if about.st_uid != os.geteuid() or about.st_mode & 0o077:
            raise PermissionError(f"{self.folder} is open to other users: chmod 700 {self.folder}")
        path = self.folder / f"{re.sub(r'[^A-Za-z0-9_.-]', '_', self.name)[:24]}-{os.getpid()}{SUFFIX}"
        path.unlink(missing_ok=True)  # of a process that had the same number
        with short_path(path) as name:
            self.server.start_local(name)
        self.path = path
        return path

    def stop(self) -> None:
        """Stop serving, and remove the socket. May be repeated."""
        self.server.stop()
        if self.path is not None:
            with suppress(OSError):
                self.path.unlink(missing_ok=True)


class LocalConnection(http.client.HTTPConnection):
    """A connection to an agent's socket."""

    def __init__(self, path: Path) -> None:
        super().__init__("localhost", timeout=SECONDS)
        self._path = path

    def connect(self) -> None:
        """Connect.

        Raises:
            OSError: No agent listens there.
        """
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(SECONDS)
        with short_path(self._path) as name:
            self.sock.connect(str(name))


def ask(path: Path, method: str, target: str) -> tuple[int, bytes]:
    """Ask the agent at *path*; return status and body.

    Raises:
        OSError, http.client.HTTPException: It does not answer.
    """
    connection = LocalConnection(path)
    try:
        connection.request(method, target)
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()

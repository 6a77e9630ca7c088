"""From the options of ``prefect server start`` to a server that runs, or to one sentence that says why not."""

import secrets
import shlex
import socket
from pathlib import Path
from typing import Final

import attrs
import click

from prefect.agent.domain.cloud.strictness import Strictness
from prefect.agent.entrypoints.local_keys import key_file
from prefect.agent.entrypoints.server.command import Refused
from prefect.agent.entrypoints.server.connections import raise_descriptor_limit
from prefect.agent.entrypoints.server.database import Database
from prefect.agent.entrypoints.server.gate import LOOPBACK, hosts_of
from prefect.agent.entrypoints.server.keys import is_locked, keep_own_key, lock
from prefect.agent.entrypoints.server.quiet import quieten
from prefect.agent.entrypoints.server.services import Routine
from prefect.agent.entrypoints.server.serving import listen, make_server

EVERYWHERE: Final = frozenset({"0.0.0.0", "::"})  # noqa: S104


@attrs.frozen(kw_only=True)
class Start:
    """How a server is started.

    Attributes:
        keys: API keys that are accepted beside those in the file.
        allowed_hosts: Names that it answers to beside its own.
        allow_anonymous: Whether it may listen beyond this machine without keys.
        require_key: Whether a key is made if there is none, and kept in a file of its user.
    """

    host: str
    port: int
    path: Path
    routine: Routine
    strictness: Strictness
    keys: frozenset[str] = attrs.field(repr=False)
    allowed_hosts: tuple[str, ...] = ()
    allow_anonymous: bool = False
    require_key: bool = False


def serve(start: Start) -> None:
    """Serve until the process is asked to end.

    Raises:
        Refused, DatabaseProblem, ConfigurationError: It cannot be started.
    """
    quieten()
    raise_descriptor_limit()
    listening = _listen(start.host, start.port)
    try:
        opened = Database(start.path)
    except BaseException:
        listening.close()
        raise
    try:
        port = listening.getsockname()[1]
        key_path = _own_key(opened, start, port) if start.require_key else None
        if start.keys:
            with opened.write() as tx:
                lock(tx, "started with --api-key")
        keys, locked = start.keys, is_locked(opened)
        if start.host not in LOOPBACK and not start.allow_anonymous:
            if not locked:
                raise Refused(
                    f"everyone who reaches {start.host} could run code on your agents: give --require-key, make a key "
                    "with prefect server create-key, or say --allow-anonymous"
                )
            # A key that is not known to anyone: also when the last one is revoked, this address does not open up.
            keys |= {secrets.token_hex()}
        for line in greeting(start, port, key_path, locked=locked):
            click.echo(line)
        hosts = hosts_of(start.host, start.allowed_hosts, [socket.gethostname()])
        make_server(opened, keys, start.routine, start.strictness, hosts=hosts).run(sockets=[listening])
    finally:
        listening.close()
        opened.close()


def greeting(start: Start, port: int, key_path: Path | None, *, locked: bool) -> list[str]:
    """Where it is, who may use it, and what to try next.

    Args:
        port: That it listens at.
        key_path: The file that holds its key, if it keeps one.
        locked: Whether it asks for a key.
    """
    host = start.host
    shown = "127.0.0.1" if host in EVERYWHERE else f"[{host}]" if ":" in host else host
    address = f"http://{shown}:{port}"
    backend = "cloud" if locked else "server"
    export = f"  export PREFECT__BACKEND={backend} PREFECT__{backend.upper()}__ENDPOINT={address}"
    key = ' PREFECT__CLOUD__API_KEY="$(cat ' + shlex.quote(str(key_path)) + ')"' if key_path else ""
    asks = locked and key_path is None
    return [
        f"Prefect API at {address} (GraphQL; POST), its data in {start.path}",
        _who_may(start, key_path, locked=locked),
        "To try next, in another terminal:",
        export + key,
        "  prefect auth login --key KEY" if asks else "  prefect create project demo",
        f"  prefect-agent agent start process --api {address}{' --key KEY' if asks else ''}",
    ]


def _who_may(start: Start, key_path: Path | None, *, locked: bool) -> str:
    if locked:
        words = f"Every request needs an API key{f'; one is in {key_path}' if key_path else ''}."
    else:
        reach = "Every user of this machine" if start.host in LOOPBACK else f"Everyone who reaches {start.host}"
        words = (
            f"No API key is asked for. {reach} may use this Cloud and run code on its agents; --require-key ends that."
        )
    return words if start.strictness.compares else f"{words} Claims are not compared: as loose as Prefect Server."


def _own_key(opened: Database, start: Start, port: int) -> Path:
    path = key_file(start.path.parent, port)
    try:
        keep_own_key(opened, path)
    except OSError as problem:
        raise Refused(f"cannot keep a key in {path}: {problem.strerror}; choose another --database") from problem
    return path


def _listen(host: str, port: int) -> socket.socket:
    try:
        return listen(host, port)
    except OSError as problem:
        why, _, _ = (problem.strerror or str(problem)).partition(" (while")  # added by some versions of Python
        raise Refused(f"cannot listen at {host}:{port}: {why}; choose another --port") from problem

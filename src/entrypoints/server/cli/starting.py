"""From the options of ``prefect server start`` to a server that runs, or to one sentence that says why not."""

import secrets
import shlex
import socket
from pathlib import Path
from typing import Final

import attrs
import click

from prefect.agent.domain.cloud.strictness import Strictness
from prefect.agent.entrypoints.server.cli.common import Refused
from prefect.agent.entrypoints.server.http.connections import raise_descriptor_limit
from prefect.agent.entrypoints.server.http.gate import LOOPBACK, hosts_of
from prefect.agent.entrypoints.server.http.quiet import quieten
from prefect.agent.entrypoints.server.http.serving import listen, make_server
from prefect.agent.entrypoints.server.services import Routine
from prefect.agent.entrypoints.server.storage.database import Database
from prefect.agent.entrypoints.server.storage.keys import is_locked, keep_own_key, lock
from prefect.agent.entrypoints.server.storage.scopes import ADMIN, RUNNER
from prefect.agent.entrypoints.settings.local_keys import admin_key_file, key_file

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


@attrs.frozen
class OwnKeys:
    """Files with the keys that a server keeps for its user: for agents, and for people."""

    runner_file: Path
    admin_file: Path

    @property
    def runner(self) -> str:
        """What sets the variable for an agent, in a shell."""
        return _variable(self.runner_file)

    @property
    def admin(self) -> str:
        """The same for a person."""
        return _variable(self.admin_file)


def _variable(path: Path) -> str:
    return ' PREFECT__CLOUD__API_KEY="$(cat ' + shlex.quote(str(path)) + ')"'


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
        own = _own_keys(opened, start, port) if start.require_key else None
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
        for line in greeting(start, port, own, locked=locked):
            click.echo(line)
        hosts = hosts_of(start.host, start.allowed_hosts, [socket.gethostname()])
        make_server(opened, keys, start.routine, start.strictness, hosts=hosts).run(sockets=[listening])
    finally:
        listening.close()
        opened.close()


def greeting(start: Start, port: int, own: OwnKeys | None, *, locked: bool) -> list[str]:
    """Where it is, who may use it, and what to try next.

    Args:
        port: That it listens at.
        own: The files that hold its keys, if it keeps some.
        locked: Whether it asks for a key.
    """
    host = start.host
    shown = "127.0.0.1" if host in EVERYWHERE else f"[{host}]" if ":" in host else host
    address = f"http://{shown}:{port}"
    backend = "cloud" if locked else "server"
    asks = locked and own is None
    by_file = " --token-file KEY-FILE" if asks else ""
    endpoint = f"PREFECT__{backend.upper()}__ENDPOINT={address}"
    pages = f"PREFECT__SERVER__UI__ENDPOINT={address}"  # where the links lead that the client prints
    return [
        f"Prefect API at {address} (GraphQL; POST; pages in a browser), its data in {start.path}",
        _who_may(start, own, locked=locked),
        "To try next, in another terminal:",
        f"  export PREFECT__BACKEND={backend} {endpoint} {pages}{own.admin if own else ''}",
        '  export PREFECT__CLOUD__API_KEY="$(cat KEY-FILE)"' if asks else "  prefect create project demo",
        f" {own.runner if own else ''} prefect-agent start process --hostname-label --api {address}{by_file}",
    ]


def _who_may(start: Start, own: OwnKeys | None, *, locked: bool) -> str:
    if locked:
        words = f"Every request needs an API key{f'; one is in {own.admin_file}' if own else ''}."
    else:
        reach = "Every user of this machine" if start.host in LOOPBACK else f"Everyone who reaches {start.host}"
        words = (
            f"No API key is asked for. {reach} may use this Cloud and run code on its agents; --require-key ends that."
        )
    return words if start.strictness.compares else f"{words} Claims are not compared: as loose as Prefect Server."


def _own_keys(opened: Database, start: Start, port: int) -> OwnKeys:
    folder = start.path.parent
    own = OwnKeys(key_file(folder, port), admin_key_file(folder, port))
    try:
        keep_own_key(opened, own.runner_file, RUNNER)
        keep_own_key(opened, own.admin_file, ADMIN)
    except OSError as problem:
        raise Refused(f"cannot keep a key in {folder}: {problem.strerror}; choose another --database") from problem
    return own


def _listen(host: str, port: int) -> socket.socket:
    try:
        return listen(host, port)
    except OSError as problem:
        why, _, _ = (problem.strerror or str(problem)).partition(" (while")  # added by some versions of Python
        raise Refused(f"cannot listen at {host}:{port}: {why}; choose another --port") from problem

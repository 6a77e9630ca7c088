"""Start a server with the options of ``prefect server start``, or refuse with one sentence that says why."""

import errno
import secrets
import shlex
import socket
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Final

import attrs
import click

from prefect.agent.domain.addresses import THIS_MACHINE
from prefect.agent.domain.cloud.strictness import Strictness
from prefect.agent.entrypoints.runtime import standard_streams
from prefect.agent.entrypoints.server.cli import logs
from prefect.agent.entrypoints.server.cli.failures import CommandRefused
from prefect.agent.entrypoints.server.http.connections import raise_descriptor_limit
from prefect.agent.entrypoints.server.http.gate import hosts_of
from prefect.agent.entrypoints.server.http.serving import listen, make_server
from prefect.agent.entrypoints.server.services import Routine
from prefect.agent.entrypoints.server.storage.database import Database
from prefect.agent.entrypoints.server.storage.keys import is_locked, keep_own_key, lock
from prefect.agent.entrypoints.server.storage.scopes import ADMIN, RUNNER
from prefect.agent.entrypoints.settings.local_keys import admin_key_file, key_file

EVERYWHERE: Final = frozenset({"0.0.0.0", "::"})  # noqa: S104


@attrs.frozen(kw_only=True)
class Start:
    """The options of a start.

    Attributes:
        host: The address to listen at.
        port: The port to listen at; 0 takes a free one.
        path: The database.
        routine: Which services work, and when.
        strictness: How strict the Cloud is.
        keys: API keys that are accepted beside those in the database.
        allowed_hosts: Further host names to answer to.
        allow_anonymous: Whether the server may listen beyond this machine without keys.
        require_key: Whether every request needs a key; the server then keeps keys in files of its user.
        log_format: ``text`` or ``json``.
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
    log_format: str = "text"


@attrs.frozen
class OwnKeys:
    """The files in which a server keeps the keys of its user: one for agents, one for people."""

    runner_file: Path
    admin_file: Path

    @property
    def runner(self) -> str:
        """The shell assignment that gives an agent its key, with a leading space."""
        return _variable(self.runner_file)

    @property
    def admin(self) -> str:
        """The shell assignment that gives a person the admin key, with a leading space."""
        return _variable(self.admin_file)


def _variable(path: Path) -> str:
    return ' PREFECT__CLOUD__API_KEY="$(cat ' + shlex.quote(str(path)) + ')"'


def serve(start: Start) -> None:
    """Serve until the process is asked to end.

    Raises:
        CommandRefused, DatabaseProblem, ConfigurationError: The server cannot be started.
    """
    logs.set_up(start.log_format, start.keys)
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
        if start.host not in THIS_MACHINE and not start.allow_anonymous:
            if not locked:
                raise CommandRefused(
                    f"everyone who reaches {start.host} could run code on your agents; add --require-key, make a key "
                    "with prefect server create-key, or add --allow-anonymous"
                )
            # An unknown key, so that requests need one even after the last key is revoked.
            keys |= {secrets.token_hex()}
        _say(greeting(start, port, own, locked=locked))
        hosts = hosts_of(start.host, start.allowed_hosts, [socket.gethostname()])
        make_server(opened, keys, start.routine, start.strictness, hosts=hosts).run(sockets=[listening])
    finally:
        listening.close()
        opened.close()


def _say(lines: Iterable[str]) -> None:
    """Print *lines*; a Cloud works all the same if nobody can read them."""
    with suppress(standard_streams.OutputLost):
        for line in lines:
            click.echo(line)


def greeting(start: Start, port: int, own: OwnKeys | None, *, locked: bool) -> list[str]:
    """Return the lines that are printed at the start: the address, who may use it, and what to try next.

    Args:
        start: The options of the start.
        port: The port that the server listens at.
        own: The files with the server's own keys, if it keeps some.
        locked: Whether requests need a key.
    """
    host = start.host
    shown = "127.0.0.1" if host in EVERYWHERE else f"[{host}]" if ":" in host else host
    address = f"http://{shown}:{port}"
    backend = "cloud" if locked else "server"
    # The last one is for the links that the client prints.
    variables = {"BACKEND": backend, f"{backend.upper()}__ENDPOINT": address, "SERVER__UI__ENDPOINT": address}
    exports = " ".join(f"PREFECT__{name}={value}" for name, value in variables.items())
    asks = locked and own is None
    by_file = " --token-file KEY-FILE" if asks else ""
    return [
        f"Prefect API at {address} (GraphQL; POST; pages in a browser), its data in {start.path}",
        _who_may(start, own, locked=locked),
        "To try next, in another terminal:",
        f"  export {exports}{own.admin if own else ''}",
        '  export PREFECT__CLOUD__API_KEY="$(cat KEY-FILE)"' if asks else "  prefect create project demo",
        f" {own.runner if own else ''} prefect-agent start process --api {address}{by_file}",
    ]


def _who_may(start: Start, own: OwnKeys | None, *, locked: bool) -> str:
    if locked:
        words = f"Every request needs an API key{f'; one is in {own.admin_file}' if own else ''}."
    else:
        reach = "Every user of this machine" if start.host in THIS_MACHINE else f"Everyone who reaches {start.host}"
        words = f"No API key is required. {reach} may use this Cloud and run code on its agents"
        words = f"{words}; --require-key prevents that."
    return words if start.strictness.compares else f"{words} Claims are not compared: as loose as Prefect Server."


def _own_keys(opened: Database, start: Start, port: int) -> OwnKeys:
    folder = start.path.parent
    own = OwnKeys(key_file(folder, port), admin_key_file(folder, port))
    try:
        keep_own_key(opened, own.runner_file, RUNNER)
        keep_own_key(opened, own.admin_file, ADMIN)
    except OSError as problem:
        raise CommandRefused(
            f"cannot keep a key in {folder}: {problem.strerror}; choose another --database"
        ) from problem
    return own


def _listen(host: str, port: int) -> socket.socket:
    try:
        return listen(host, port)
    except UnicodeError as problem:
        raise CommandRefused(
            f"cannot listen at {host}: it is not the name of a host; choose another --host"
        ) from problem
    except OSError as problem:
        why, _, _ = (problem.strerror or str(problem)).partition(" (while")  # added by some versions of Python
        other = "--port" if problem.errno in {errno.EADDRINUSE, errno.EACCES} else "--host"
        raise CommandRefused(f"cannot listen at {host}:{port}: {why}; choose another {other}") from problem

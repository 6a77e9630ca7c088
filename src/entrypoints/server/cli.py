"""``prefect server``: the embedded Cloud as a command."""

import os
import secrets
import shutil
import signal
import socket
import sys
import tempfile
from collections.abc import Callable, Generator, Iterable, Mapping
from contextlib import contextmanager
from datetime import datetime, timedelta, timezone
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Final, ParamSpec, TypeVar

import click
from click.core import ParameterSource

from prefect.agent.domain.errors import ConfigurationError
from prefect.agent.domain.secrets import read_secret
from prefect.agent.entrypoints.secret_sources import read_file

if TYPE_CHECKING:
    from prefect.agent.domain.cloud.strictness import Strictness
    from prefect.agent.entrypoints.server.services import Routine

EX_CONFIG: Final = 78
_KEY_VARIABLE: Final = "PREFECT_SERVER_API_KEY"
LOOPBACK: Final = frozenset({"127.0.0.1", "localhost", "::1"})

_FILE: Final = click.option(
    "--database",
    type=click.Path(dir_okay=False, path_type=Path),
    default=Path("~/.prefect-agent/cloud.db"),
    show_default=True,
    help="SQLite file; made if it is not there.",
)

P = ParamSpec("P")
T = TypeVar("T")


class _Refused(Exception):
    """The command cannot be carried out; the message is one sentence that says why and what to do."""


def _explained(command: Callable[P, T]) -> Callable[P, T]:
    """A command whose refusals are a sentence and the exit status 78."""

    @wraps(command)
    def run(*args: P.args, **kwargs: P.kwargs) -> T:
        try:
            from prefect.agent.entrypoints.server.database import DatabaseProblem  # noqa: PLC0415 - extra "server"
        except ModuleNotFoundError as missing:
            click.echo(f"{missing.name} is not installed: pip install 'prefect-agent[server]'", err=True)
            sys.exit(EX_CONFIG)
        try:
            return command(*args, **kwargs)
        except (_Refused, DatabaseProblem) as problem:
            click.echo(str(problem), err=True)
            sys.exit(EX_CONFIG)

    return run


_SERVICES: Final = {
    "scheduler": (150, "Make the runs of schedules ahead."),
    "lazarus": (600, "Schedule flow runs again whose process is gone."),
    "zombie-killer": (120, "End or retry task runs whose process is gone."),
}
"""Names of the services, their usual periods - those of services.py, which a help text does not import - and work."""

_SILENCE: Final = 600
_YEAR: Final = 31_536_000


def _services(command: Callable[P, T]) -> Callable[P, T]:
    """Options for what the Cloud does by itself."""
    seconds = click.FloatRange(min=0.1, max=_YEAR)
    silence = click.option(
        "--heartbeat-timeout",
        type=seconds,
        default=_SILENCE,
        show_default=True,
        metavar="SECONDS",
        help="A flow run whose process was not heard of for so long has none any more. Flow processes send a heartbeat "
        "every 30 s.",
    )
    command = silence(command)
    for name, (period, work) in reversed(_SERVICES.items()):
        option = click.option(f"--{name}-period", type=seconds, default=period, show_default=True, metavar="SECONDS",
                              help="From one of its rounds to the next.")  # fmt: skip
        command = option(command)
        command = click.option(f"--{name}/--no-{name}", default=True, show_default=True, help=work)(command)
    return command


def _routine(options: Mapping[str, float | None]) -> "Routine":
    from prefect.agent.entrypoints.server.services import Routine  # noqa: PLC0415 - extra "server"

    words = {name: name.replace("-", "_") for name in _SERVICES}
    return Routine(
        enabled=frozenset(name for name, word in words.items() if options[word]),
        periods={name: float(options[f"{word}_period"] or 0) for name, word in words.items()},
        lost=timedelta(seconds=float(options["heartbeat_timeout"] or 0)),
    )


@click.group()
def server() -> None:
    """An embedded Prefect Cloud for one team or one machine: a single process, a single file."""


@server.command()
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen at.")
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    default=4200,
    show_default=True,
    help="Port to listen at; 0 takes a free one.",
)
@_FILE
@click.option("--ephemeral", is_flag=True, help="Keep everything in a temporary file that is removed at the end.")
@click.option(
    "--api-key",
    "keys",
    multiple=True,
    help="Accept this API key. May be given several times. It shows in process lists: better give --api-key-file.",
)
@click.option(
    "--api-key-file",
    "key_files",
    multiple=True,
    metavar="PATH",
    help="Accept the API key in this file, - for the standard input. May be given several times. Default: "
    "PREFECT_SERVER_API_KEY_FILE; or set PREFECT_SERVER_API_KEY to the key itself.",
)
@click.option("--allow-anonymous", is_flag=True, help="Listen beyond this machine although no API key is asked for.")
@click.option(
    "--as-loose-as-server",
    is_flag=True,
    help="Accept claims as Prefect Server does, without comparing versions. For tests: runs may be started twice.",
)
@_services
@_explained
def start(
    host: str,
    port: int,
    database: Path,
    *,
    ephemeral: bool,
    keys: tuple[str, ...],
    key_files: tuple[str, ...],
    allow_anonymous: bool,
    as_loose_as_server: bool,
    **services: float | None,
) -> None:
    """Serve the GraphQL API of Prefect Server until SIGINT or SIGTERM."""
    if ephemeral and click.get_current_context().get_parameter_source("database") is not ParameterSource.DEFAULT:
        raise _Refused("--ephemeral and --database contradict each other: leave one of them out")
    from prefect.agent.domain.cloud.strictness import LOOSE, STRICT  # noqa: PLC0415 - a help text needs no rules

    strictness = LOOSE if as_loose_as_server else STRICT
    accepted = _keys(keys, key_files)
    with _ended_by_signals(), _file(database.expanduser(), ephemeral=ephemeral) as path:
        _serve(host, port, path, accepted, _routine(services), strictness, allow_anonymous=allow_anonymous)


def _keys(given: Iterable[str], files: Iterable[str]) -> frozenset[str]:
    """The API keys of options, else of the environment, each checked."""
    paths = list(files)
    if not paths and not given:
        given = [os.environ[name] for name in (_KEY_VARIABLE,) if os.environ.get(name)]
        paths = [os.environ[name] for name in (f"{_KEY_VARIABLE}_FILE",) if os.environ.get(name)]
    try:
        read = {read_secret(key, "the API key") for key in given} | {
            read_file(path, "--api-key-file") for path in paths
        }
    except ConfigurationError as problem:
        raise _Refused(str(problem)) from None
    return frozenset(read)


@server.command()
@_FILE
@click.option("--name", default="key", show_default=True, help="What the key is for.")
@click.option("--expires", type=click.DateTime(), help="UTC time from which on it is refused.")
@_explained
def create_key(database: Path, name: str, expires: datetime | None) -> None:
    """Make an API key and print it. It is stored as a hash only: this is the one time to see it.

    From the first key on, every request needs one. A running server takes notice at once.
    """
    from prefect.agent.entrypoints.server.keys import add_key, opened_beside  # noqa: PLC0415 - extra "server"

    until = expires.replace(tzinfo=timezone.utc).isoformat(timespec="microseconds") if expires else None
    with opened_beside(database.expanduser()) as connection:
        tenant = connection.execute("SELECT id FROM tenant ORDER BY created LIMIT 1").fetchone()
        if tenant is None:
            raise _Refused("there is no tenant to make a key for: create one first")
        _, key = add_key(connection, tenant[0], name, expires_at=until)
    click.echo(key)
    click.echo("Set PREFECT__CLOUD__API_KEY to it for clients; agents read it from a file: --token-file PATH", err=True)


@server.command()
@_FILE
@_explained
def list_keys(database: Path) -> None:
    """Show the names and ids of the API keys; the keys themselves are not stored."""
    from prefect.agent.entrypoints.server.keys import opened_beside  # noqa: PLC0415 - extra "server"

    with opened_beside(database.expanduser()) as connection:
        rows = connection.execute("SELECT id, created, expires_at, name FROM auth_api_key ORDER BY created").fetchall()
    for row_id, created, expires, name in rows:
        click.echo(f"{row_id}  created {created[:19]}  expires {(expires or 'never')[:19]}  {name}")
    if not rows:
        click.echo("There are no API keys: make one with prefect server create-key", err=True)


@server.command()
@_FILE
@click.argument("key_id", metavar="ID")
@_explained
def revoke_key(database: Path, key_id: str) -> None:
    """Refuse an API key from now on. ID is what list-keys shows."""
    from prefect.agent.entrypoints.server.keys import opened_beside  # noqa: PLC0415 - extra "server"

    with opened_beside(database.expanduser()) as connection:
        gone = connection.execute("DELETE FROM auth_api_key WHERE id = ?", [key_id]).rowcount
    if not gone:
        raise _Refused(f"there is no API key with the id {key_id}: see prefect server list-keys")
    click.echo(f"Revoked {key_id}")


@contextmanager
def _ended_by_signals() -> Generator[None]:
    """Signals end the command, with everything cleaned up: the server hands them on when it has finished."""
    numbers = (signal.SIGINT, signal.SIGTERM)
    before = [signal.signal(number, lambda *_: sys.exit(0)) for number in numbers]
    try:
        yield
    finally:
        for number, handler in zip(numbers, before, strict=True):
            signal.signal(number, handler)


@contextmanager
def _file(path: Path, *, ephemeral: bool) -> Generator[Path]:
    if not ephemeral:
        yield path
        return
    folder = tempfile.mkdtemp(prefix="prefect-cloud-")
    try:
        yield Path(folder) / "cloud.db"
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _serve(
    host: str,
    port: int,
    path: Path,
    keys: frozenset[str],
    routine: "Routine",
    strictness: "Strictness",
    *,
    allow_anonymous: bool,
) -> None:
    from prefect.agent.entrypoints.server.database import Database  # noqa: PLC0415
    from prefect.agent.entrypoints.server.keys import has_keys  # noqa: PLC0415
    from prefect.agent.entrypoints.server.serving import make_server  # noqa: PLC0415

    listening = _listen(host, port)
    try:
        opened = Database(path)
    except BaseException:
        listening.close()
        raise
    try:
        locked = bool(keys) or has_keys(opened)
        if host not in LOOPBACK and not allow_anonymous:
            if not locked:
                raise _Refused(
                    f"whoever reaches {host} could run code on your agents: make a key with prefect server create-key, "
                    "or say --allow-anonymous"
                )
            # A key that nobody knows: also when the last one is revoked, this address does not open up.
            keys |= {secrets.token_hex()}
        _greet(host, listening.getsockname()[1], path, locked=locked, compares=strictness.compares)
        make_server(opened, keys, routine, strictness).run(sockets=[listening])
    finally:
        listening.close()
        opened.close()


def _listen(host: str, port: int) -> socket.socket:
    from prefect.agent.entrypoints.server.serving import listen  # noqa: PLC0415

    try:
        return listen(host, port)
    except OSError as problem:
        why, _, _ = (problem.strerror or str(problem)).partition(" (while")  # added by some versions of Python
        raise _Refused(f"cannot listen at {host}:{port}: {why}; choose another --port") from problem


def _greet(host: str, port: int, path: Path, *, locked: bool, compares: bool) -> None:
    """Where it is, and what to try next."""
    shown = "127.0.0.1" if host in {"0.0.0.0", "::"} else f"[{host}]" if ":" in host else host  # noqa: S104
    address = f"http://{shown}:{port}"
    click.echo(f"Prefect API at {address} (GraphQL; POST), its data in {path}")
    asked = "Every request needs an API key." if locked else "No API key is asked for."
    click.echo(asked if compares else f"{asked} Claims are not compared: as loose as Prefect Server.")
    backend = "cloud" if locked else "server"
    click.echo("To try next, in another terminal:")
    click.echo(f"  export PREFECT__BACKEND={backend} PREFECT__{backend.upper()}__ENDPOINT={address}")
    click.echo('  export PREFECT__CLOUD__API_KEY="$(cat KEY-FILE)"' if locked else "  prefect create project demo")
    click.echo(f"  prefect-agent agent start process --api {address}{' --token-file KEY-FILE' if locked else ''}")

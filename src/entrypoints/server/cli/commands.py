"""``prefect server start``, and the group of all commands of ``prefect server``."""

import os
import shutil
import signal
import sys
import tempfile
from collections.abc import Callable, Generator, Iterable, Mapping
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Final, ParamSpec, TypeVar

import click
from click.core import ParameterSource

from prefect.agent.domain.errors import ConfigurationError
from prefect.agent.domain.secrets import read_secret
from prefect.agent.entrypoints.server.cli.failures import DATABASE, CommandRefused, explained
from prefect.agent.entrypoints.server.cli.keys import COMMANDS
from prefect.agent.entrypoints.server.http.gate import host_name
from prefect.agent.entrypoints.settings.secret_sources import read_file
from prefect.agent.entrypoints.settings.values import at_home

if TYPE_CHECKING:
    from prefect.agent.entrypoints.server.services import Routine

_KEY_VARIABLE: Final = "PREFECT_SERVER_API_KEY"
P = ParamSpec("P")
T = TypeVar("T")

_SERVICES: Final = {
    "scheduler": (150, "Create the runs of schedules ahead of time."),
    "lazarus": (600, "Schedule flow runs again whose process is lost."),
    "zombie-killer": (120, "Retry or fail task runs whose process is lost."),
}
"""Names of the services, with their default periods and their work. The help text does not import services.py."""

_KEPT: Final = {
    "logs": "Delete the logs of flow runs that finished more than so many days ago. Default: keep them.",
    "runs": "Delete flow runs that finished more than so many days ago, with all their data. Default: keep them.",
}

_SILENCE: Final = 600
_YEAR: Final = 31_536_000


def _services(command: Callable[P, T]) -> Callable[P, T]:
    """Add the options of the services to a command."""
    seconds = click.FloatRange(min=0.1, max=_YEAR)
    silence = click.option(
        "--heartbeat-timeout",
        type=seconds,
        default=_SILENCE,
        show_default=True,
        metavar="SECONDS",
        help="Count the process of a flow run as lost after so many seconds without a heartbeat. Flow processes "
        "send one every 30 s.",
    )
    command = silence(command)
    for what, help_text in reversed(_KEPT.items()):
        days = click.option(f"--keep-{what}", type=click.FloatRange(min=1, max=36500), metavar="DAYS", help=help_text)
        command = days(command)
    for name, (period, work) in reversed(_SERVICES.items()):
        option = click.option(f"--{name}-period", type=seconds, default=period, show_default=True, metavar="SECONDS",
                              help="Time from one round of this service to the next.")  # fmt: skip
        command = option(command)
        command = click.option(f"--{name}/--no-{name}", default=True, show_default=True, help=work)(command)
    return command


def _routine(options: Mapping[str, float | None]) -> "Routine":
    from prefect.agent.entrypoints.server.services import Routine  # noqa: PLC0415
    from prefect.agent.entrypoints.server.storage.retention import Retention  # noqa: PLC0415 - extra "server"

    words = {name: name.replace("-", "_") for name in _SERVICES}
    return Routine(
        enabled=frozenset(name for name, word in words.items() if options[word]),
        periods={name: float(options[f"{word}_period"] or 0) for name, word in words.items()},
        lost=timedelta(seconds=float(options["heartbeat_timeout"] or 0)),
        retention=Retention(**{what: timedelta(days=days) for what in _KEPT if (days := options[f"keep_{what}"])}),
    )


def _host_names(_context: click.Context, parameter: click.Parameter, given: tuple[str, ...]) -> tuple[str, ...]:
    try:
        return tuple(map(host_name, given))
    except ValueError as problem:
        raise click.BadParameter(str(problem), param=parameter) from None


@click.group()
def server() -> None:
    """Run an embedded Prefect Cloud for one team or one machine: one process, one file."""


@server.command()
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen at.")
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    default=4200,
    show_default=True,
    help="Port to listen at; 0 takes a free port.",
)
@DATABASE
@click.option("--ephemeral", is_flag=True, help="Use a temporary database that is removed at the end.")
@click.option(
    "--api-key",
    "keys",
    multiple=True,
    help="Accept this API key; repeatable. Process lists show it: prefer --api-key-file.",
)
@click.option(
    "--api-key-file",
    "key_files",
    multiple=True,
    metavar="PATH",
    help="Accept the API key in this file (-: standard input); repeatable. Default: the file named by "
    "PREFECT_SERVER_API_KEY_FILE, or the key in PREFECT_SERVER_API_KEY.",
)
@click.option(
    "--require-key",
    is_flag=True,
    help="Require an API key in every request. The server keeps a key for agents beside the database as key-PORT, "
    "where agents of the same user find it, and a key for people as admin-key-PORT.",
)
@click.option(
    "--allow-host",
    "hosts",
    multiple=True,
    callback=_host_names,
    envvar="PREFECT_SERVER_ALLOW_HOST",
    metavar="NAME",
    help="Answer requests for this host name as well; repeatable.",
)
@click.option("--allow-anonymous", is_flag=True, help="Listen beyond this machine without requiring an API key.")
@click.option(
    "--as-loose-as-server",
    is_flag=True,
    help="Accept claims without comparing versions, as Prefect Server does. For tests only: runs may be started twice.",
)
@click.option(
    "--log-format",
    type=click.Choice(("text", "json")),
    default="text",
    show_default=True,
    help="Format of the log lines on stderr.",
)
@_services
@explained
def start(
    host: str,
    port: int,
    database: Path,
    *,
    ephemeral: bool,
    keys: tuple[str, ...],
    key_files: tuple[str, ...],
    require_key: bool,
    hosts: tuple[str, ...],
    allow_anonymous: bool,
    as_loose_as_server: bool,
    log_format: str,
    **services: float | None,
) -> None:
    """Serve the GraphQL API of Prefect Server until SIGINT or SIGTERM.

    \b
    Examples:
        $ prefect server start
        $ prefect server start --require-key --database flows.db --keep-logs 90
        $ prefect server start --ephemeral --port 0
    """
    if ephemeral and click.get_current_context().get_parameter_source("database") is not ParameterSource.DEFAULT:
        raise CommandRefused("--ephemeral and --database contradict each other: omit one of them")
    from prefect.agent.domain.cloud.strictness import LOOSE, STRICT  # noqa: PLC0415 - a help text needs no rules
    from prefect.agent.entrypoints.server.cli.starting import Start, serve  # noqa: PLC0415 - extra "server"

    accepted = _keys(keys, key_files)
    with _ended_by_signals(), _file(database, ephemeral=ephemeral) as path:
        serve(
            Start(
                host=host,
                port=port,
                path=path,
                routine=_routine(services),
                strictness=LOOSE if as_loose_as_server else STRICT,
                keys=accepted,
                allowed_hosts=hosts,
                allow_anonymous=allow_anonymous,
                require_key=require_key,
                log_format=log_format,
            )
        )


def _keys(given: Iterable[str], files: Iterable[str]) -> frozenset[str]:
    """Return the checked API keys of the options, or of the environment if no option names one."""
    paths = list(files)
    if not paths and not given:
        given = [os.environ[name] for name in (_KEY_VARIABLE,) if os.environ.get(name)]
        paths = [os.environ[name] for name in (f"{_KEY_VARIABLE}_FILE",) if os.environ.get(name)]
    try:
        read = {read_secret(key, "the API key") for key in given} | {
            read_file(path, "--api-key-file") for path in paths
        }
    except ConfigurationError as problem:
        raise CommandRefused(str(problem)) from None
    return frozenset(read)


for _command in COMMANDS:
    server.add_command(_command)


@contextmanager
def _ended_by_signals() -> Generator[None]:
    """Let SIGINT and SIGTERM end the command after clean-up; the server raises them again when it has finished."""
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
        yield at_home(str(path), "--database")
        return
    folder = tempfile.mkdtemp(prefix="prefect-cloud-")
    try:
        yield Path(folder) / "cloud.db"
    finally:
        shutil.rmtree(folder, ignore_errors=True)

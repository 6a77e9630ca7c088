"""``prefect server``: the embedded Cloud as a command."""

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
    "scheduler": (150, "Make the runs of schedules ahead."),
    "lazarus": (600, "Schedule flow runs again whose process is gone."),
    "zombie-killer": (120, "End or retry task runs whose process is gone."),
}
"""Names of the services, their usual periods - those of services.py, which a help text does not import - and work."""

_KEPT: Final = {
    "logs": "Delete the logs of flow runs that finished so many days ago. By default they are kept.",
    "runs": "Delete flow runs that finished so many days ago, with all that belongs to them. By default they are kept.",
}

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
    for what, help_text in reversed(_KEPT.items()):
        days = click.option(f"--keep-{what}", type=click.FloatRange(min=1, max=36500), metavar="DAYS", help=help_text)
        command = days(command)
    for name, (period, work) in reversed(_SERVICES.items()):
        option = click.option(f"--{name}-period", type=seconds, default=period, show_default=True, metavar="SECONDS",
                              help="From one of its rounds to the next.")  # fmt: skip
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
@DATABASE
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
@click.option(
    "--require-key",
    is_flag=True,
    help="Ask for an API key. One for agents is kept beside the database as key-PORT, where those of the same user "
    "find it, and one for people as admin-key-PORT.",
)
@click.option(
    "--allow-host",
    "hosts",
    multiple=True,
    callback=_host_names,
    envvar="PREFECT_SERVER_ALLOW_HOST",
    metavar="NAME",
    help="Answer requests to this host name as well. May be given several times.",
)
@click.option("--allow-anonymous", is_flag=True, help="Listen beyond this machine although no API key is asked for.")
@click.option(
    "--as-loose-as-server",
    is_flag=True,
    help="Accept claims as Prefect Server does, without comparing versions. For tests: runs may be started twice.",
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
    """Serve the GraphQL API of Prefect Server until SIGINT or SIGTERM."""
    if ephemeral and click.get_current_context().get_parameter_source("database") is not ParameterSource.DEFAULT:
        raise CommandRefused("--ephemeral and --database contradict each other: leave one of them out")
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
        raise CommandRefused(str(problem)) from None
    return frozenset(read)


for _command in COMMANDS:
    server.add_command(_command)


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
        yield at_home(str(path), "--database")
        return
    folder = tempfile.mkdtemp(prefix="prefect-cloud-")
    try:
        yield Path(folder) / "cloud.db"
    finally:
        shutil.rmtree(folder, ignore_errors=True)

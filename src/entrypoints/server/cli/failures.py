"""What all commands of ``prefect server`` share: the file, and refusals in one sentence."""

import sys
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Final, ParamSpec, TypeVar

import click

from prefect.agent.domain.errors import ConfigurationError

EX_CONFIG: Final = 78

DATABASE: Final = click.option(
    "--database",
    type=click.Path(dir_okay=False, path_type=Path),
    default=Path("~/.prefect-agent/cloud.db"),
    show_default=True,
    help="SQLite file; made if it is not there.",
)

P = ParamSpec("P")
T = TypeVar("T")


class CommandRefused(Exception):
    """The command cannot be carried out; the message is one sentence that says why and what to do."""


def explained(command: Callable[P, T]) -> Callable[P, T]:
    """A command whose refusals are a sentence and the exit status 78."""

    @wraps(command)
    def run(*args: P.args, **kwargs: P.kwargs) -> T:
        try:
            from prefect.agent.entrypoints.server.storage.database import DatabaseProblem  # noqa: PLC0415 - extra "server"
        except ModuleNotFoundError as missing:
            click.echo(f"{missing.name} is not installed: pip install 'prefect-agent[server]'", err=True)
            sys.exit(EX_CONFIG)
        try:
            return command(*args, **kwargs)
        except (CommandRefused, DatabaseProblem, ConfigurationError) as problem:
            click.echo(str(problem), err=True)
            sys.exit(EX_CONFIG)

    return run

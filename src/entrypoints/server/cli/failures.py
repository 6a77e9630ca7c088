"""What the commands of ``prefect server`` share: the option of the database, and one sentence for each failure."""

import errno
import os
import sys
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Final, ParamSpec, TypeVar

import click

from prefect.agent.domain.errors import ConfigurationError
from prefect.agent.domain.texts import escaped

EX_CONFIG: Final = 78

EXTRAS: Final = frozenset({"graphql", "h11", "jinja2", "starlette", "tzdata", "uvicorn"})
"""Top-level modules of the extra ``server``."""

DATABASE: Final = click.option(
    "--database",
    type=click.Path(dir_okay=False, path_type=Path),
    default=Path("~/.prefect-agent/cloud.db"),
    show_default=True,
    help="SQLite file of the Cloud.",
)

P = ParamSpec("P")
T = TypeVar("T")


class CommandRefused(Exception):
    """The command cannot be carried out; the message is one sentence that says why and what to do."""


def explained(command: Callable[P, T]) -> Callable[P, T]:
    """Return the command with its expected failures turned into one sentence on stderr and the exit status 78."""

    @wraps(command)
    def run(*args: P.args, **kwargs: P.kwargs) -> T:
        from prefect.agent.entrypoints.server.storage.opening import DatabaseProblem  # noqa: PLC0415 - a help needs none

        try:
            return command(*args, **kwargs)
        except ModuleNotFoundError as missing:
            name = (missing.name or "").partition(".")[0]
            if name not in EXTRAS:
                raise
            problem = f"{name} is not installed: pip install 'prefect-agent[server]'"
        except (CommandRefused, DatabaseProblem, ConfigurationError) as refused:
            problem = str(refused)
        except OSError as failed:
            if not failed.filename or failed.errno is None:
                raise
            problem = f"cannot use {os.fsdecode(failed.filename)}: {failed.strerror}{_advice(failed.errno)}"
        click.echo(f"Error: {escaped(problem)}", err=True)
        sys.exit(EX_CONFIG)

    return run


def _advice(number: int) -> str:
    return "; choose another --database" if number in {errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR} else ""

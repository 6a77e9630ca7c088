"""The command line: ``prefect agent ...``, ``prefect server ...``, and ``prefect-agent ...`` for both."""

import platform
import sys
from collections.abc import Sequence
from importlib import import_module, metadata
from typing import Any, Final

import click

from prefect.agent.__main__ import INTERRUPTED
from prefect.agent.entrypoints.cli.agent import agent
from prefect.agent.entrypoints.cli.typed_values import careful
from prefect.agent.entrypoints.runtime import memory, outlet, standard_streams

_LATER: Final = {"server": "prefect.agent.entrypoints.server.cli.commands:server"}
"""Commands whose modules are imported only when called, since most calls start an agent."""


class _Lazy(click.Group):
    """A command group that imports some of its commands when they are called, and leaves Ctrl-C to its caller."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command *ctx*; click itself would end with 1, which means something else for most commands."""
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            sys.exit(INTERRUPTED)

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names of all commands, sorted."""
        return sorted({*super().list_commands(ctx), *_LATER})

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Return the command *cmd_name*; None if there is none."""
        if cmd_name not in _LATER:
            return super().get_command(ctx, cmd_name)
        module, _, name = _LATER[cmd_name].partition(":")
        command: click.Command = getattr(import_module(module), name)
        return careful(command)


@click.group(cls=_Lazy, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="prefect-agent", prog_name="prefect-agent")
def prefect() -> None:
    """Run Prefect flow runs on your own infrastructure."""


@click.group(cls=_Lazy, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="prefect-agent", prog_name="prefect-agent")
def prefect_agent() -> None:
    """Run Prefect flow runs on your own infrastructure: all commands of "prefect agent", and "server"."""


@click.command()
def version() -> None:
    """Print the versions of the agent, of Python and of the operating system.

    \b
    Examples:
        $ prefect version
    """
    click.echo(f"prefect-agent {metadata.version('prefect-agent')}")
    click.echo(f"Python {platform.python_version()}, {platform.system()} {platform.machine()}")


for _group in (prefect, prefect_agent):
    _group.add_command(agent)
    _group.add_command(version)
for _name, _command in agent.commands.items():
    prefect_agent.add_command(_command, _name)
careful(prefect)
careful(prefect_agent)

_PROGRAMS: Final = {"prefect": prefect, "prefect-agent": prefect_agent}


def run(program: str, words: Sequence[str] | None = None) -> None:
    """Run a console script; :mod:`prefect.agent.__main__` is the way in.

    Args:
        program: ``prefect`` or ``prefect-agent``.
        words: Of the command line. Default: this process's own.

    Raises:
        KeyboardInterrupt: A person has interrupted it.
        SystemExit: At the end.
    """
    memory.hide()
    standard_streams.install()
    outlet.install()
    _PROGRAMS[program](words, prog_name=program)

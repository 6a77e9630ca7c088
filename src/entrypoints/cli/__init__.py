"""The command line: ``prefect agent ...`` and ``prefect server ...``."""

from importlib import import_module
from typing import Final

import click

from prefect.agent.entrypoints import memory, outlet
from prefect.agent.entrypoints.cli.agent import agent

_LATER: Final = {"server": "prefect.agent.entrypoints.server.cli:server"}
"""Commands whose modules are loaded when they are used: most starts are of an agent."""


class _Lazy(click.Group):
    """A group some of whose commands are loaded when they are asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """All names."""
        return sorted({*super().list_commands(ctx), *_LATER})

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command of that name."""
        if cmd_name not in _LATER:
            return super().get_command(ctx, cmd_name)
        module, _, name = _LATER[cmd_name].partition(":")
        command: click.Command = getattr(import_module(module), name)
        return command


@click.group(cls=_Lazy, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="prefect-agent", prog_name="prefect-agent")
def prefect() -> None:
    """Run Prefect flow runs on your own infrastructure."""


prefect.add_command(agent)


def main() -> None:
    """Entry point of the console scripts."""
    memory.hide()
    outlet.install()
    prefect(prog_name="prefect")

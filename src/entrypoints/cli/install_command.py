"""A command of ``install``: what follows ``--`` on its command line is for the agent that will be started."""

from collections.abc import Collection
from typing import Any, Final

import click
from click.core import ParameterSource

from prefect.agent.entrypoints.cli.start import start

KEYS: Final = frozenset({"key", "key_file", "flow_run_key"})
"""Options that never go into a command line which others can read, or that ``install`` decides about."""


class InstallCommand(click.Command):
    """Checks those options as the agent itself will, and hands them to the callback as ``agent_options``.

    Args:
        agent: Name of the agent as of ``start``, if there is no option ``--agent``.
        decided: Options of the agent that this command decides about itself.
    """

    def __init__(self, *args: Any, agent: str = "local", decided: Collection[str] = (), **details: Any) -> None:
        super().__init__(*args, **details)
        self._agent, self._decided = agent, decided

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Take what is for this command and check the rest."""
        end = args.index("--") if "--" in args else len(args)
        rest = super().parse_args(ctx, args[:end])
        words = args[end + 1 :]
        ctx.params["agent_options"] = tuple(words)
        if words and not ctx.resilient_parsing:
            self._check(ctx, words)
        return rest

    def collect_usage_pieces(self, ctx: click.Context) -> list[str]:
        """Say that there can be more."""
        return [*super().collect_usage_pieces(ctx), "[-- OPTIONS OF THE AGENT]"]

    def _check(self, ctx: click.Context, words: list[str]) -> None:
        try:
            started = start.make_context("start", [ctx.params.get("agent", self._agent), *words])
        except click.UsageError as problem:
            raise click.UsageError(f"after --: {problem.format_message()}", ctx) from problem
        own = {parameter.name for parameter in self.params}
        for parameter in start.params:
            name = str(parameter.name)
            if started.get_parameter_source(name) is not ParameterSource.COMMANDLINE or name == "platform":
                continue
            if name in own:
                raise click.UsageError(f"give {parameter.opts[0]} before the --", ctx)
            if name in self._decided or name in KEYS:
                raise click.UsageError(f"{parameter.opts[0]} cannot be given here: install sees to it", ctx)

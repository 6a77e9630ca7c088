"""The class of the commands of ``install``: they pass options after ``--`` on to the agent that will be started."""

from collections.abc import Collection
from typing import Any, Final

import click
from click.core import ParameterSource

from prefect.agent.entrypoints.cli.start import start

KEYS: Final = frozenset({"key", "key_file", "flow_run_key"})
"""Options that are not accepted after ``--``, because other users can read the agent's command line."""


class InstallCommand(click.Command):
    """A command that checks the options after ``--`` as the agent will, and passes them on as ``agent_options``.

    Args:
        agent: Name of the agent, as ``start`` takes it, for a command without an option ``--agent``.
        decided: Options of the agent that this command sets itself.
    """

    def __init__(self, *args: Any, agent: str = "local", decided: Collection[str] = (), **details: Any) -> None:
        super().__init__(*args, **details)
        self._agent, self._decided = agent, decided

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parse the arguments before ``--`` for this command; check those after it for the agent."""
        end = args.index("--") if "--" in args else len(args)
        rest = super().parse_args(ctx, args[:end])
        words = args[end + 1 :]
        ctx.params["agent_options"] = tuple(words)
        if words and not ctx.resilient_parsing:
            self._check(ctx, words)
        return rest

    def collect_usage_pieces(self, ctx: click.Context) -> list[str]:
        """Add the agent's options to the usage line."""
        return [*super().collect_usage_pieces(ctx), "[-- OPTIONS OF THE AGENT]"]

    def _check(self, ctx: click.Context, words: list[str]) -> None:
        try:
            started = start.make_context("start", [ctx.params.get("agent", self._agent), *words])
        except click.UsageError as problem:
            raise click.UsageError(f"options after --: {problem.format_message()}", ctx) from problem
        own = {parameter.name for parameter in self.params}
        for parameter in start.params:
            name = str(parameter.name)
            if started.get_parameter_source(name) is not ParameterSource.COMMANDLINE or name == "platform":
                continue
            if name in own:
                raise click.UsageError(f"give {parameter.opts[0]} before --, not after it", ctx)
            if name in self._decided or name in KEYS:
                raise click.UsageError(f"{parameter.opts[0]} cannot be given after --: install sets it itself", ctx)

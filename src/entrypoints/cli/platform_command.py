"""The class of commands that are for every platform, also those of other distributions."""

from collections.abc import Iterable, Iterator
from typing import Final

import click
from click.core import ParameterSource
from click.shell_completion import CompletionItem

from prefect.agent.domain.errors import ConfigurationError
from prefect.agent.entrypoints import platforms
from prefect.agent.entrypoints.cli import options
from prefect.agent.entrypoints.cli.typed_values import check

_DECLARED: Final = "prefect.agent.platform-options"
"""Where a context keeps the options that platforms of other distributions declare."""

_HELP: Final = frozenset({"-h", "--help"})


class PlatformCommand(click.Command):
    """A command for every platform: refuses options of other platforms, and groups its help by platform."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Refuse options of other platforms; remove those that were not given."""
        ctx.meta[_DECLARED] = self._declared(ctx, args)
        rest = super().parse_args(ctx, args)
        if ctx.resilient_parsing:  # a shell asks what could follow: nothing is refused
            return rest
        agent: str = ctx.params["platform"]
        kind = platforms.kind_of(agent)
        _check_platform(ctx, agent, kind)
        for parameter in self.get_params(ctx):
            only = options.platforms_of(parameter)
            if not only or kind in only:
                continue
            ctx.params.pop(str(parameter.name), None)
            if ctx.get_parameter_source(str(parameter.name)) is ParameterSource.COMMANDLINE:
                raise click.UsageError(f"{parameter.opts[0]} is not for the {agent} agent", ctx)
        return rest

    def get_params(self, ctx: click.Context) -> list[click.Parameter]:
        """Return all parameters; those of other distributions take the place of ones that are called alike."""
        declared: list[options.ClickOption] = ctx.meta.get(_DECLARED, [])
        taken = {name for option in declared for name in (option.name, *option.opts)}
        own = super().get_params(ctx)
        return [*(each for each in own if not taken & {each.name, *each.opts}), *declared]

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the options of every agent first, then those of some platforms, then which other platforms exist."""
        sections: dict[tuple[str, ...], list[tuple[str, str]]] = {}
        for parameter in self.get_params(ctx):
            record = parameter.get_help_record(ctx) if isinstance(parameter, click.Option) else None
            if record is not None:
                sections.setdefault(options.platforms_of(parameter), []).append(record)
        for only, records in sections.items():
            with formatter.section(f"Options for {' and '.join(only)}" if only else "Options"):
                formatter.write_dl(records)
        others = [(name, entry.value) for name, entry in sorted(platforms.others().items())]
        if others:
            with formatter.section("Platforms of other packages"):
                formatter.write_dl(others)

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """Return what could follow, without the options of other platforms once one was named."""
        found = super().shell_complete(ctx, incomplete)
        if ctx.get_parameter_source("platform") is ParameterSource.DEFAULT:
            return found
        kind = platforms.kind_of(str(ctx.params.get("platform")))
        foreign = {
            name
            for parameter in self.get_params(ctx)
            if (only := options.platforms_of(parameter)) and kind not in only
            for name in (*parameter.opts, *parameter.secondary_opts)
        }
        return [item for item in found if item.value not in foreign]

    def _declared(self, ctx: click.Context, args: list[str]) -> list[options.ClickOption]:
        """Options of the platform that *args* name; of all platforms if *args* ask for help."""
        others = platforms.others()
        named = [arg for arg in args if arg in others][:1]
        if not named and _HELP & {*args}:
            return [option for name in sorted(others) for option in _without_problems(name)]
        try:
            found = [options.click_option(option, (name,)) for name in named for option in platforms.options_of(name)]
            for option in found:
                check(option)
        except (ConfigurationError, ImportError, AttributeError) as problem:
            if ctx.resilient_parsing:
                return []
            raise click.UsageError(f"the platform {named[0]!r} cannot be used: {problem}", ctx) from problem
        if not ctx.resilient_parsing:
            self._check_names(ctx, found)
        return found

    def _check_names(self, ctx: click.Context, declared: Iterable[click.Option]) -> None:
        """Raise a usage error if a platform declares an option that every agent has."""
        common = [each for each in self.params if not options.platforms_of(each)]
        taken = {name for each in common for name in (each.name, *each.opts)} | _HELP
        for option in declared:
            both = sorted(taken & {str(option.name), *option.opts})
            if both:
                raise click.UsageError(f"the platform declares the option {both[0]}, which every agent has", ctx)


def _without_problems(name: str) -> Iterator[options.ClickOption]:
    """Options of a platform for the help, which another distribution's error must not prevent."""
    try:
        yield from [options.click_option(option, (name,)) for option in platforms.options_of(name)]
    except Exception:  # noqa: BLE001 - code of another distribution
        return


def _check_platform(ctx: click.Context, platform: str, kind: str) -> None:
    """Raise a usage error, which lists the known names, if *kind* is not a platform."""
    names = sorted({*platforms.agent_names(), *platforms.platform_names()})
    if kind not in names:
        raise click.UsageError(f"there is no agent {platform!r}; choose one of {', '.join(names)}", ctx)

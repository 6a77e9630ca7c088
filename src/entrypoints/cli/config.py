"""``prefect agent config``: shows every setting with its origin, and prints the schema of the file of settings."""

import json
import os
import sys
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Final

import click
from click.core import ParameterSource

from prefect.agent.domain.errors import ConfigurationError
from prefect.agent.domain.texts import escaped
from prefect.agent.entrypoints.cli import options
from prefect.agent.entrypoints.cli.completing import PLATFORM
from prefect.agent.entrypoints.cli.platform_command import PlatformCommand
from prefect.agent.entrypoints.cli.start import secrets_of
from prefect.agent.entrypoints.runtime import outlet
from prefect.agent.entrypoints.runtime.exits import exit_for

if TYPE_CHECKING:
    from prefect.agent.entrypoints.settings.overview import SettingRow

OWN: Final = frozenset({"platform", "origin", "output"})
"""Parameters of this command that are none of ``start``."""

STANDS_FOR: Final[Mapping[str, tuple[str, Any]]] = {
    "no_cloud_logs": ("--no-cloud-logs", False),
    "no_wait": ("--start-patience", 0),
    "verbose": ("--log-level", "DEBUG"),
}
"""By switch: the option of the setting that it decides, and the value that it gives."""


@click.group()
def config() -> None:
    """Show the settings of an agent and where they come from, or the schema of their file.

    \b
    Examples:
        $ prefect agent config show --origin
        $ prefect agent config schema > prefect-agent.schema.json
    """


@config.command(cls=PlatformCommand)
@click.argument("platform", default="local", type=PLATFORM, metavar=f"[{options.AGENTS}]")
@click.option("--origin", is_flag=True, help="Say where each value comes from, and which values it shadows.")
@click.option(
    "--output",
    type=click.Choice(("text", "json")),
    default="text",
    show_default=True,
    help="Print text for people or JSON for programs.",
)
@options.common
@options.every_platform
@click.pass_context
def show(ctx: click.Context, /, platform: str, *, origin: bool, output: str, **given: Any) -> None:  # noqa: ARG001
    """Print every setting of an agent that is started with the same options. Secrets are masked.

    The precedence is: option, environment, file, default.

    \b
    Examples:
        $ prefect agent config show --origin
        $ prefect agent config show --config agent.toml --label gpu --output json
    """
    from prefect.agent.entrypoints.settings.configuration import Configuration  # noqa: PLC0415 - as late as can be
    from prefect.agent.entrypoints.settings.doubts import doubts  # noqa: PLC0415
    from prefect.agent.entrypoints.settings.overview import overview  # noqa: PLC0415

    outlet.know(secrets_of(given))
    try:
        found = Configuration.load(os.environ, given["config"])
        outlet.know([*secrets_of(given), *found.secrets()])
        rows = overview(found, _of_the_command_line(ctx), _known(ctx))
    except ConfigurationError as problem:
        outlet.say(f"Error: {problem}", err=True)
        sys.exit(exit_for(problem).code)
    if output == "json":
        outlet.say(json.dumps([_as_json(row) for row in rows], indent=2))
    else:
        outlet.say(*(escaped(line) for row in rows for line in _as_text(row, with_origin=origin)))
    labels = next((row.value for row in rows if row.name == "cloud.agent.labels"), None)
    outlet.say(*(f"Warning: {text}" for text in doubts(found, labels or ())), err=True)


@config.command()
def schema() -> None:
    """Print a JSON Schema of the file of settings: for --config, and for ~/.prefect/config.toml.

    \b
    Examples:
        $ prefect agent config schema > prefect-agent.schema.json
    """
    from prefect.agent.entrypoints.settings.schema import schema as made  # noqa: PLC0415

    outlet.say(json.dumps(made(), indent=2))


def _known(ctx: click.Context) -> Iterable[str]:
    """All long options of ``start`` for this platform that are settings of their own."""
    chosen = (parameter for parameter in ctx.command.get_params(ctx) if parameter.name in ctx.params)
    return [_long(parameter) for parameter in chosen if parameter.name not in {*OWN, *STANDS_FOR, "help"}]


def _of_the_command_line(ctx: click.Context) -> dict[str, Any]:
    """Options that a person gave, by long option, with their values."""
    found: dict[str, Any] = {}
    for parameter in ctx.command.get_params(ctx):
        name = str(parameter.name)
        if name in OWN or name not in ctx.params or ctx.get_parameter_source(name) is not ParameterSource.COMMANDLINE:
            continue
        option, value = STANDS_FOR.get(name, (_long(parameter), ctx.params[name]))
        found[option] = list(value) if isinstance(value, tuple) else value
    return found


def _long(parameter: click.Parameter) -> str:
    return next(option for option in parameter.opts if option.startswith("--"))


def _as_text(row: "SettingRow", *, with_origin: bool) -> Iterator[str]:
    yield f"{row.name} = {_written(row.value)}" if row.places else f"{row.name} is not set"
    if with_origin and row.places:
        shadowed = ", ".join(f"{place.origin} ({_written(place.value)})" for place in row.shadows)
        yield f"    from {row.origin}" + (f"; shadows {shadowed}" if shadowed else "")


def _written(value: Any) -> str:
    if isinstance(value, list | tuple):
        return ", ".join(map(str, value)) or "(none)"
    if isinstance(value, float):
        return f"{value:g}"
    return str(value).lower() if isinstance(value, bool) else str(value)


def _as_json(row: "SettingRow") -> dict[str, Any]:
    shadows = [{"origin": place.origin, "value": place.value} for place in row.shadows]
    return {"setting": row.name, "value": row.value, "origin": row.origin or None, "shadows": shadows}

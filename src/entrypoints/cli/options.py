"""Options of ``prefect agent``, declared once for both spellings."""

import uuid
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any, Final, TypeVar

import click

from prefect.agent.entrypoints import platforms
from prefect.agent.entrypoints.cli.completing import FILE, FOLDER, LABEL
from prefect.agent.entrypoints.cli.logins import API, KEY_FILE, TENANT_ID
from prefect.agent.entrypoints.settings.bounds import SHORTEST_POLL
from prefect.agent.ports.platform_options import PlatformOption

Command = TypeVar("Command", bound=Callable[..., Any])

AGENTS: Final = "|".join(platforms.agent_names())
"""The built-in agents, for help."""

PLATFORMS: Final = "|".join(row.name for row in platforms.BUILT_IN)
"""The built-in platforms, for help."""

_PATHS: Final = {"PATH": FILE, "PREFIX": FILE, "FILE": FILE, "DIR": FOLDER}
"""Placeholders of options whose values a shell completes as paths."""

LEVELS: Final = ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")


class ClickOption(click.Option):
    """An option for the agents of some platforms only.

    Attributes:
        platforms: Names of these platforms.
    """

    def __init__(self, *arguments: Any, platforms: tuple[str, ...], **details: Any) -> None:
        super().__init__(*arguments, **details)
        self.platforms = platforms


def platforms_of(parameter: click.Parameter) -> tuple[str, ...]:
    """Return the names of the platforms that have *parameter*; empty if all platforms have it."""
    return parameter.platforms if isinstance(parameter, ClickOption) else ()


def _checked_uuid(_context: click.Context, _option: click.Parameter, value: str | None) -> str | None:
    try:
        return value and str(uuid.UUID(value))
    except ValueError:
        raise click.BadParameter(f"{value!r:.80} is not a UUID; correct it, or leave it out") from None


_COMMON: Final = (
    click.option(
        "--token",
        "--key",
        "-t",
        "-k",
        "key",
        metavar="KEY",
        help="API key or token. Process lists show it: prefer --token-file, or PREFECT__CLOUD__API_KEY.",
    ),
    KEY_FILE,
    click.option(
        "--flow-run-key",
        metavar="KEY",
        help="Give flow runs this API key instead of the agent's. Process lists show it: prefer --flow-run-key-file, "
        "or PREFECT_AGENT_FLOW_RUN_KEY.",
    ),
    click.option(
        "--flow-run-key-file",
        metavar="PATH",
        type=FILE,
        help="Read the API key for flow runs from this file. Default: PREFECT_AGENT_FLOW_RUN_KEY_FILE, else "
        "PREFECT_AGENT_FLOW_RUN_KEY, else the agent's own key.",
    ),
    API,
    TENANT_ID,
    click.option(
        "--config",
        metavar="FILE",
        type=FILE,
        help="Read settings from this file instead of ~/.prefect/config.toml and backend.toml. Default: "
        "PREFECT_AGENT_CONFIG, else those files.",
    ),
    click.option(
        "--strict",
        is_flag=True,
        default=None,
        help="Exit if a key of a file, or a variable, looks like a setting but is none, or if a label looks like a "
        "list. Default: PREFECT_AGENT_STRICT, else only warn.",
    ),
    click.option(
        "--agent-config-id",
        metavar="ID",
        callback=_checked_uuid,
        help="Id of an agent configuration that Prefect Cloud keeps. Default: none.",
    ),
    click.option("--name", "-n", help="Name of the agent. Default: PREFECT__CLOUD__AGENT__NAME, else agent."),
    click.option(
        "--label",
        "-l",
        "labels",
        type=LABEL,
        multiple=True,
        help="Start flow runs that have this label. Repeatable. Default: PREFECT__CLOUD__AGENT__LABELS, else no label.",
    ),
    click.option(
        "--env",
        "-e",
        "env",
        multiple=True,
        metavar="KEY=VALUE",
        help="Set this environment variable in every flow run. Repeatable. Default: PREFECT__CLOUD__AGENT__ENV_VARS, "
        "else none.",
    ),
    click.option(
        "--policy",
        metavar="open|restricted|FILE",
        type=FILE,
        help="Limit what flow runs may ask the platform for. Default: PREFECT_AGENT_POLICY, else open: no limit, as in "
        "1.4.1.",
    ),
    click.option("--max-polls", type=click.IntRange(min=1), metavar="N", help="Stop after N polls. Default: never."),
    click.option(
        "--dry-run",
        is_flag=True,
        default=None,
        help="Connect and check, claim nothing, and say what the agent would do with each flow run that is due. Wait "
        "for Prefect and the platform only if --start-patience is given.",
    ),
    click.option(
        "--limit",
        type=click.IntRange(min=1),
        metavar="N",
        help="Run at most N flow runs of this agent at the same time. Default: PREFECT_AGENT_LIMIT, else no limit.",
    ),
    click.option(
        "--max-lateness",
        type=click.FloatRange(min=0, min_open=True),
        metavar="S",
        help="Do not start flow runs that are overdue by more than S seconds. Default: PREFECT_AGENT_MAX_LATENESS, "
        "else no limit.",
    ),
    click.option(
        "--poll-interval",
        type=click.FloatRange(min=SHORTEST_POLL),
        metavar="S",
        help="Ask for flow runs at least every S seconds, more often while there is work. Default: "
        "PREFECT_AGENT_POLL_INTERVAL, else 10.",
    ),
    click.option(
        "--drain-timeout",
        type=click.FloatRange(min=0),
        metavar="S",
        help="When stopping, wait up to S seconds for calls that do not return. Default: PREFECT_AGENT_DRAIN_TIMEOUT, "
        "else 30.",
    ),
    click.option(
        "--state-directory",
        metavar="DIR",
        type=FOLDER,
        help="Keep reports in this folder until Prefect confirms them. Default: PREFECT_AGENT_STATE_DIRECTORY, else "
        "systemd's STATE_DIRECTORY, else ~/.prefect-agent.",
    ),
    click.option(
        "--start-patience",
        type=click.FloatRange(min=0),
        metavar="S",
        help="At start, wait up to S seconds until Prefect and the platform answer. Default: "
        "PREFECT_AGENT_START_PATIENCE, else 300.",
    ),
    click.option("--no-wait", is_flag=True, help="At start, exit if Prefect or the platform does not answer at once."),
    click.option(
        "--auth-patience",
        type=click.FloatRange(min=0),
        metavar="S",
        help="Exit if Prefect refuses, for S seconds, a key that it accepted before. Default: "
        "PREFECT_AGENT_AUTH_PATIENCE, else 600.",
    ),
    click.option(
        "--agent-address",
        metavar="URL",
        help="Serve /api/health and /api/poke at this address, for example http://127.0.0.1:8080. Default: "
        "PREFECT__CLOUD__AGENT__AGENT_ADDRESS, else no server.",
    ),
    click.option(
        "--no-cloud-logs",
        is_flag=True,
        help="Do not send flow runs' logs to Prefect. Default: PREFECT__CLOUD__SEND_FLOW_RUN_LOGS, else send them.",
    ),
    click.option(
        "--log-level",
        type=click.Choice(LEVELS, case_sensitive=False),
        help="Log messages of this level and above. Default: PREFECT__CLOUD__AGENT__LEVEL, else INFO.",
    ),
    click.option(
        "--log-format",
        type=click.Choice(("text", "json")),
        default="text",
        show_default=True,
        help="Write the agent's log as lines of text, or as one JSON object per line.",
    ),
    click.option("--verbose", "-v", is_flag=True, help="Log at level DEBUG, and show tracebacks."),
)


def common(command: Command) -> Command:
    """Add the options that every agent has to *command*."""
    return _all(_COMMON, command)


def of_platforms(*names: str) -> Callable[[Command], Command]:
    """Return a decorator that adds the options of these built-in platforms to a command.

    Options that several of them declare alike are one option, for all of those.
    """
    for_platforms: dict[PlatformOption, list[str]] = {}
    for name in names:
        for declared in platforms.options_of(name):
            for_platforms.setdefault(declared, []).append(name)
    made = [partial(_added, declared, tuple(having)) for declared, having in for_platforms.items()]
    return partial(_all, made)


def every_platform(command: Command) -> Command:
    """Add the options of all built-in platforms to *command*, whose argument names the platform."""
    return of_platforms(*(row.name for row in platforms.BUILT_IN))(command)


def click_option(declared: PlatformOption, having: tuple[str, ...]) -> ClickOption:
    """Return an option of the command line for one that the platforms *having* declare."""
    arguments, details = _described(declared)
    return ClickOption(arguments, platforms=having, **details)


def _added(declared: PlatformOption, having: tuple[str, ...], command: Command) -> Command:
    arguments, details = _described(declared)
    return click.option(*arguments, cls=ClickOption, platforms=having, **details)(command)


def _described(declared: PlatformOption) -> tuple[list[str], dict[str, Any]]:
    """What click has to know of an option."""
    is_told = not declared.variable or declared.variable in declared.help
    details: dict[str, Any] = {
        "help": declared.help if is_told else f"{declared.help} Variable: {declared.variable}.",
        "default": declared.default,
    }
    if declared.kind != "flag":
        details.update(type=_type(declared), multiple=declared.repeatable, metavar=declared.placeholder or None)
    elif declared.given:
        details["is_flag"] = True
    else:
        details.update(flag_value=False, type=bool)
    return [*declared.flags, declared.name], details


def _type(declared: PlatformOption) -> Any:
    """The kind of an option in click's words."""
    if declared.choices:
        return click.Choice(declared.choices)
    if declared.kind == "text":
        return _PATHS.get(declared.placeholder, click.STRING)
    is_open = declared.above is not None
    low, high = declared.above if is_open else declared.least, declared.most
    if declared.kind == "number":
        return click.FloatRange(low, high, min_open=is_open)
    return click.IntRange(_whole(low), _whole(high), min_open=is_open)


def _whole(bound: float | None) -> int | None:
    return None if bound is None else int(bound)


def _all(options: Iterable[Callable[[Any], Any]], command: Command) -> Command:
    for option in reversed(tuple(options)):
        command = option(command)
    return command

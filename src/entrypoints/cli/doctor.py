"""``prefect agent doctor``: what an agent started with the same options would find, and what to mend."""

import json
import os
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing
from typing import Any, Final

import attrs
import click

from prefect.agent.domain.model.checks import Blame, Check, Severity, examine, worst
from prefect.agent.domain.texts import escaped
from prefect.agent.entrypoints import platforms
from prefect.agent.entrypoints.cli import options
from prefect.agent.entrypoints.cli.completing import PLATFORM
from prefect.agent.entrypoints.cli.platform_command import PlatformCommand
from prefect.agent.entrypoints.cli.start import secrets_of, with_patience
from prefect.agent.entrypoints.runtime import outlet
from prefect.agent.entrypoints.runtime.exits import ExitCode

EXITS: Final = {
    None: ExitCode.OK,
    Blame.CONFIGURATION: ExitCode.CONFIGURATION,
    Blame.PERMISSION: ExitCode.NO_PERMISSION,
    Blame.CLOUD: ExitCode.CLOUD_UNAVAILABLE,
    Blame.PLATFORM: ExitCode.PLATFORM_UNAVAILABLE,
}
"""The exit code by what the first failed check blames."""

WIDTH: Final = max(len(severity.value) for severity in Severity)


@click.command(cls=PlatformCommand)
@click.argument("platform", default="local", type=PLATFORM, metavar=f"[{options.AGENTS}]")
@click.option("--output", type=click.Choice(("text", "json")), default="text", show_default=True)
@options.common
@options.every_platform
def doctor(platform: str, output: str, **given: Any) -> None:
    """Check everything that an agent with the same options needs, and say what to mend. Changes nothing.

    One line for each check: ok, warn, fail, or unchecked if an earlier one failed that it needs.

    Exits with 0 if nothing failed, else with the exit code with which the agent would end: 78 (configuration), 77
    (permission), 69 (Cloud), 75 (platform), by the first check that failed.

    \b
    Examples:
        $ prefect agent doctor docker --label vm --token-file key
        $ prefect agent doctor kubernetes --namespace flows --output json
    """
    outlet.know(secrets_of(given))
    try:
        found = list(_said(_checks(platforms.class_of(platform), with_patience(given)), output))
    except (click.ClickException, BrokenPipeError):  # click ends quietly if the reader is gone
        raise
    except Exception as bug:  # noqa: BLE001 - a traceback leaves through the outlet only
        outlet.show(bug, f"Bug: {type(bug).__name__}: {bug}")
        sys.exit(ExitCode.SOFTWARE)
    code = EXITS[worst(found)]
    if output == "json":
        outlet.say(json.dumps({"exit_code": int(code), "checks": [_as_json(check) for check in found]}, indent=2))
    sys.exit(code)


def _checks(class_name: str, given: Mapping[str, Any]) -> Iterator[Check]:
    from prefect.agent.entrypoints.cli.examination import Doctor  # noqa: PLC0415 - heavy

    with closing(Doctor(class_name, given, os.environ)) as patient:
        yield from examine(patient.steps())


def _said(checks: Iterable[Check], output: str) -> Iterator[Check]:
    """The same checks; as text each is printed when it is known."""
    for check in checks:
        if output == "text":
            outlet.say(*map(escaped, _as_text(check)))
        yield check


def _as_text(check: Check) -> Iterator[str]:
    yield f"{check.severity.value:<{WIDTH}}  {check.name}: {check.text}"
    for number, remedy in enumerate(check.remedies):
        yield f"{'':<{WIDTH}}  {'or' if number else 'Do'}: {remedy}"


def _as_json(check: Check) -> dict[str, Any]:
    return attrs.asdict(check, value_serializer=lambda _self, _field, value: getattr(value, "value", value))

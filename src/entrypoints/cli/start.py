"""Starts an agent, in both spellings, and turns errors into one sentence and an exit code."""

import os
import threading
from collections.abc import Callable, Mapping
from typing import Any, Final

import click

from prefect.agent.domain.errors import AgentError
from prefect.agent.domain.secrets import passwords_of
from prefect.agent.domain.texts import cut
from prefect.agent.entrypoints import platforms
from prefect.agent.entrypoints.cli import options
from prefect.agent.entrypoints.cli.completing import PLATFORM
from prefect.agent.entrypoints.cli.platform_command import PlatformCommand
from prefect.agent.entrypoints.runtime import logs, outlet
from prefect.agent.entrypoints.runtime.exits import AgentExit, ExitCode, exit_for, leave
from prefect.agent.entrypoints.settings.configuration import Configuration, pairs
from prefect.agent.entrypoints.settings.secret_sources import strip_proxies
from prefect.agent.entrypoints.settings.values import sound

Starter = Callable[..., None]

SIGNALS: Final = """\b
Signals:
  SIGINT, SIGTERM, SIGHUP  drain: claim nothing more, finish what is being
                           started (at most --drain-timeout), send reports,
                           end with 0; flow runs go on
  a second one, more than  end at once with 128 and its number; the next
  a second later           agent here takes over what was left
"""
"""What an agent does on signals, for the end of a help text."""


@click.command(cls=PlatformCommand, epilog=SIGNALS)
@click.argument("platform", default="local", type=PLATFORM, metavar=f"[{options.AGENTS}]")
@options.common
@options.every_platform
def start(platform: str, **given: Any) -> None:
    """Start an agent: it waits for flow runs and starts them. The default platform is local.

    \b
    local, docker   start flow runs as containers of a Docker engine
    process         start flow runs as processes of this machine
    kubernetes      start flow runs as Kubernetes Jobs
    NAME            use the platform NAME, which another package provides

    \b
    Examples:
        $ prefect agent start --token-file key.txt
        $ prefect agent start process --interpreter /opt/flows/bin/python --label gpu --limit 4
        $ prefect agent start kubernetes --namespace flows --dry-run
    """
    _run(platforms.class_of(platform), given)


def starter(class_name: str, own: Callable[[Starter], Starter], help_text: str, spelling: str) -> click.Command:
    """Return the command ``start`` of one kind of agent, in the spelling of 1.x.

    Args:
        class_name: ``module:Class`` of the agent.
        own: Decorator that adds the options of this kind of agent.
        spelling: The command's group, for the example in its help.
    """
    example = f"\b\nExamples:\n    $ prefect agent {spelling} start --token-file key.txt --label vm"

    @click.command("start", help=f"{help_text}\n\n{example}", epilog=SIGNALS)
    @options.common
    @own
    def start_one(**given: Any) -> None:
        _run(class_name, given)

    return start_one


def _run(class_name: str, given: Mapping[str, Any]) -> None:
    """Create the agent and start it; end the process with its exit code."""
    verbose, before = given["verbose"], threading.enumerate()
    end = AgentExit(ExitCode.OK, "")
    outlet.know(secrets_of(given))
    try:
        _start(class_name, with_patience(given))
    except AgentExit as problem:
        end = _shown(problem, verbose=verbose)
    except AgentError as problem:
        end = exit_for(problem)
        end.__cause__ = problem
        _shown(end, verbose=verbose)
    except (click.ClickException, click.Abort, click.exceptions.Exit):
        raise
    except Exception as bug:  # noqa: BLE001 - a traceback leaves through the outlet only
        end = AgentExit(ExitCode.SOFTWARE, f"a bug ended the agent: {type(bug).__name__}; see the traceback above")
        outlet.show(bug, f"Bug: {type(bug).__name__}: {bug}")
        _shown(end, verbose=False)
    leave(end.code, before=before)


def secrets_of(given: Mapping[str, Any]) -> list[str]:
    """Return the secrets on the command line: keys, and the password in the address."""
    return [given["key"] or "", given["flow_run_key"] or "", *passwords_of(given["api"] or "")]


def with_patience(given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options with a start patience of 0 seconds for ``--no-wait``, and for a dry run that names none."""
    options = dict(given)
    no_wait = options.pop("no_wait")
    if not no_wait and not (options["dry_run"] and options["start_patience"] is None):
        return options
    if options["start_patience"]:
        raise click.UsageError("--no-wait and --start-patience exclude each other")
    return {**options, "start_patience": 0.0}


def _start(class_name: str, given: dict[str, Any]) -> None:
    strip_proxies(os.environ)
    configuration = Configuration.load(os.environ, given.pop("config"))
    mask = outlet.know([*secrets_of(given), *configuration.secrets()])
    level = given.pop("log_level") or configuration.level("cloud.agent.level") or "INFO"
    if given.pop("verbose"):
        level = "DEBUG"
    name = sound(given.pop("name") or "", "--name") or configuration.text("cloud.agent.name") or "agent"
    logs.set_up(
        level=int(level) if level.isdecimal() else level.upper(),
        form=given.pop("log_format"),
        agent_name=name,
        secrets=mask,
    )
    if given.pop("dry_run", None):
        from prefect.agent.entrypoints.cli.rehearsing import rehearse  # noqa: PLC0415 - rarely needed

        rehearse(class_name, {**given, "name": name})
        return
    load(class_name)(**chosen(given, configuration, name)).start()


def chosen(given: Mapping[str, Any], configuration: Configuration, name: str) -> dict[str, Any]:
    """Keywords for the class of an agent: of the options *given*, those that were given.

    Raises:
        ConfigurationError: One of them cannot be.
    """
    found = {option: value for option, value in given.items() if value not in {None, ()}}
    found.update(
        configuration=configuration,
        name=name,
        labels=[sound(each, "--label") for each in given["labels"]] or None,
        env_vars=pairs(given["env"]),
    )
    found.pop("env", None)
    found.pop("dry_run", None)  # of a command that starts nothing anyway
    return found


def load(class_name: str) -> Any:
    """The class of an agent: ``module:Class``, or a platform's name."""
    from importlib import import_module  # noqa: PLC0415

    module, colon, attribute = class_name.partition(":")
    if colon:
        return getattr(import_module(module), attribute)
    from prefect.agent.entrypoints.library.kinds import agent_on  # noqa: PLC0415

    return agent_on(class_name)


def _shown(end: AgentExit, *, verbose: bool) -> AgentExit:
    """Print why the agent ends, and return *end*."""
    if verbose:
        outlet.show(end, "The agent ends", level="DEBUG")
    click.echo(f"Error: {outlet.clean(cut(str(end), logs.MAX_MESSAGE))}", err=True)
    return end

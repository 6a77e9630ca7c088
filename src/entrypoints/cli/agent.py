"""``prefect agent``: both spellings of start, and what goes wrong at start as one sentence and an exit code."""

import os
import sys
from collections.abc import Callable, Mapping
from typing import Any, Final

import click

from prefect.agent.domain.errors import AgentError
from prefect.agent.entrypoints import logs
from prefect.agent.entrypoints.cli import install as installing
from prefect.agent.entrypoints.cli import options
from prefect.agent.entrypoints.exits import AgentExit, exit_for
from prefect.agent.entrypoints.settings import Configuration, env_vars, labels

Starter = Callable[..., None]

PLATFORM_OF: Final = {"local": "docker"}
"""Names of agents that are not names of platforms: in the flat form ``local`` is the container agent of 0.x."""


@click.group(invoke_without_command=True)
@click.pass_context
def agent(ctx: click.Context) -> None:
    """Start and install Prefect agents.

    \b
    Usage:
        $ prefect agent [COMMAND]

    \b
    Arguments:
        start       Start an agent: it waits for flow runs and starts each one
        install     Print the configuration that installs an agent

    \b
    Examples:
        $ prefect agent start
        ...an agent runs here and starts flow runs as Docker containers...

    \b
        $ prefect agent start kubernetes --token MY_TOKEN
        ...an agent runs here and starts flow runs as Kubernetes Jobs...

    \b
        $ prefect agent install --token MY_TOKEN --namespace metrics
        ...Kubernetes YAML...
    """
    if ctx.invoked_subcommand is None:
        click.echo(ctx.get_help())


@agent.command()
@click.argument("platform", default="local", metavar="[local|docker|process|kubernetes]")
@options.common
@options.every_platform
@click.pass_context
def start(ctx: click.Context, /, platform: str, **given: Any) -> None:
    """Start an agent. The default, local, starts flow runs as Docker containers.

    \b
    local, docker   Docker containers on this machine's engine
    process         processes of this machine
    kubernetes      Kubernetes Jobs
    or the name of a platform that another package adds.
    """
    kind = PLATFORM_OF.get(platform, platform)
    _check_platform(ctx, platform, kind)
    known = frozenset().union(*options.OWN.values())
    own = options.OWN.get(kind, frozenset())
    for name in sorted(known - own):
        value = given.pop(name)
        if value not in {None, ()}:
            flag = next(p.opts[0] for p in ctx.command.params if p.name == name)
            raise click.UsageError(f"{flag} is not for the {platform} agent", ctx)
    _run(_class(platform), given)


def _spelling(name: str, help_text: str, class_name: str, own: Callable[[Starter], Starter]) -> click.Group:
    """Add the 1.x spelling ``prefect agent NAME start``; return the group ``prefect agent NAME``."""

    @agent.group(name, help=help_text, short_help=help_text)
    def group() -> None:
        pass

    @group.command("start", help=f"Start the agent: {help_text[0].lower()}{help_text[1:]}")
    @options.common
    @own
    def start_one(**given: Any) -> None:
        _run(class_name, given)

    return group


_local = _spelling("local", "Processes of this machine, as in 1.x", "prefect.agent.local:LocalAgent", options.process)
_spelling("docker", "Docker containers", "prefect.agent.docker:DockerAgent", options.docker)
_kubernetes = _spelling("kubernetes", "Kubernetes Jobs", "prefect.agent.kubernetes:KubernetesAgent", options.kubernetes)

agent.add_command(installing.install)
_local.add_command(installing.local, "install")
_kubernetes.add_command(installing.kubernetes, "install")


def _check_platform(ctx: click.Context, platform: str, kind: str) -> None:
    """A name that is no platform is a usage error, with the names there are."""
    from prefect.agent.entrypoints.container import platform_names  # noqa: PLC0415 - costs the container

    names = sorted({"local", "kubernetes", *platform_names()})
    if kind not in names:
        raise click.UsageError(f"there is no agent {platform!r}; there are {', '.join(names)}", ctx)


def _class(platform: str) -> str:
    agents = "prefect.agent.entrypoints.agents"
    known = {"local": "LocalAgent", "docker": "DockerAgent", "process": "ProcessAgent", "kubernetes": "KubernetesAgent"}
    return f"{agents}:{known[platform]}" if platform in known else platform


def _run(class_name: str, given: Mapping[str, Any]) -> None:
    """Make the agent and start it; end the process with its exit code."""
    verbose = given["verbose"]
    try:
        _start(class_name, dict(given))
    except AgentExit as end:
        _leave(end, verbose=verbose)
    except AgentError as trouble:
        _leave(exit_for(trouble), verbose=verbose)


def _start(class_name: str, given: dict[str, Any]) -> None:
    configuration = Configuration.load(os.environ)
    level = given.pop("log_level") or configuration.text("cloud.agent.level") or "INFO"
    if given.pop("verbose"):
        level = "DEBUG"
    name = given.pop("name") or configuration.text("cloud.agent.name") or "agent"
    logs.set_up(level=level.upper(), form=given.pop("log_format"), agent_name=name, secrets=[given["key"] or ""])
    chosen = {option: value for option, value in given.items() if value not in {None, ()}}
    chosen.update(
        name=name,
        labels=labels(configuration, given["labels"]),
        env_vars=env_vars(configuration, given["env"]),
    )
    chosen.pop("env", None)
    _load(class_name)(**chosen).start()


def _load(class_name: str) -> Any:
    from importlib import import_module  # noqa: PLC0415

    module, colon, attribute = class_name.partition(":")
    if colon:
        return getattr(import_module(module), attribute)
    from prefect.agent.entrypoints.agents import Agent  # noqa: PLC0415

    return type("Agent", (Agent,), {"platform_name": class_name, "__doc__": f"Starts flow runs on {class_name}."})


def _leave(end: AgentExit, *, verbose: bool) -> None:
    if verbose:
        import traceback  # noqa: PLC0415

        click.echo("".join(traceback.format_exception(end)), err=True)
    click.echo(f"Error: {end}", err=True)
    sys.exit(end.code)

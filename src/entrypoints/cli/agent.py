"""The command group ``prefect agent``: starts agents, in both spellings, and installs them."""

import click

from prefect.agent.entrypoints.cli import install as installing
from prefect.agent.entrypoints.cli import options
from prefect.agent.entrypoints.cli.config import config
from prefect.agent.entrypoints.cli.doctor import doctor
from prefect.agent.entrypoints.cli.render import render
from prefect.agent.entrypoints.cli.run_flow import run_flow
from prefect.agent.entrypoints.cli.running import pause, resume, status, stop
from prefect.agent.entrypoints.cli.selftest import selftest
from prefect.agent.entrypoints.cli.start import start, starter
from prefect.agent.entrypoints.cli.why import why


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
        install     Print a configuration that installs an agent
        run         Create a flow run, and follow it if you like
        render      Show what a flow run would become
        why         Say why a flow run does not start, and what to do about it
        doctor      Check everything that an agent needs, and say what to mend
        config      Show all settings and where they come from, or the schema of their file
        status      Show what the agents of this machine do
        pause       Let an agent claim nothing new
        resume      Let a paused agent claim again
        stop        Let an agent finish what it has in hand, and end
        selftest    Prove that agents recover on this platform

    \b
    Examples:
        $ prefect agent start
        ...starts an agent that runs flows as Docker containers...

    \b
        $ prefect agent start kubernetes --token MY_TOKEN
        ...starts an agent that runs flows as Kubernetes Jobs...

    \b
        $ prefect agent install --token MY_TOKEN --namespace metrics
        ...prints Kubernetes YAML...

    Process lists show a token given as an option: prefer --token-file PATH, or set PREFECT__CLOUD__API_KEY_FILE.
    """
    if ctx.invoked_subcommand is None:
        click.echo(ctx.get_help())


agent.add_command(start)
agent.add_command(installing.install)
agent.add_command(selftest)
agent.add_command(why)
for command in (status, pause, resume, stop, run_flow, render):
    agent.add_command(command)
agent.add_command(doctor)
agent.add_command(config)


def _spelling(name: str, short_help: str, *commands: click.Command) -> None:
    """Add the group ``prefect agent NAME`` with its commands, which is the spelling of 1.x."""
    group = click.Group(name, help=f"{short_help}.", short_help=short_help)
    for command in commands:
        group.add_command(command, command.name if command.name == "start" else "install")
    agent.add_command(group)


_spelling(
    "local",
    "Run flows as processes of this machine, as in 1.x",
    starter("prefect.agent.local:LocalAgent", options.process, "Start an agent that runs flows as processes."),
    installing.local,
)
_spelling(
    "docker",
    "Run flows as Docker containers",
    starter("prefect.agent.docker:DockerAgent", options.docker, "Start an agent that runs flows as containers."),
)
_spelling(
    "process",
    "Run flows as processes of this machine",
    starter(
        "prefect.agent.entrypoints.library.kinds:ProcessAgent",
        options.process,
        "Start an agent that runs flows as processes.",
    ),
)
_spelling(
    "kubernetes",
    "Run flows as Kubernetes Jobs",
    starter("prefect.agent.kubernetes:KubernetesAgent", options.kubernetes, "Start an agent that runs flows as Jobs."),
    installing.kubernetes,
)

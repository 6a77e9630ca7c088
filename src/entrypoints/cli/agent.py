"""``prefect agent``: start in both spellings, and install."""

import click

from prefect.agent.entrypoints.cli import install as installing
from prefect.agent.entrypoints.cli import options
from prefect.agent.entrypoints.cli.doctor import doctor
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
        install     Print the configuration that installs an agent
        why         Say why a flow run does not start, and what to do about it
        doctor      Check everything that an agent needs, and say what to mend
        selftest    Kill and recover harmless units here, and print what that proves

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

    A token shows in process lists: --token-file PATH, or PREFECT__CLOUD__API_KEY_FILE, keeps it out of them.
    """
    if ctx.invoked_subcommand is None:
        click.echo(ctx.get_help())


agent.add_command(start)
agent.add_command(installing.install)
agent.add_command(selftest)
agent.add_command(why)
agent.add_command(doctor)


def _spelling(name: str, short_help: str, *commands: click.Command) -> None:
    """Add ``prefect agent NAME``, the spelling of 1.x."""
    group = click.Group(name, help=f"{short_help}.", short_help=short_help)
    for command in commands:
        group.add_command(command, command.name if command.name == "start" else "install")
    agent.add_command(group)


_spelling(
    "local",
    "Flow runs as processes of this machine, as in 1.x",
    starter("prefect.agent.local:LocalAgent", options.process, "Start the agent whose flow runs are processes."),
    installing.local,
)
_spelling(
    "docker",
    "Flow runs as Docker containers",
    starter("prefect.agent.docker:DockerAgent", options.docker, "Start the agent whose flow runs are containers."),
)
_spelling(
    "process",
    "Flow runs as processes of this machine",
    starter("prefect.agent.entrypoints.library.kinds:ProcessAgent", options.process, "Start the agent of processes."),
)
_spelling(
    "kubernetes",
    "Flow runs as Kubernetes Jobs",
    starter(
        "prefect.agent.kubernetes:KubernetesAgent", options.kubernetes, "Start the agent whose flow runs are Jobs."
    ),
    installing.kubernetes,
)

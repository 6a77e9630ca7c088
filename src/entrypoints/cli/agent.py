"""The command group ``prefect agent``: starts agents, in both spellings, and installs them."""

import click

from prefect.agent.entrypoints import platforms
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


def _spelling(name: str, units: str, class_name: str, platform: str) -> click.Group:
    """Add the group ``prefect agent NAME`` with ``start``, which is the spelling of 1.x, and return it."""
    title = f"Run flows as {units}"
    group = click.Group(name, help=f"{title}.", short_help=title)
    group.add_command(
        starter(class_name, options.of_platforms(platform), f"Start an agent that runs flows as {units}.", name)
    )
    agent.add_command(group)
    return group


for row in platforms.BUILT_IN:
    made = _spelling(row.name, row.units, row.agent_1x or platforms.class_of(row.name), row.name)
    if row.name == "kubernetes":
        made.add_command(installing.kubernetes, "install")
_spelling("local", "processes of this machine, as in 1.x", "prefect.agent.local:LocalAgent", "process").add_command(
    installing.local, "install"
)

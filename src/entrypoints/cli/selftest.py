"""``prefect agent selftest``: kills and recovers harmless units on the user's own platform."""

import sys
from contextlib import closing
from typing import Any

import click

from prefect.agent.domain.errors import AgentError
from prefect.agent.entrypoints import platforms
from prefect.agent.entrypoints.cli import options
from prefect.agent.entrypoints.cli.completing import FILE, PLATFORM
from prefect.agent.entrypoints.runtime import logs, outlet
from prefect.agent.entrypoints.runtime.exits import ExitCode, exit_for

IMAGE = "busybox:latest"


@click.command()
@click.argument("platform", default="docker", type=PLATFORM, metavar=f"[{options.PLATFORMS}]")
@click.option("--image", metavar="NAME", help=f"Create units from this image, which must have sh. Default: {IMAGE}.")
@click.option(
    "--interpreter", metavar="PATH", type=FILE, help="Python that has Prefect. Default: that of prefect on PATH."
)
@click.option("--namespace", metavar="NAME", help="Create Jobs in this namespace. Default: the agent's namespace.")
@click.option("--verbose", "-v", is_flag=True, help="Show the logs of the self-test's agents.")
def selftest(platform: str, *, verbose: bool, **given: str | None) -> None:
    """Prove that agents recover on this platform: kill agents and harmless units, and print the results.

    The self-test needs no Prefect Cloud: it invents the flow runs, and their units sleep or end at once. It exits with
    0 if every proof holds, else with 70. --image is for docker and kubernetes, --interpreter for process, --namespace
    for kubernetes.

    \b
    Examples:
        $ prefect agent selftest docker
        $ prefect agent selftest process --interpreter /opt/flows/bin/python
    """
    kind = platforms.kind_of(platform)
    chosen = {name: value for name, value in given.items() if value}
    for name in chosen.keys() - {"image", *(option.name for option in platforms.options_of(kind))}:
        raise click.UsageError(f"--{name} is not for {platform}")
    logs.set_up(level="DEBUG" if verbose else "ERROR", agent_name="selftest")
    image = chosen.pop("image", "")
    try:
        ok = _prove(platform, kind, chosen, image)
    except AgentError as problem:
        end = exit_for(problem)
        outlet.say(f"Error: {end}", err=True)
        sys.exit(end.code)
    sys.exit(0 if ok else ExitCode.SOFTWARE)


def _prove(name: str, kind: str, chosen: dict[str, Any], image: str) -> bool:
    from prefect.agent.adapters.system.clock import SystemClock  # noqa: PLC0415 - heavy, as all below
    from prefect.agent.entrypoints.factories import platform_factory  # noqa: PLC0415
    from prefect.agent.entrypoints.library.selftest import SelfTest  # noqa: PLC0415

    with closing(platform_factory(kind)(**chosen)) as platform:
        if image and not platform.traits.runs_images:
            raise click.UsageError(f"--image is not for {name}")
        return SelfTest(platform=platform, clock=SystemClock(), say=outlet.say, image=image or IMAGE)()

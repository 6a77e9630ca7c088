"""``prefect agent selftest``: kill and recover harmless units on the user's own platform."""

import sys
from contextlib import closing
from typing import Any

import click

from prefect.agent.domain.errors import AgentError
from prefect.agent.entrypoints.runtime import logs, outlet
from prefect.agent.entrypoints.runtime.exits import ExitCode, exit_for

IMAGE = "busybox:latest"

FOR = {"interpreter": ("process",), "image": ("docker", "kubernetes"), "namespace": ("kubernetes",)}
"""The platforms that have an option."""


@click.command()
@click.argument("platform", default="docker", metavar="[docker|process|kubernetes]")
@click.option("--image", metavar="NAME", help=f"Make units from this image; it needs sh. Default: {IMAGE}.")
@click.option("--interpreter", metavar="PATH", help="Python that has Prefect. Default: the prefect on PATH.")
@click.option("--namespace", metavar="NAME", help="Namespace for the Jobs. Default: as of the agent.")
@click.option("--verbose", "-v", is_flag=True, help="Show what the agents of the self-test log.")
def selftest(platform: str, *, verbose: bool, **given: str | None) -> None:
    """Kill and recover harmless units on this platform, and print what that proves.

    No Prefect Cloud is asked: the flow runs are made up, and their units sleep or end at once. Exits with 0 if all
    holds, with 70 if something does not. --image is for docker and kubernetes, --interpreter for process.
    """
    kind = {"local": "docker"}.get(platform, platform)
    chosen = {name: value for name, value in given.items() if value}
    for name in chosen:
        if kind in {"docker", "process", "kubernetes"} and kind not in FOR[name]:
            raise click.UsageError(f"--{name} is not for {platform}")
    logs.set_up(level="DEBUG" if verbose else "ERROR", agent_name="selftest")
    image = chosen.pop("image", IMAGE)
    try:
        ok = _prove(kind, chosen, image)
    except AgentError as problem:
        end = exit_for(problem)
        outlet.say(f"Error: {end}", err=True)
        sys.exit(end.code)
    sys.exit(0 if ok else ExitCode.SOFTWARE)


def _prove(kind: str, options: dict[str, Any], image: str) -> bool:
    from prefect.agent.adapters.system.clock import SystemClock  # noqa: PLC0415 - heavy, as all below
    from prefect.agent.entrypoints.factories import platform_factory  # noqa: PLC0415
    from prefect.agent.entrypoints.library.selftest import SelfTest  # noqa: PLC0415

    with closing(platform_factory(kind)(**options)) as platform:
        return SelfTest(platform=platform, clock=SystemClock(), say=outlet.say, image=image)()

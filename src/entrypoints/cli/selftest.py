"""``prefect agent selftest``: kill and recover harmless units on the user's own platform."""

import logging
import sys

import click

from prefect.agent.domain.errors import AgentError
from prefect.agent.entrypoints.exits import ExitCode, exit_for


@click.command()
@click.argument("platform", default="docker", metavar="[docker|process|kubernetes]")
@click.option("--image", metavar="NAME", help="Make units from this image; it needs sh. Docker and Kubernetes only.")
@click.option("--namespace", metavar="NAME", help="Make Jobs in this namespace. Kubernetes only.")
@click.option("--interpreter", metavar="PATH", help="Check for this Python that has Prefect. Processes only.")
def selftest(platform: str, image: str | None, namespace: str | None, interpreter: str | None) -> None:
    """Kill and recover harmless units on this platform, and print what that proves.

    No Prefect Cloud is asked: the flow runs are made up, and their units sleep or end at once. Exits with 0 if all
    holds.
    """
    from prefect.agent.adapters.system.clock import SystemClock  # noqa: PLC0415 - heavy, as all below
    from prefect.agent.entrypoints.container import platform_factory  # noqa: PLC0415
    from prefect.agent.entrypoints.selftest import SelfTest  # noqa: PLC0415

    logging.getLogger("prefect.agent").setLevel(logging.ERROR)
    try:
        kind = {"local": "docker"}.get(platform, platform)
        given = {"namespace": namespace, "interpreter": interpreter}
        made = platform_factory(kind)(**{name: value for name, value in given.items() if value})
        test = SelfTest(platform=made, clock=SystemClock(), say=click.echo, image=image or "busybox:latest")
        ok = test()
        made.close()
    except AgentError as problem:
        end = exit_for(problem)
        click.echo(f"Error: {end}", err=True)
        sys.exit(end.code)
    sys.exit(0 if ok else ExitCode.SOFTWARE)

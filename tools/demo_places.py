"""Where the flow runs of `make demo` can execute: this machine's Docker engine, or processes; demo_cluster has more."""

import os
import platform
import socket
from pathlib import Path
from typing import Any, Final

import attrs
import docker
import host_image
from docker.errors import DockerException

from prefect.agent import DockerAgent, KubernetesAgent, ProcessAgent
from prefect.agent.entrypoints.factories import platform_factory
from prefect.agent.entrypoints.library.kinds import Agent
from prefect.agent.ports.platform import ExecutionPlatform

FLOW: Final = Path(__file__).resolve().with_name("demo_flow.py")
LAB_IMAGE: Final = "lab/prefect:1.4.1"
AGENTS: Final[dict[str, type[Agent]]] = {
    "docker": DockerAgent,
    "kubernetes": KubernetesAgent,
    "process": ProcessAgent,
}


class Unsuitable(Exception):
    """Flow runs cannot execute there; the text says why."""


@attrs.frozen(kw_only=True)
class Place:
    """Where flow runs execute.

    Attributes:
        kind: ``docker``, ``process`` or ``kubernetes``.
        why: Why this one; for people.
        image: An image with Prefect, if images are run.
        options: Keywords of the platform's factory.
        run_config: Its class in Prefect.
        path: Where the flow's file is for the flow runs.
        cloud_host: Where the embedded Cloud is to listen, so that flow runs reach it.
        key: API key that it is to ask for; empty for none.
    """

    kind: str
    why: str
    image: str | None = None
    options: dict[str, Any]
    run_config: str = "UniversalRun"
    path: str = str(FLOW)
    cloud_host: str = "127.0.0.1"
    key: str = attrs.field(default="", repr=False)

    @property
    def units(self) -> str:
        """What flow runs become here; for people."""
        kinds = {"docker": "Docker containers", "kubernetes": "Kubernetes Jobs"}
        return f"{kinds[self.kind]} of {self.image}" if self.kind in kinds else "processes of this machine"

    def agent(self, **keywords: Any) -> Agent:
        """An agent for this place."""
        return AGENTS[self.kind](platform_options=self.options, policy="restricted", **keywords)

    def platform(self) -> ExecutionPlatform:
        """A second way to the same units, to clean up with."""
        made: ExecutionPlatform = platform_factory(self.kind)(**self.options)
        return made


def choose(wanted: str | None, image: str | None, *, prefect_python: Path, folder: Path) -> Place:
    """Decide where to run.

    Args:
        wanted: ``docker``, ``process`` or None for the best there is.
        image: An image with Prefect, if the person named one.
        prefect_python: The environment with the real Prefect.
        folder: For what is to be forgotten.

    Raises:
        Unsuitable: *wanted* is Docker, and that cannot be.
    """
    processes = {"interpreter": str(prefect_python), "directory": str(folder / "units")}
    if wanted == "process":
        return Place(kind="process", why="asked for", options=processes)
    try:
        found, how = _docker(image, prefect_python)
    except Unsuitable as problem:
        if wanted or image:
            raise
        return Place(kind="process", why=str(problem), options=processes)
    why = f"{'asked for' if wanted else 'a Docker engine answers'}; {how}"
    volume = f"{FLOW.parent}:{FLOW.parent}:ro"
    # The host's network: only so do containers reach a Cloud that listens to nobody but this machine.
    options = {"networks": ["host"], "volumes": [volume], "no_pull": True}
    return Place(kind="docker", why=why, image=found, options=options, run_config="DockerRun")


def _docker(image: str | None, prefect_python: Path) -> tuple[str, str]:
    """An image with Prefect on an engine of this machine, and where it is from."""
    try:
        client = docker.from_env(timeout=120)
    except DockerException as problem:
        raise Unsuitable("no Docker engine answers") from problem
    try:
        about = client.info()
        if about.get("Name") != socket.gethostname() or platform.system() != "Linux":
            raise Unsuitable("the Docker engine runs on another machine (or in one of its own), which cannot reach us")
        return _image(client, image, prefect_python)
    except (DockerException, OSError) as problem:
        raise Unsuitable(f"the Docker engine does not answer: {problem}") from problem
    finally:
        client.close()


def _image(client: "docker.DockerClient", image: str | None, prefect_python: Path) -> tuple[str, str]:
    named = image or os.environ.get("PREFECT_AGENT_TEST_IMAGE")
    if named:
        if not client.images.list(name=named):
            raise Unsuitable(f"the Docker engine has no image {named}, and the demo pulls none")
        return named, "the image is the one you named"
    if client.images.list(name=LAB_IMAGE):
        return LAB_IMAGE, "it has an image with Prefect"
    try:
        made = host_image.make("prefect", host_image.prefect_content(prefect_python), client)
    except host_image.CannotMake as problem:
        raise Unsuitable(f"the Docker engine has no image with Prefect, and none could be made: {problem}") from problem
    return made, "the image is made from .venv-prefect, without a registry"

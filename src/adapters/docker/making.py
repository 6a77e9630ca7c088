"""Creates containers, and first the volumes and the image that they need."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from docker.errors import APIError, NotFound
from docker.utils import version_gte

from prefect.agent.adapters.docker import containers
from prefect.agent.adapters.docker.engine import DockerEngine
from prefect.agent.adapters.docker.errors import says, translate_submission, words
from prefect.agent.adapters.docker.images import ImageAbsent, Images, absent
from prefect.agent.adapters.docker.volumes import Volume
from prefect.agent.domain.errors import PlatformUnavailable
from prefect.agent.domain.model.flow_runs import FlowRunId
from prefect.agent.domain.model.run_configs import DockerRun
from prefect.agent.domain.model.submissions import Submission

HOST_GATEWAY_API: Final = "1.41"
"""The API version of engine 20.10, which introduced ``host-gateway``."""


class ContainerMaker:
    """Creates containers from submissions without starting them.

    Args:
        volumes: The agent's volumes, for every container.
        networks: The agent's networks; the first one is the container's own.
    """

    def __init__(
        self, engine: DockerEngine, images: Images, *, volumes: Sequence[Volume], networks: Sequence[str]
    ) -> None:
        self._engine = engine
        self._images = images
        self._volumes = tuple(volumes)
        self._networks = tuple(networks)

    def arguments(self, submission: Submission) -> tuple[dict[str, Any], str]:
        """Return the arguments for the SDK's ``create_container``, and the network mode in them.

        Raises:
            SubmissionRefused: The run config's host_config is invalid.
        """
        host_config, mode = self.host_config(submission)
        config = submission.run_config
        return {
            "name": submission.name,
            "command": list(submission.command),
            "environment": containers.environment(submission, mode),
            "labels": containers.labels(submission),
            "ports": list(config.ports) if isinstance(config, DockerRun) else [],
            "host_config": host_config,
            "detach": True,
        }, mode

    def host_config(self, submission: Submission) -> tuple[dict[str, Any], str]:
        """Return the host config for the engine, and the network mode in it. Raises as :meth:`arguments`."""
        with self._engine.asked("say its version") as client:
            wanted = containers.options(
                submission,
                volumes=self._volumes,
                networks=self._networks,
                has_gateway=version_gte(client.api_version, HOST_GATEWAY_API),
            )
            return containers.host_config(client.create_host_config, wanted), str(wanted.get("network_mode") or "")

    def make_volumes(self) -> None:
        """Create the agent's named volumes that do not exist yet."""
        for volume in self._volumes:
            if volume.is_named:
                with self._engine.asked(f"make the volume {volume.external}") as client:
                    try:
                        client.inspect_volume(volume.external)
                    except NotFound:
                        client.create_volume(volume.external, driver="local", labels={"prefect_created": "true"})

    def make(self, image: str, arguments: dict[str, Any], run_id: FlowRunId) -> str | None:
        """Create a container and return its id; None if its name is taken. Pull the image first if it is absent.

        Raises:
            SubmissionRefused: The engine refuses the container, or the image does not exist.
            PlatformUnavailable: The engine or the registry does not answer as it should.
        """
        try:
            return self._make(image, arguments)
        except ImageAbsent:
            self._images.prepare(image, run_id)
        try:
            return self._make(image, arguments)
        except ImageAbsent as problem:
            raise absent(image, pulled=self._images.is_pulled(image)) from problem

    def _make(self, image: str, arguments: dict[str, Any]) -> str | None:
        """Create a container as :meth:`make` does; raise ImageAbsent if the engine does not have the image."""
        with self._engine.asked(f"make a container of {image}", into=translate_submission) as client:
            try:
                made: object = client.create_container(image, **arguments)
            except APIError as problem:
                if problem.status_code == 409 and says(words(problem), ("already in use",)):
                    return None
                if problem.status_code == 404 and says(words(problem), ("no such image",)):
                    raise ImageAbsent from problem
                raise
        if not isinstance(made, Mapping) or not made.get("Id"):
            raise PlatformUnavailable(f"the Docker engine created a container of {image}, but did not return its id")
        return str(made["Id"])

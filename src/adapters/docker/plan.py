"""What the engine is sent for a submission: the arguments of a container, and the volumes that it needs."""

from collections.abc import Sequence
from typing import Any, Final

import attrs
from docker.errors import NotFound
from docker.utils import version_gte

from prefect.agent.adapters.docker import containers
from prefect.agent.adapters.docker.engine import Engine
from prefect.agent.adapters.docker.merging import bound
from prefect.agent.adapters.docker.volumes import Volume
from prefect.agent.domain.model.run_configs import DockerRun
from prefect.agent.domain.model.units import Submission

HOST_GATEWAY_API: Final = "1.41"
"""The API version of engine 20.10, which introduced ``host-gateway``."""


@attrs.frozen
class Plan:
    """Of one agent.

    Attributes:
        volumes, networks: For every container.
    """

    engine: Engine
    volumes: Sequence[Volume]
    networks: Sequence[str]

    def arguments(self, submission: Submission) -> tuple[dict[str, Any], str]:
        """Arguments for the SDK's ``create_container``, and the network mode among them."""
        wanted, config = self._wanted(submission), submission.run_config
        mode = str(wanted.get("network_mode") or "")
        return {
            "name": submission.name,
            "command": list(submission.command),
            "environment": containers.environment(submission, mode),
            "labels": containers.labels(submission),
            "ports": list(config.ports) if isinstance(config, DockerRun) else [],
            "volumes": [volume.internal for volume in self.volumes if volume.internal in bound(wanted)],
            "host_config": self._sent(wanted),
            "detach": True,
        }, mode

    def host_config(self, submission: Submission) -> dict[str, Any]:
        """The part of it that concerns the host, as the engine is sent it."""
        return self._sent(self._wanted(submission))

    def make_volumes(self) -> None:
        """Make the named volumes that are not there."""
        for volume in self.volumes:
            if volume.is_named:
                with self.engine.asked(f"make the volume {volume.external}") as client:
                    try:
                        client.inspect_volume(volume.external)
                    except NotFound:
                        client.create_volume(volume.external, driver="local", labels={"prefect_created": "true"})

    def _wanted(self, submission: Submission) -> dict[str, Any]:
        with self.engine.asked("say its version") as client:
            has_gateway = version_gte(client.api_version, HOST_GATEWAY_API)
        return containers.options(submission, volumes=self.volumes, networks=self.networks, has_gateway=has_gateway)

    def _sent(self, wanted: dict[str, Any]) -> dict[str, Any]:
        with self.engine.asked("say its version") as client:
            return containers.host_config(client.create_host_config, wanted)

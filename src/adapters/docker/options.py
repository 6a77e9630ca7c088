"""Creates the Docker platform from options: the entry point ``docker`` of ``prefect.agent.platforms``."""

from collections.abc import Sequence
from typing import Any

from prefect.agent.adapters.docker.platform import TIMEOUT, DockerPlatform
from prefect.agent.ports.platform import ExecutionPlatform


def factory(
    *,
    base_url: str | None = None,
    no_pull: bool = False,
    volumes: Sequence[str] = (),
    show_flow_logs: bool = False,
    networks: Sequence[str] = (),
    reg_allow_list: Sequence[str] | None = None,
    docker_client_timeout: int | None = None,
    **unknown: Any,
) -> ExecutionPlatform:
    """Create the Docker platform from options, which :class:`DockerPlatform` explains.

    Raises:
        TypeError: This platform does not have one of the options.
        ConfigurationError: The value of an option is invalid.
    """
    if unknown:
        raise TypeError(f"the docker platform has no option {', '.join(sorted(unknown))}")
    return DockerPlatform(
        base_url=base_url,
        no_pull=no_pull,
        volumes=volumes,
        show_flow_logs=show_flow_logs,
        networks=networks,
        reg_allow_list=reg_allow_list or (),
        docker_client_timeout=TIMEOUT if docker_client_timeout is None else docker_client_timeout,
    )

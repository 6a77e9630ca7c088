"""The container that a submission would become, as the engine would be asked for it."""

from collections.abc import Mapping, Sequence
from typing import Any

from prefect.agent.adapters.docker import containers
from prefect.agent.adapters.docker.engine import DockerEngine
from prefect.agent.adapters.docker.making import ContainerMaker
from prefect.agent.domain.model.submissions import Submission


def create_request(
    engine: DockerEngine, maker: ContainerMaker, submission: Submission, image: str, networks: Sequence[str]
) -> Mapping[str, Any]:
    """Name and body of the create request, and the networks that the container joins before it starts.

    The engine is asked for its version only.

    Raises:
        SubmissionRefused: The run config's host_config is invalid.
        PlatformUnavailable: The engine does not answer.
    """
    arguments, mode = maker.arguments(submission)
    name = arguments.pop("name")
    with engine.asked("say its version") as client:
        body: dict[str, Any] = client.create_container_config(image, **arguments)
    joined = containers.joins(networks, mode)
    return {"name": name, "create": _plain(body), **({"networks": joined} if joined else {})}


def _plain(value: Any) -> Any:
    """The SDK's own kinds of dict and list as plain ones, without what it does not send."""
    if isinstance(value, Mapping):
        return {str(name): _plain(each) for name, each in value.items() if each is not None}
    return [_plain(each) for each in value] if isinstance(value, list | tuple) else value

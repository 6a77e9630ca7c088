"""What a flow run asks of its platform: run config and storage (protocol section 6.2)."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import attrs


def frozen_mapping(value: Mapping[str, Any] | None) -> Mapping[str, Any]:
    """A read-only copy of *value*; None becomes empty."""
    return MappingProxyType(dict(value or {}))


@attrs.frozen(kw_only=True)
class RunConfig:
    """What every run config has: environment variables for the flow run."""

    env: Mapping[str, str] = attrs.field(factory=dict, converter=frozen_mapping)


@attrs.frozen(kw_only=True)
class UniversalRun(RunConfig):
    """Fits every platform; each platform fills in its own defaults. Also stands for no run config at all."""


@attrs.frozen(kw_only=True)
class LocalRun(RunConfig):
    """A process on the agent's machine."""

    working_dir: str | None = None


@attrs.frozen(kw_only=True)
class DockerRun(RunConfig):
    """A container. *host_config*, in the words of the Docker SDK, overrides the agent's own: collections by name."""

    image: str | None = None
    ports: tuple[int, ...] = ()
    host_config: Mapping[str, Any] = attrs.field(factory=dict, converter=frozen_mapping)


@attrs.frozen(kw_only=True)
class KubernetesRun(RunConfig):
    """A Kubernetes Job. Quantities are Kubernetes strings (``500m``, ``1Gi``)."""

    image: str | None = None
    job_template: Mapping[str, Any] | None = None
    job_template_path: str | None = None
    cpu_limit: str | None = None
    cpu_request: str | None = None
    memory_limit: str | None = None
    memory_request: str | None = None
    service_account_name: str | None = None
    image_pull_secrets: tuple[str, ...] = ()
    image_pull_policy: str | None = None


@attrs.frozen(kw_only=True)
class UnusableRunConfig(RunConfig):
    """A run config that cannot be honoured: an unknown type, or contents that make no sense.

    Attributes:
        reason: One sentence for the person who made the flow run.
    """

    reason: str


@attrs.frozen(kw_only=True)
class Storage:
    """Where the flow's code is.

    Attributes:
        type: The backend's name (``Local``, ``Docker``, ``Module``, ``S3``, ...); empty if there is none.
        image: The image that holds the flow, for storage of type ``Docker``; already put together.
        problem: One sentence if the storage made no sense, else None.
    """

    type: str = ""
    image: str | None = None
    problem: str | None = None

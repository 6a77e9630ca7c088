"""Run config and storage say what a flow run asks of its platform (protocol section 6.2)."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import attrs


def frozen_mapping(value: Mapping[str, Any] | None) -> Mapping[str, Any]:
    """Return a read-only copy of *value*; None becomes empty."""
    return MappingProxyType(dict(value or {}))


@attrs.frozen(kw_only=True)
class RunConfig:
    """Every run config has environment variables for the flow run."""

    env: Mapping[str, str] = attrs.field(factory=dict, converter=frozen_mapping)


@attrs.frozen(kw_only=True)
class UniversalRun(RunConfig):
    """A universal run config fits every platform; each platform fills in its own defaults.

    Also stands for no run config at all.
    """


@attrs.frozen(kw_only=True)
class LocalRun(RunConfig):
    """A local run config asks for a process on the agent's machine."""

    working_dir: str | None = None


@attrs.frozen(kw_only=True)
class DockerRun(RunConfig):
    """A Docker run config asks for a container.

    *host_config*, in the terms of the Docker SDK, overrides the agent's own: collections by name.
    """

    image: str | None = None
    ports: tuple[int, ...] = ()
    host_config: Mapping[str, Any] = attrs.field(factory=dict, converter=frozen_mapping)


@attrs.frozen(kw_only=True)
class KubernetesRun(RunConfig):
    """A Kubernetes run config asks for a Job. Quantities are Kubernetes strings (``500m``, ``1Gi``)."""

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
    """A run config that cannot be honoured: its type is unknown, or its contents are invalid.

    Attributes:
        reason: One sentence for the person who made the flow run.
    """

    reason: str


@attrs.frozen(kw_only=True)
class Storage:
    """Storage says where the flow's code is.

    Attributes:
        type: The backend's name (``Local``, ``Docker``, ``Module``, ``S3``, ...); empty if there is none.
        image: The image that holds the flow, for storage of type ``Docker``; already put together.
        problem: One sentence if the storage is invalid, else None.
    """

    type: str = ""
    image: str | None = None
    problem: str | None = None

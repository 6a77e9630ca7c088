"""The platform that runs flows as Docker containers."""

from prefect.agent.adapters.docker.options import factory
from prefect.agent.adapters.docker.platform import DockerPlatform

__all__ = ["DockerPlatform", "factory"]

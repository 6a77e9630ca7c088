"""Flow runs as Docker containers."""

from prefect.agent.adapters.docker.platform import DockerPlatform, factory

__all__ = ["DockerPlatform", "factory"]

"""The 1.x spelling: ``from prefect.agent.docker import DockerAgent``."""

from prefect.agent.entrypoints.library.kinds import DockerAgent

__all__ = ["DockerAgent"]

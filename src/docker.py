"""The 1.x spelling: ``from prefect.agent.docker import DockerAgent``."""

from prefect.agent.entrypoints.agents import DockerAgent

__all__ = ["DockerAgent"]

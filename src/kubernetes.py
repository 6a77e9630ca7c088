"""The 1.x spelling: ``from prefect.agent.kubernetes import KubernetesAgent``."""

from prefect.agent.entrypoints.agents import KubernetesAgent

__all__ = ["KubernetesAgent"]

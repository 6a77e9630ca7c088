"""The 1.x spelling: ``from prefect.agent.kubernetes import KubernetesAgent``."""

from prefect.agent.entrypoints.library.kinds import KubernetesAgent

__all__ = ["KubernetesAgent"]

"""Flow runs as Kubernetes Jobs."""

from prefect.agent.adapters.kubernetes.factory import factory
from prefect.agent.adapters.kubernetes.platform import KubernetesPlatform

__all__ = ["KubernetesPlatform", "factory"]

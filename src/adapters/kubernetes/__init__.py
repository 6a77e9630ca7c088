"""The platform that runs flows as Kubernetes Jobs.

The SDK is imported only when the platform is used: code that only prints a Role needs ``permissions`` alone.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from prefect.agent.adapters.kubernetes.options import factory as factory
    from prefect.agent.adapters.kubernetes.platform import KubernetesPlatform as KubernetesPlatform

_HOMES = {"KubernetesPlatform": "platform", "factory": "options"}

__all__ = ["KubernetesPlatform", "factory"]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)

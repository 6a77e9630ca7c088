"""The platform that runs flows as Docker containers.

It is imported only when it is used: the command line reads ``declared`` alone.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from prefect.agent.adapters.docker.options import factory as factory
    from prefect.agent.adapters.docker.platform import DockerPlatform as DockerPlatform

_HOMES = {"DockerPlatform": "platform", "factory": "options"}

__all__ = ["DockerPlatform", "factory"]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)

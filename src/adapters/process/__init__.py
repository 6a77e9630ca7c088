"""The platform that runs flows as processes of this machine.

It is imported only when it is used: the command line reads ``declared`` alone.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from prefect.agent.adapters.process.platform import ProcessPlatform as ProcessPlatform
    from prefect.agent.adapters.process.platform import factory as factory

_HOMES = {"ProcessPlatform": "platform", "factory": "platform"}

__all__ = ["ProcessPlatform", "factory"]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)

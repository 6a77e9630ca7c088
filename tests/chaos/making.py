"""The few places where the harness meets constructors that may have options or not."""

import inspect
from typing import Any, Final

from prefect.agent.adapters.fakes import InMemoryCloudApi
from prefect.agent.ports.clock import Clock

CAN_BE_LOOSE: Final = "loose" in inspect.signature(InMemoryCloudApi).parameters
"""Whether the in-memory Cloud can be as loose as Prefect Server."""


def memory_cloud(clock: Clock, *, loose: bool) -> InMemoryCloudApi:
    """An in-memory Cloud; loose if it can be."""
    options: dict[str, Any] = {"loose": True} if loose and CAN_BE_LOOSE else {}
    return InMemoryCloudApi(clock, **options)

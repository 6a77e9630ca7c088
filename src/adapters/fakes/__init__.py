"""A Cloud, a platform and a clock in memory: for this package's tests and for yours (``prefect.agent.testing``).

They keep every promise of their ports; ``prefect.agent.adapters.fakes.contracts`` holds the suites that prove it, of
them and of every other adapter. Each has a documented back door for tests, and fails on request.
"""

from prefect.agent.adapters.fakes.clock import ManualClock
from prefect.agent.adapters.fakes.cloud_api import FlowRunView, InMemoryCloudApi
from prefect.agent.adapters.fakes.failing import FailingCloudApi, FailingPlatform
from prefect.agent.adapters.fakes.platform import InMemoryPlatform
from prefect.agent.adapters.fakes.presence import InMemoryPresence

__all__ = [
    "FailingCloudApi",
    "FailingPlatform",
    "FlowRunView",
    "InMemoryCloudApi",
    "InMemoryPlatform",
    "InMemoryPresence",
    "ManualClock",
]

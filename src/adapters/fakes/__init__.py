"""A Cloud, a platform and a clock in memory, for this package's tests and for yours (``prefect.agent.testing``).

The fakes keep every promise of their ports; the suites in ``prefect.agent.adapters.fakes.contracts`` prove it for them
and for every other adapter. Tests change the contents of a fake by its documented methods, or let its calls fail.
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

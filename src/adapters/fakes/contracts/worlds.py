"""Earlier names of the harnesses, for contract tests written before the classes were renamed.

``CloudWorld`` is :class:`CloudHarness`, ``PlatformWorld`` is :class:`PlatformHarness`, ``LooseCloudWorld`` is
:class:`LooseCloudHarness`. Such tests may also go on calling their fixture ``world``.
"""

from prefect.agent.adapters.fakes.contracts.cloud_loose import LooseCloudHarness
from prefect.agent.adapters.fakes.contracts.harnesses import CloudHarness, PlatformHarness, RunSeen, eventually

CloudWorld = CloudHarness
PlatformWorld = PlatformHarness
LooseCloudWorld = LooseCloudHarness

__all__ = ["CloudWorld", "LooseCloudWorld", "PlatformWorld", "RunSeen", "eventually"]

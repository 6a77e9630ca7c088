"""Contract suites: every sentence of a port that can be tested, for every adapter.

Subclass a suite in a test module under a name that begins with ``Test`` and give it the fixtures that its base names;
needs pytest (``pip install prefect-agent[testing]``). What a fixture calls a *world* is a back door that looks at the
backend without the adapter, so that no suite checks a thing with itself::

    from prefect.agent.testing import ExecutionPlatformContract, PlatformWorld

    class TestMyPlatform(ExecutionPlatformContract):
        @pytest.fixture
        def world(self) -> PlatformWorld: ...
"""

from prefect.agent.adapters.fakes.contracts.clock import ClockContract
from prefect.agent.adapters.fakes.contracts.cloud_api import CloudApiContract
from prefect.agent.adapters.fakes.contracts.cloud_loose import LooseClaimContract, LooseCloudContract, LooseCloudWorld
from prefect.agent.adapters.fakes.contracts.platform import ExecutionPlatformContract, PatientPlatformContract
from prefect.agent.adapters.fakes.contracts.reports import ReportStoreContract
from prefect.agent.adapters.fakes.contracts.worlds import CloudWorld, PlatformWorld, RunSeen

__all__ = [
    "ClockContract",
    "CloudApiContract",
    "CloudWorld",
    "ExecutionPlatformContract",
    "LooseClaimContract",
    "LooseCloudContract",
    "LooseCloudWorld",
    "PatientPlatformContract",
    "PlatformWorld",
    "ReportStoreContract",
    "RunSeen",
]

"""Contract suites test every sentence of a port that can be tested, on any adapter.

Subclass a suite in a test module under a name that begins with ``Test`` and define the fixtures that its base names.
The suites need pytest (``pip install prefect-agent[testing]``). A *harness* prepares and inspects the backend without
the adapter, so that no adapter is checked by itself::

    from prefect.agent.testing import ExecutionPlatformContract, PlatformHarness

    class TestMyPlatform(ExecutionPlatformContract):
        @pytest.fixture
        def harness(self) -> PlatformHarness: ...
"""

from prefect.agent.adapters.fakes.contracts.clock import ClockContract
from prefect.agent.adapters.fakes.contracts.cloud_api import CloudApiContract
from prefect.agent.adapters.fakes.contracts.cloud_loose import LooseClaimContract, LooseCloudContract, LooseCloudHarness
from prefect.agent.adapters.fakes.contracts.harnesses import CloudHarness, PlatformHarness, RunSeen
from prefect.agent.adapters.fakes.contracts.platform import ExecutionPlatformContract, PatientPlatformContract
from prefect.agent.adapters.fakes.contracts.reports import ReportStoreContract
from prefect.agent.adapters.fakes.contracts.worlds import CloudWorld, LooseCloudWorld, PlatformWorld

__all__ = [
    "ClockContract",
    "CloudApiContract",
    "CloudHarness",
    "CloudWorld",
    "ExecutionPlatformContract",
    "LooseClaimContract",
    "LooseCloudContract",
    "LooseCloudHarness",
    "LooseCloudWorld",
    "PatientPlatformContract",
    "PlatformHarness",
    "PlatformWorld",
    "ReportStoreContract",
    "RunSeen",
]

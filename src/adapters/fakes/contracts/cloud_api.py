"""The whole contract of every Cloud API."""

from prefect.agent.adapters.fakes.contracts.cloud_claims import ClaimContract
from prefect.agent.adapters.fakes.contracts.cloud_ending import RunEndingContract
from prefect.agent.adapters.fakes.contracts.cloud_explaining import ExplainingContract
from prefect.agent.adapters.fakes.contracts.cloud_fences import FenceContract
from prefect.agent.adapters.fakes.contracts.cloud_limits import LimitContract
from prefect.agent.adapters.fakes.contracts.cloud_ordering import OrderingContract
from prefect.agent.adapters.fakes.contracts.cloud_reading import ReadingContract
from prefect.agent.adapters.fakes.contracts.cloud_writing import WritingContract


class CloudApiContract(
    ReadingContract,
    ClaimContract,
    FenceContract,
    RunEndingContract,
    LimitContract,
    WritingContract,
    ExplainingContract,
    OrderingContract,
):
    """A subclass defines the fixture ``harness``: a :class:`CloudHarness` without flow runs."""

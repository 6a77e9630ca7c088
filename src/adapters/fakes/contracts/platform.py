"""What every execution platform promises: the whole suite."""

from prefect.agent.adapters.fakes.contracts.platform_creating import CreatingContract
from prefect.agent.adapters.fakes.contracts.platform_ending import UnitEndingContract
from prefect.agent.adapters.fakes.contracts.platform_seeing import SeeingContract
from prefect.agent.adapters.fakes.contracts.platform_waiting import WaitingContract


class ExecutionPlatformContract(CreatingContract, SeeingContract, UnitEndingContract):
    """Give the fixture ``harness``: a :class:`PlatformHarness` without units."""


class PatientPlatformContract(ExecutionPlatformContract, WaitingContract):
    """The same for a platform that accepts units which may never start; its harness has ``cannot_start``."""

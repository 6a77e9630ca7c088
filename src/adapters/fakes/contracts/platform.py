"""The whole contract of every execution platform."""

from prefect.agent.adapters.fakes.contracts.platform_creating import CreatingContract
from prefect.agent.adapters.fakes.contracts.platform_ending import UnitEndingContract
from prefect.agent.adapters.fakes.contracts.platform_previewing import PreviewingContract
from prefect.agent.adapters.fakes.contracts.platform_seeing import SeeingContract
from prefect.agent.adapters.fakes.contracts.platform_waiting import WaitingContract


class ExecutionPlatformContract(CreatingContract, SeeingContract, UnitEndingContract, PreviewingContract):
    """A subclass defines the fixture ``harness``: a :class:`PlatformHarness` without units."""


class PatientPlatformContract(ExecutionPlatformContract, WaitingContract):
    """This contract is for a platform that accepts units which may never start; its harness has ``cannot_start``."""

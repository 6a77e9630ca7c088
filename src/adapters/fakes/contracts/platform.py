"""What every execution platform promises: the whole suite."""

from prefect.agent.adapters.fakes.contracts.platform_creating import CreatingContract
from prefect.agent.adapters.fakes.contracts.platform_ending import UnitEndingContract
from prefect.agent.adapters.fakes.contracts.platform_previewing import PreviewingContract
from prefect.agent.adapters.fakes.contracts.platform_seeing import SeeingContract
from prefect.agent.adapters.fakes.contracts.platform_waiting import WaitingContract


class ExecutionPlatformContract(CreatingContract, SeeingContract, UnitEndingContract, PreviewingContract):
    """Give the fixture ``world``: a :class:`PlatformWorld` without units."""


class PatientPlatformContract(ExecutionPlatformContract, WaitingContract):
    """The same for a platform that accepts units which may never start; its world has ``cannot_start``."""

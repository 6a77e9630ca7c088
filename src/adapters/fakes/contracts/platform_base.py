"""Fixtures and helpers that all parts of the platforms' contract use."""

import pytest

from prefect.agent.adapters.fakes.contracts.harnesses import PlatformHarness, eventually
from prefect.agent.domain.model.submissions import Submission
from prefect.agent.domain.model.units import Unit
from prefect.agent.ports.platform import ExecutionPlatform


class PlatformContractBase:
    """A subclass defines the fixture ``harness``: a :class:`PlatformHarness` without units."""

    @pytest.fixture
    def harness(self, world: PlatformHarness) -> PlatformHarness:
        """Return the harness of this suite: a subclass defines this fixture."""
        return world

    @pytest.fixture
    def world(self) -> PlatformHarness:
        """Return the harness of a suite that defines the fixture by its earlier name."""
        raise NotImplementedError("define the fixture harness in this suite")

    @pytest.fixture
    def platform(self, harness: PlatformHarness) -> ExecutionPlatform:
        """Return the adapter under test."""
        return harness.platform()


def names(platform: ExecutionPlatform, harness: PlatformHarness) -> list[str]:
    """Return the names of all units of this test, sorted."""
    return sorted(unit.name for unit in platform.units() if harness.is_own(unit.name))


def started(platform: ExecutionPlatform, harness: PlatformHarness, *, stubborn: bool = False) -> Submission:
    """Create a unit that executes until it is stopped; return its submission."""
    submission = harness.submission(stubborn=stubborn)
    platform.create(submission)
    eventually(lambda: harness.starts(submission.name), f"{submission.name} is started")
    return submission


def ended(
    platform: ExecutionPlatform, harness: PlatformHarness, *, exit_code: int = 0, prints: str = "", padding: int = 0
) -> tuple[Submission, Unit]:
    """Create a unit that ends by itself; return its submission and the unit."""
    submission = harness.submission(exit_code=exit_code, prints=prints, padding=padding)
    platform.create(submission)
    harness.let_end(submission)
    return submission, has_ended(platform, submission.name)


def has_ended(platform: ExecutionPlatform, name: str) -> Unit:
    """Return the unit once it has ended."""

    def check() -> bool:
        unit = platform.unit(name)
        return unit is not None and unit.status.has_ended

    eventually(check, f"{name} has ended")
    unit = platform.unit(name)
    assert unit is not None
    return unit


def starts(platform: ExecutionPlatform, harness: PlatformHarness, name: str) -> int:
    """Return how often the unit has been started, after other units came and went: any extra start shows by then."""
    for _ in range(3):
        other, _ = ended(platform, harness)
        platform.remove(other.name)
    return harness.starts(name)

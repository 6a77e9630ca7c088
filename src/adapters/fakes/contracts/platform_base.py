"""What the parts of the platforms' suite share."""

import pytest

from prefect.agent.adapters.fakes.contracts.worlds import PlatformWorld, eventually
from prefect.agent.domain.model.submissions import Submission
from prefect.agent.domain.model.units import Unit
from prefect.agent.ports.platform import ExecutionPlatform


class PlatformContractBase:
    """Give the fixture ``world``: a :class:`PlatformWorld` without units."""

    @pytest.fixture
    def world(self) -> PlatformWorld:
        """The back door."""
        raise NotImplementedError

    @pytest.fixture
    def platform(self, world: PlatformWorld) -> ExecutionPlatform:
        """The adapter under test."""
        return world.platform()


def names(platform: ExecutionPlatform, world: PlatformWorld) -> list[str]:
    """Names of all units of this test, sorted."""
    return sorted(unit.name for unit in platform.units() if world.is_own(unit.name))


def started(platform: ExecutionPlatform, world: PlatformWorld, *, stubborn: bool = False) -> Submission:
    """The submission of a unit that executes until it is stopped."""
    submission = world.submission(stubborn=stubborn)
    platform.create(submission)
    eventually(lambda: world.starts(submission.name), f"{submission.name} is started")
    return submission


def ended(
    platform: ExecutionPlatform, world: PlatformWorld, *, exit_code: int = 0, prints: str = "", padding: int = 0
) -> tuple[Submission, Unit]:
    """The submission of a unit that has ended by itself, and the unit."""
    submission = world.submission(exit_code=exit_code, prints=prints, padding=padding)
    platform.create(submission)
    world.let_end(submission)
    return submission, has_ended(platform, submission.name)


def has_ended(platform: ExecutionPlatform, name: str) -> Unit:
    """The unit, once it has ended."""

    def check() -> bool:
        unit = platform.unit(name)
        return unit is not None and unit.status.has_ended

    eventually(check, f"{name} has ended")
    unit = platform.unit(name)
    assert unit is not None
    return unit


def starts(platform: ExecutionPlatform, world: PlatformWorld, name: str) -> int:
    """How often the unit has been started, once others have come and gone: a start too many shows by then."""
    for _ in range(3):
        other, _ = ended(platform, world)
        platform.remove(other.name)
    return world.starts(name)

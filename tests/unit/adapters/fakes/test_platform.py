"""The back door of the platform in memory: it makes no worlds that cannot exist."""

from datetime import datetime, timezone

import pytest

from prefect.agent.adapters.fakes import FailingPlatform, InMemoryPlatform
from prefect.agent.domain.errors import PlatformUnavailable
from prefect.agent.domain.model.submissions import Submission
from prefect.agent.domain.model.units import Evidence, Unit, UnitStatus
from support.builders import an_id

NOW = datetime(2026, 1, 2, tzinfo=timezone.utc)
WAITS = Evidence(reason="Unschedulable", message="no node")
SUBMISSION = Submission(name="unit-1", flow_run_id=an_id(1), attempt="1", command=("true",))


@pytest.fixture
def platform() -> InMemoryPlatform:
    """A place where units wait until they are told to begin."""
    return InMemoryPlatform(pending=True)


def seen(platform: InMemoryPlatform) -> Unit:
    """The unit."""
    unit = platform.unit(SUBMISSION.name)
    assert unit is not None
    return unit


def test_a_unit_waits_until_it_begins(platform: InMemoryPlatform) -> None:
    """What it waited for is over then."""
    platform.create(SUBMISSION)
    platform.wait("unit-1", "Unschedulable", "no node", NOW)
    assert (seen(platform).evidence, seen(platform).hopeless_at) == (WAITS, NOW)

    platform.begin("unit-1")

    assert (seen(platform).evidence, seen(platform).hopeless_at) == (None, None)


def test_a_wait_may_come_before_its_unit() -> None:
    """For units that are to wait from the beginning, on a place where others begin at once."""
    platform = InMemoryPlatform()
    platform.wait("unit-1", "InvalidImageName", hopeless_at=NOW)

    platform.create(SUBMISSION)

    assert (seen(platform).status, seen(platform).hopeless_at) == (UnitStatus.PENDING, NOW)


def test_only_a_pending_unit_waits(platform: InMemoryPlatform) -> None:
    """One that executes waits for nothing."""
    platform.create(SUBMISSION)
    platform.begin("unit-1")

    with pytest.raises(ValueError, match="unit-1 is running"):
        platform.wait("unit-1", "Unschedulable")


def test_a_pending_unit_that_is_stopped_has_no_exit_code(platform: InMemoryPlatform) -> None:
    """It had no process."""
    platform.create(SUBMISSION)
    platform.wait("unit-1", "Unschedulable", hopeless_at=NOW)

    platform.stop("unit-1", grace=0)

    assert seen(platform).status is UnitStatus.FAILED
    assert seen(platform).evidence == Evidence(reason="Stopped")
    assert seen(platform).hopeless_at is None


def test_an_account_goes_with_its_unit(platform: InMemoryPlatform) -> None:
    """Removed or vanished."""
    for leave in (platform.remove, platform.vanish):
        platform.create(SUBMISSION)
        platform.tell("unit-1", "a table")
        platform.stop("unit-1", grace=0)
        assert platform.account("unit-1") == "a table"
        leave("unit-1")
        assert platform.account("unit-1") == ""


def test_an_account_fails_on_request(platform: InMemoryPlatform) -> None:
    """Of the fake, and of any other platform in the wrapper."""
    platform.create(SUBMISSION)
    platform.tell("unit-1", "a table")
    for each in (platform, FailingPlatform(platform)):
        each.fail_next("account", PlatformUnavailable("no"))
        with pytest.raises(PlatformUnavailable):
            each.account("unit-1")
        assert each.account("unit-1") == "a table"
        assert each.calls[-1] == "account"

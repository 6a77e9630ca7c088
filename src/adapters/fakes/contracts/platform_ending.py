"""The contract of stopping and removing units."""

import time

import pytest

from prefect.agent.adapters.fakes.contracts.harnesses import PlatformHarness, eventually
from prefect.agent.adapters.fakes.contracts.platform_base import (
    PlatformContractBase,
    ended,
    names,
    started,
)
from prefect.agent.adapters.fakes.contracts.platform_seeing import ABSENT
from prefect.agent.domain.errors import PlatformUnavailable
from prefect.agent.ports.platform import ExecutionPlatform


class UnitEndingContract(PlatformContractBase):
    """These tests check ``stop`` and ``remove``."""

    def test_a_stopped_unit_no_longer_executes(self, platform: ExecutionPlatform, harness: PlatformHarness) -> None:
        """When stop returns, nothing of the unit executes; it stays visible with evidence."""
        submission = started(platform, harness)

        platform.stop(submission.name, grace=10)

        assert not harness.is_executing(submission.name)
        unit = platform.unit(submission.name)
        assert unit is not None
        assert unit.status.has_ended
        assert unit.evidence is not None
        assert names(platform, harness) == [submission.name]

    def test_a_stubborn_unit_is_killed(self, platform: ExecutionPlatform, harness: PlatformHarness) -> None:
        """A unit that does not end when asked to is killed once its grace is over."""
        submission = started(platform, harness, stubborn=True)
        before = time.monotonic()

        platform.stop(submission.name, grace=0.5)

        assert not harness.is_executing(submission.name)
        assert time.monotonic() - before < 25
        unit = platform.unit(submission.name)
        assert unit is not None
        assert unit.status.has_ended

    def test_stop_may_be_repeated(self, platform: ExecutionPlatform, harness: PlatformHarness) -> None:
        """A unit that was stopped, by this agent or another, or never existed: stopping it is a success."""
        submission = started(platform, harness)

        platform.stop(submission.name, grace=10)
        before = platform.unit(submission.name)
        harness.platform().stop(submission.name, grace=10)
        platform.stop(ABSENT, grace=10)

        assert platform.unit(submission.name) == before

    def test_stopping_an_ended_unit_keeps_its_evidence(
        self, platform: ExecutionPlatform, harness: PlatformHarness
    ) -> None:
        """A unit that ended by itself stays as it ended."""
        submission, unit = ended(platform, harness, exit_code=3)

        platform.stop(submission.name, grace=1)

        assert platform.unit(submission.name) == unit

    def test_stop_ends_only_its_unit(self, platform: ExecutionPlatform, harness: PlatformHarness) -> None:
        """Stopping a unit lets other units go on."""
        first, second = started(platform, harness), started(platform, harness)

        platform.stop(first.name, grace=10)

        assert harness.is_executing(second.name)
        other = platform.unit(second.name)
        assert other is not None
        assert not other.status.has_ended

    def test_stop_ends_a_child_that_was_detached(self, platform: ExecutionPlatform, harness: PlatformHarness) -> None:
        """When stop returns, no process of the unit executes: also none in a session of its own without descriptors."""
        submission = harness.submission(detaches=True)
        platform.create(submission)
        eventually(lambda: harness.is_detached(submission.name), "it has detached a child")

        platform.stop(submission.name, grace=10)

        assert not harness.is_detached(submission.name)
        assert not harness.is_executing(submission.name)
        assert has_status_ended(platform, submission.name)

    def test_a_unit_has_not_ended_while_a_child_of_it_executes(
        self, platform: ExecutionPlatform, harness: PlatformHarness
    ) -> None:
        """The command has ended, a child that it detached has not: the unit executes, for every agent on the place.

        A platform may as well end the child with the command.
        """
        submission = harness.submission(detaches=True, exit_code=0)
        platform.create(submission)
        harness.let_end(submission)
        eventually(
            lambda: harness.is_detached(submission.name) or has_status_ended(platform, submission.name), "it is left"
        )

        for each in (platform, harness.platform()):
            says_ended = has_status_ended(each, submission.name)
            is_removed = not says_ended and _is_removed(each, submission.name)
            if harness.is_detached(submission.name):  # looked at last: the platform may end the child at any moment
                assert not says_ended
                assert not is_removed
            if is_removed:
                return
            each.create(submission)
        harness.platform().stop(submission.name, grace=10)

        assert not harness.is_detached(submission.name)
        assert has_status_ended(platform, submission.name)
        assert harness.starts(submission.name) == 1

    def test_a_removed_unit_is_forgotten(self, platform: ExecutionPlatform, harness: PlatformHarness) -> None:
        """An ended unit that is removed is gone for every agent, with its output; others stay."""
        submission, _ = ended(platform, harness, prints="something")
        other, _ = ended(platform, harness)

        platform.remove(submission.name)

        assert platform.unit(submission.name) is None
        assert names(harness.platform(), harness) == [other.name]
        assert platform.logs_tail(submission.name) == ""

    def test_remove_may_be_repeated(self, platform: ExecutionPlatform, harness: PlatformHarness) -> None:
        """An absent unit is a success, whether it was removed or never existed."""
        submission, _ = ended(platform, harness)

        platform.remove(submission.name)
        platform.remove(submission.name)
        harness.platform().remove(submission.name)
        platform.remove(ABSENT)

        assert names(platform, harness) == []

    def test_a_unit_that_executes_is_not_removed(self, platform: ExecutionPlatform, harness: PlatformHarness) -> None:
        """Removing a unit that still executes is refused, and leaves it alone."""
        submission = started(platform, harness)

        with pytest.raises(PlatformUnavailable):
            platform.remove(submission.name)

        assert harness.is_executing(submission.name)
        assert names(platform, harness) == [submission.name]

    def test_a_stopped_unit_can_be_removed(self, platform: ExecutionPlatform, harness: PlatformHarness) -> None:
        """Stop, then remove: nothing is left."""
        submission = started(platform, harness)

        platform.stop(submission.name, grace=10)
        platform.remove(submission.name)

        assert names(platform, harness) == []
        assert not harness.is_executing(submission.name)


def has_status_ended(platform: ExecutionPlatform, name: str) -> bool:
    """Return whether the unit has ended, read alone and in the list of all."""
    one = platform.unit(name)
    (listed,) = (unit for unit in platform.units() if unit.name == name)
    assert one is not None
    return one.status.has_ended and listed.status.has_ended


def _is_removed(platform: ExecutionPlatform, name: str) -> bool:
    """Remove a unit; return False if the platform says that it still executes."""
    try:
        platform.remove(name)
    except PlatformUnavailable:
        return False
    return True

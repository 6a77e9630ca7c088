"""The contract of units that were accepted but do not start: they say what they wait for, and until when."""

from collections.abc import Callable
from datetime import timedelta

import pytest

from prefect.agent.adapters.fakes.contracts.harnesses import PlatformHarness, eventually
from prefect.agent.adapters.fakes.contracts.platform_base import PlatformContractBase, names
from prefect.agent.domain.model.submissions import Submission
from prefect.agent.domain.model.units import Unit, UnitStatus
from prefect.agent.domain.wait_kinds import WaitKind
from prefect.agent.ports.platform import ExecutionPlatform

PATIENCE = 60.0
"""Seconds that a platform may take to find out that a unit cannot start."""


class WaitingContract(PlatformContractBase):
    """Units that cannot start, on platforms that have such; part of ``PatientPlatformContract``."""

    @pytest.fixture
    def stuck(self, harness: PlatformHarness) -> Submission:
        """Return a submission whose unit never starts."""
        submission = harness.cannot_start()
        assert submission is not None, "give the harness cannot_start, or take ExecutionPlatformContract"
        return submission

    def test_a_unit_that_cannot_start_says_why(
        self, platform: ExecutionPlatform, harness: PlatformHarness, stuck: Submission
    ) -> None:
        """The unit is pending, names a reason, and becomes hopeless at a time in UTC; nothing of it executes.

        The kind of its wait is right, or is not said.
        """
        platform.create(stuck)

        unit = waits(platform, stuck.name, lambda unit: unit.hopeless_at is not None, "it is given up some time")

        assert unit.evidence is not None
        assert unit.evidence.reason
        assert unit.evidence.exit_code is None
        assert unit.evidence.wait_kind in {harness.wait_kind, WaitKind.UNKNOWN}
        assert all(remedy and remedy.isprintable() for remedy in unit.evidence.remedies)
        assert unit.hopeless_at is not None
        assert unit.hopeless_at.utcoffset() == timedelta(0)
        assert unit.ended_at is None
        assert names(platform, harness) == [stuck.name]
        assert not harness.is_executing(stuck.name)
        assert harness.starts(stuck.name) == 0

    def test_create_again_returns_the_one_that_waits(
        self, platform: ExecutionPlatform, harness: PlatformHarness, stuck: Submission
    ) -> None:
        """A second create, by this agent or another, changes nothing."""
        first = platform.create(stuck)

        again = [platform.create(stuck), harness.platform().create(stuck)]

        assert [unit.id for unit in again] == [first.id, first.id]
        assert names(platform, harness) == [stuck.name]

    def test_a_unit_that_cannot_start_can_be_stopped(
        self, platform: ExecutionPlatform, harness: PlatformHarness, stuck: Submission
    ) -> None:
        """Stopping the unit ends or removes it; it never executed, and does not wait for anything any more."""
        platform.create(stuck)
        waits(platform, stuck.name, lambda unit: unit.evidence is not None, "it says what it waits for")

        platform.stop(stuck.name, grace=0)

        unit = platform.unit(stuck.name)
        assert unit is None or unit.status is UnitStatus.FAILED
        assert unit is None or unit.hopeless_at is None
        assert unit is None or unit.evidence is None or unit.evidence.wait_kind is WaitKind.UNKNOWN
        platform.stop(stuck.name, grace=0)
        platform.remove(stuck.name)
        assert names(platform, harness) == []
        assert harness.starts(stuck.name) == 0

    def test_a_unit_that_cannot_start_has_no_output(self, platform: ExecutionPlatform, stuck: Submission) -> None:
        """While the unit waits its output is empty, and its account, if there is one, is text."""
        platform.create(stuck)
        waits(platform, stuck.name, lambda unit: unit.evidence is not None, "it says what it waits for")

        assert platform.logs_tail(stuck.name) == ""
        assert isinstance(platform.account(stuck.name), str)

    def test_a_unit_that_cannot_start_may_be_deleted(
        self, platform: ExecutionPlatform, harness: PlatformHarness, stuck: Submission
    ) -> None:
        """A unit that is deleted externally is absent."""
        platform.create(stuck)

        harness.vanish(stuck.name)

        eventually(lambda: platform.unit(stuck.name) is None, "the unit is gone")
        assert names(platform, harness) == []


def waits(platform: ExecutionPlatform, name: str, until: Callable[[Unit], bool], what: str) -> Unit:
    """Return the pending unit once *until* is true of it."""
    seen: list[Unit] = []

    def check() -> bool:
        unit = platform.unit(name)
        assert unit is not None, f"{name} is gone"
        assert unit.status is UnitStatus.PENDING
        seen.append(unit)
        return until(unit)

    eventually(check, what, seconds=PATIENCE)
    return seen[-1]

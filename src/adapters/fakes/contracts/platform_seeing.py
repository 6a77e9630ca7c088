"""The contract of observing units: reading, watching, their output and how they ended."""

import contextlib
import threading
import time
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone

import pytest

from prefect.agent.adapters.fakes.contracts.harnesses import PlatformHarness, eventually
from prefect.agent.adapters.fakes.contracts.platform_base import (
    PlatformContractBase,
    ended,
    has_ended,
    names,
    started,
)
from prefect.agent.domain.errors import AgentError, PlatformUnavailable
from prefect.agent.domain.model.checks import Severity, examine
from prefect.agent.domain.model.units import Unit, UnitStatus
from prefect.agent.domain.wait_kinds import WaitKind
from prefect.agent.ports.platform import TEXT_LIMIT, ExecutionPlatform

ABSENT = "prefect-00000000-0000-4000-8000-000000000000-1"


class SeeingContract(PlatformContractBase):
    """These tests check ``units``, ``unit``, ``watch``, ``logs_tail`` and ``account``."""

    def test_units_lists_all_ended_ones_included(self, platform: ExecutionPlatform, harness: PlatformHarness) -> None:
        """Every unit is listed once, to every agent on the place, as it is now."""
        running = started(platform, harness)
        over, _ = ended(platform, harness)

        for each in (platform, harness.platform()):
            assert names(each, harness) == sorted([running.name, over.name])
            has_status = {unit.name: unit.status.has_ended for unit in each.units() if harness.is_own(unit.name)}
            assert has_status == {running.name: False, over.name: True}

    def test_a_doctor_fails_only_a_platform_that_its_check_refuses_and_changes_nothing(
        self, platform: ExecutionPlatform, harness: PlatformHarness
    ) -> None:
        """Asked twice it says the same, and each step has a name of its own."""
        running = started(platform, harness)
        steps = platform.checks(lambda: ())

        found = [[(check.name, check.severity) for check in examine(steps)] for _ in range(2)]

        assert found[0] == found[1]
        if Severity.FAIL in {severity for _, severity in found[0]}:
            with pytest.raises(AgentError):
                platform.check()
        assert len({step.name for step in steps}) == len(steps)
        assert names(platform, harness) == [running.name]
        assert harness.is_executing(running.name)

    def test_one_unit(self, platform: ExecutionPlatform, harness: PlatformHarness) -> None:
        """A name returns its unit, or None."""
        submission = started(platform, harness)

        unit = platform.unit(submission.name)

        assert unit is not None
        assert (unit.name, unit.flow_run_id, unit.attempt) == (
            submission.name,
            submission.flow_run_id,
            submission.attempt,
        )
        assert platform.unit(ABSENT) is None

    def test_only_what_waits_can_be_hopeless(self, platform: ExecutionPlatform, harness: PlatformHarness) -> None:
        """A unit that executes, or has ended, is never called hopeless, and waits for nothing."""
        submission = started(platform, harness)
        over, _ = ended(platform, harness, exit_code=1)

        def executes() -> bool:
            unit = platform.unit(submission.name)
            return unit is not None and unit.status is UnitStatus.RUNNING

        eventually(executes, "the unit is seen to execute")
        found = [unit for unit in platform.units() if unit.name in {submission.name, over.name}]
        assert [unit.hopeless_at for unit in found] == [None, None]
        assert {unit.evidence.wait_kind for unit in found if unit.evidence is not None} == {WaitKind.UNKNOWN}

    @pytest.mark.parametrize(
        ("exit_code", "status"), [(0, UnitStatus.SUCCEEDED), (3, UnitStatus.FAILED), (255, UnitStatus.FAILED)]
    )
    def test_the_exit_code_is_kept(
        self, platform: ExecutionPlatform, harness: PlatformHarness, exit_code: int, status: UnitStatus
    ) -> None:
        """A unit that ended by itself has its exit code as evidence, and its times."""
        submission, unit = ended(platform, harness, exit_code=exit_code)

        assert unit.status is status
        assert unit.evidence is not None
        assert unit.evidence.exit_code == exit_code
        assert harness.platform().unit(submission.name) == unit
        assert unit.created_at is not None
        assert unit.ended_at is not None
        now = datetime.now(timezone.utc)
        assert now - timedelta(minutes=2) < unit.created_at <= unit.ended_at + timedelta(seconds=1)
        assert unit.ended_at < now + timedelta(seconds=5)

    def test_a_violent_end_leaves_evidence(self, platform: ExecutionPlatform, harness: PlatformHarness) -> None:
        """A unit that was killed has failed, and says something about it."""
        submission = started(platform, harness)

        harness.kill(submission.name)

        unit = has_ended(platform, submission.name)
        assert unit.status is UnitStatus.FAILED
        assert unit.evidence is not None
        assert str(unit.evidence) != "no evidence"
        assert unit.evidence.exit_code != 0

    def test_a_unit_that_was_deleted_is_absent(self, platform: ExecutionPlatform, harness: PlatformHarness) -> None:
        """A unit that was deleted externally is absent, and stopping or removing it is a success."""
        submission = started(platform, harness)

        harness.vanish(submission.name)

        eventually(lambda: platform.unit(submission.name) is None, "the unit is gone")
        assert names(platform, harness) == []
        platform.stop(submission.name, grace=1)
        platform.remove(submission.name)
        assert platform.logs_tail(submission.name) == ""

    def test_output_is_kept(self, platform: ExecutionPlatform, harness: PlatformHarness) -> None:
        """Every agent on the place reads as many of the last lines of the output as it asks for."""
        lines = [f"line {number}" for number in range(1, 61)]
        submission, _ = ended(platform, harness, exit_code=1, prints="\n".join(lines))

        assert platform.logs_tail(submission.name, lines=60) == "\n".join(lines)
        assert platform.logs_tail(submission.name).splitlines() == lines[-50:]
        assert platform.logs_tail(submission.name, lines=2).splitlines() == lines[-2:]
        assert harness.platform().logs_tail(submission.name, lines=1).strip() == "line 60"

    def test_output_is_cut(self, platform: ExecutionPlatform, harness: PlatformHarness) -> None:
        """However much a unit prints, its tail has at most 64 KiB and ends as the output ends."""
        submission, _ = ended(platform, harness, padding=100, prints="the end")

        tail = platform.logs_tail(submission.name, lines=1000)

        assert len(tail.encode()) <= TEXT_LIMIT
        assert tail.splitlines()[-1] == "the end"
        assert len(tail) > 30_000

    def test_output_that_is_cut_begins_with_a_whole_word(
        self, platform: ExecutionPlatform, harness: PlatformHarness
    ) -> None:
        """Half of a secret would not be recognised, and so not be masked in the run's log."""
        words = [f"secret-{number:05}" for number in range(6000)]
        submission, _ = ended(platform, harness, prints=" ".join(words))

        tail = platform.logs_tail(submission.name)

        assert 0 < len(tail.encode()) <= TEXT_LIMIT
        assert set(tail.split()) <= set(words)

    def test_no_output_is_empty(self, platform: ExecutionPlatform, harness: PlatformHarness) -> None:
        """A unit without output, or no unit, has an empty tail and causes no error."""
        submission, _ = ended(platform, harness)

        assert platform.logs_tail(submission.name) == ""
        assert platform.logs_tail(ABSENT) == ""

    def test_the_account_of_a_unit(self, platform: ExecutionPlatform, harness: PlatformHarness) -> None:
        """Whether a unit executes or has ended, its account is text or empty, never an error and never a secret."""
        secret = {"SECRET": "s3cr3t"}
        running = harness.submission(secret_env=secret)
        over = harness.submission(exit_code=3, prints="something", secret_env=secret)
        for submission in (running, over):
            platform.create(submission)
        harness.let_end(over)
        has_ended(platform, over.name)

        accounts = [each.account(name) for each in (platform, harness.platform()) for name in (running.name, over.name)]

        assert all(isinstance(account, str) for account in accounts)
        assert all(len(account.encode()) <= TEXT_LIMIT for account in accounts)
        assert "s3cr3t" not in "".join(accounts)

    def test_nothing_is_no_account(self, platform: ExecutionPlatform, harness: PlatformHarness) -> None:
        """A unit that is absent, removed or not ours has an empty account and causes no error."""
        submission, _ = ended(platform, harness)
        foreign = harness.submission()
        harness.take_name(foreign.name)

        platform.remove(submission.name)

        assert [platform.account(name) for name in (ABSENT, submission.name, foreign.name)] == ["", "", ""]

    def test_watching_tells_of_ends(self, platform: ExecutionPlatform, harness: PlatformHarness) -> None:
        """A watch observes units that end (as a hint: one of several is enough)."""
        seen: list[Unit] = []
        over = threading.Event()

        def listen() -> None:
            while not over.is_set():
                with contextlib.suppress(PlatformUnavailable):
                    seen.extend(platform.watch(seconds=0.5))

        thread = threading.Thread(target=listen)
        thread.start()
        try:
            ends: set[str] = set()

            def is_observed() -> bool:
                ends.add(ended(platform, harness)[0].name)
                return any(unit.name in ends and unit.status.has_ended for unit in seen)

            eventually(is_observed, "a unit's end is observed")
        finally:
            over.set()
            thread.join(20)
        assert not thread.is_alive()

    def test_watching_ends(self, platform: ExecutionPlatform, harness: PlatformHarness) -> None:
        """Watching lasts at most about its seconds, whether units go on or not."""
        started(platform, harness)
        before = time.monotonic()

        list(platform.watch(seconds=0.2))

        assert time.monotonic() - before < 20

    def test_watching_may_be_given_up(self, platform: ExecutionPlatform, harness: PlatformHarness) -> None:
        """An iterator that is closed, before or after its first unit, lets go; the platform goes on working."""
        watching: Iterator[Unit] = iter(())
        for _ in range(3):
            watching = platform.watch(seconds=30)
            close = getattr(watching, "close", None)
            assert close is not None
            close()
        assert list(watching) == []
        submission = started(platform, harness)
        assert names(platform, harness) == [submission.name]

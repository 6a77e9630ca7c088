"""The contract of creating units: exactly one of each name, for any number of callers and requests (promise P1)."""

from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta, timezone

import attrs
import pytest

from prefect.agent.adapters.fakes.contracts.harnesses import PlatformHarness, eventually
from prefect.agent.adapters.fakes.contracts.platform_base import PlatformContractBase, ended, names, started, starts
from prefect.agent.domain.errors import UnitNameTaken
from prefect.agent.domain.model.images import image_reference
from prefect.agent.domain.model.policy import RESTRICTED, judge
from prefect.agent.domain.model.run_configs import RunConfig
from prefect.agent.domain.model.units import Owner, UnitStatus
from prefect.agent.ports.platform import ExecutionPlatform

RACERS = 8


class CreatingContract(PlatformContractBase):
    """These tests check ``traits``, ``identity``, ``check`` and ``create``."""

    def test_traits_are_constant(self, platform: ExecutionPlatform, harness: PlatformHarness) -> None:
        """Traits name the kind and the run config, and never change."""
        assert platform.traits.kind
        assert issubclass(platform.traits.run_config, RunConfig)
        assert platform.traits == platform.traits == harness.platform().traits

    def test_the_same_place_has_the_same_identity(self, platform: ExecutionPlatform, harness: PlatformHarness) -> None:
        """Two agents on one place have equal identities, short and printable."""
        assert platform.identity == harness.platform().identity
        assert platform.identity.isprintable()
        assert 0 < len(platform.identity) <= 200

    def test_an_alias_is_another_identity(self, platform: ExecutionPlatform, harness: PlatformHarness) -> None:
        """Older identities of a place are equal for all agents there, and never its present one."""
        assert list(platform.aliases) == list(harness.platform().aliases)
        assert platform.identity not in platform.aliases
        assert len(set(platform.aliases)) == len(platform.aliases)

    def test_a_unit_keeps_its_owner(self, platform: ExecutionPlatform, harness: PlatformHarness) -> None:
        """Both marks come back, from every agent on the place; a unit without marks has no owner."""
        owner = Owner(cloud="c10ud", agent="a9e77")
        marked, unmarked = attrs.evolve(harness.submission(), owner=owner), harness.submission()

        created = [platform.create(submission) for submission in (marked, unmarked)]

        assert [unit.owner for unit in created] == [owner, None]
        for each in (platform, harness.platform()):
            listed = {unit.name: unit.owner for unit in each.units() if harness.is_own(unit.name)}
            assert listed == {marked.name: owner, unmarked.name: None}
            found = each.unit(marked.name)
            assert found is not None
            assert found.owner == owner

    def test_equal_settings_have_equal_fingerprints(
        self, platform: ExecutionPlatform, harness: PlatformHarness
    ) -> None:
        """Two agents with the same settings would make the same units, and say so; short and printable."""
        assert platform.fingerprint == harness.platform().fingerprint
        assert platform.fingerprint.isprintable()
        assert len(platform.fingerprint) <= 2000

    def test_check_passes_and_changes_nothing(self, platform: ExecutionPlatform, harness: PlatformHarness) -> None:
        """A platform that works passes, any number of times, and has no units afterwards."""
        platform.check()
        platform.check()
        assert names(platform, harness) == []

    def test_demands_change_nothing(self, platform: ExecutionPlatform, harness: PlatformHarness) -> None:
        """Demands show what a run config asks for before there is a unit: at least its image and variables.

        Two agents with the same settings see the same.
        """
        submission = harness.submission(env={"ASKED": "1", "GIVEN": "1"})
        config = attrs.evolve(submission.run_config, env={"ASKED": "1"})
        asking = attrs.evolve(submission, run_config=config)

        found = platform.demands(asking)

        assert found.environment == {"ASKED"}
        assert found.images == ({image_reference(asking.image)} if asking.image else frozenset())
        assert found == platform.demands(asking) == harness.platform().demands(asking)
        assert names(platform, harness) == []

    def test_a_plain_run_config_is_allowed_by_the_restricted_policy(
        self, platform: ExecutionPlatform, harness: PlatformHarness
    ) -> None:
        """The restricted policy allows a plain run config: options of the agent itself are no demand."""
        assert judge(RESTRICTED, platform.demands(harness.submission())) is None

    def test_a_created_unit_executes(self, platform: ExecutionPlatform, harness: PlatformHarness) -> None:
        """The unit has its submission's name, run and attempt, and its command is started."""
        submission = harness.submission()
        before = datetime.now(timezone.utc) - timedelta(seconds=5)

        unit = platform.create(submission)

        assert (unit.name, unit.flow_run_id, unit.attempt) == (
            submission.name,
            submission.flow_run_id,
            submission.attempt,
        )
        assert not unit.status.has_ended
        assert unit.info
        assert unit.created_at is not None
        assert before < unit.created_at < before + timedelta(minutes=2)
        eventually(lambda: harness.is_executing(submission.name), "its command executes")

    def test_a_unit_gets_its_variables(self, platform: ExecutionPlatform, harness: PlatformHarness) -> None:
        """Plain and secret variables reach the command as they are, whatever characters they hold."""
        plain = {"PLAIN": "a b", "ODD": "$HOME `x` \"q\" 'q' \\ \u00fc = %d"}
        submission = harness.submission(env=plain, secret_env={"SECRET": "s3cr3t"})

        platform.create(submission)
        eventually(lambda: harness.starts(submission.name), "its command is started")

        given = harness.environment(submission.name)
        assert {name: given.get(name) for name in (*plain, "SECRET")} == {**plain, "SECRET": "s3cr3t"}

    def test_no_secret_shows_in_a_unit(self, platform: ExecutionPlatform, harness: PlatformHarness) -> None:
        """What a unit says about itself holds no secret (promise P5)."""
        submission = harness.submission(secret_env={"SECRET": "s3cr3t"})

        assert "s3cr3t" not in repr([platform.create(submission), platform.unit(submission.name), submission])

    def test_create_again_returns_the_one_that_executes(
        self, platform: ExecutionPlatform, harness: PlatformHarness
    ) -> None:
        """A second create, by this agent or another, starts nothing and returns the unit there is."""
        submission = harness.submission()
        first = platform.create(submission)
        eventually(lambda: harness.starts(submission.name), "it is started")

        again = [platform.create(submission), harness.platform().create(submission)]

        assert [unit.id for unit in again] == [first.id, first.id]
        assert names(platform, harness) == [submission.name]
        assert starts(platform, harness, submission.name) == 1

    def test_create_again_returns_the_one_that_has_ended(
        self, platform: ExecutionPlatform, harness: PlatformHarness
    ) -> None:
        """A unit that has ended is not started again: it is returned as it is."""
        submission, unit = ended(platform, harness, exit_code=3)

        again = [platform.create(submission), harness.platform().create(submission)]

        assert [(each.id, each.status) for each in again] == [(unit.id, UnitStatus.FAILED)] * 2
        assert starts(platform, harness, submission.name) == 1

    def test_of_eight_threads_one_starts_the_unit(self, harness: PlatformHarness) -> None:
        """Eight threads of two agents create one name at once: all get the same unit, started once."""
        platforms = [harness.platform(), harness.platform()]
        submission = harness.submission()

        with ThreadPoolExecutor(RACERS) as pool:
            units = list(pool.map(lambda number: platforms[number % 2].create(submission), range(RACERS)))

        eventually(lambda: harness.starts(submission.name), "it is started")
        assert {unit.name for unit in units} == {submission.name}
        assert len({unit.id for unit in units}) == 1
        assert names(platforms[0], harness) == [submission.name]
        assert starts(platforms[0], harness, submission.name) == 1

    def test_many_units_at_once(self, platform: ExecutionPlatform, harness: PlatformHarness) -> None:
        """Threads that create different units do not disturb each other."""
        submissions = [harness.submission() for _ in range(RACERS)]

        with ThreadPoolExecutor(RACERS) as pool:
            units = list(pool.map(platform.create, submissions))

        assert [unit.name for unit in units] == [submission.name for submission in submissions]
        assert names(platform, harness) == sorted(submission.name for submission in submissions)
        eventually(lambda: all(harness.starts(unit.name) == 1 for unit in units), "each is started once")

    def test_a_unit_that_was_never_started_is_started(
        self, platform: ExecutionPlatform, harness: PlatformHarness
    ) -> None:
        """After a crash between creating and starting, the next create starts the unit."""
        submission = harness.submission()
        if not harness.leave_unstarted(submission):
            pytest.skip("this platform creates and starts in one step")
        assert harness.starts(submission.name) == 0

        unit = platform.create(submission)

        assert unit.name == submission.name
        eventually(lambda: harness.starts(submission.name) == 1, "it is started")
        assert names(platform, harness) == [submission.name]

    def test_a_unit_that_was_never_started_can_be_stopped(
        self, platform: ExecutionPlatform, harness: PlatformHarness
    ) -> None:
        """A unit that was never started says so; stopping it leaves nothing that could start, and frees the name."""
        submission = harness.submission()
        if not harness.leave_unstarted(submission):
            pytest.skip("this platform creates and starts in one step")
        assert [unit.status for unit in platform.units() if unit.name == submission.name] == [UnitStatus.CREATED]

        platform.stop(submission.name, grace=1)

        assert names(platform, harness) == []
        assert starts(platform, harness, submission.name) == 0
        platform.create(submission)
        eventually(lambda: harness.starts(submission.name) == 1, "it can be created again")

    def test_a_foreign_thing_keeps_its_name(self, platform: ExecutionPlatform, harness: PlatformHarness) -> None:
        """Something that is not ours under the unit's name is refused with its name, never seen, never touched."""
        submission = harness.submission()
        harness.take_name(submission.name)

        with pytest.raises(UnitNameTaken, match=submission.name):
            platform.create(submission)

        assert platform.unit(submission.name) is None
        assert names(platform, harness) == []
        platform.stop(submission.name, grace=0.1)
        platform.remove(submission.name)
        assert harness.is_taken(submission.name)

    def test_units_outlive_their_agent(self, platform: ExecutionPlatform, harness: PlatformHarness) -> None:
        """Closing the adapter ends nothing; the next one on the same place sees the unit and can stop it."""
        submission = started(platform, harness)
        platform.close()
        platform.close()

        successor = harness.platform()

        found = successor.unit(submission.name)
        assert found is not None
        assert not found.status.has_ended
        assert (found.flow_run_id, found.attempt) == (submission.flow_run_id, submission.attempt)
        assert harness.is_executing(submission.name)
        successor.stop(submission.name, grace=5)
        assert not harness.is_executing(submission.name)

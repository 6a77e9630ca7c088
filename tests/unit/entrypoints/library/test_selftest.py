"""The self-test proves what it says, and a platform that breaks a promise fails it: faults are planted here."""

from collections.abc import Sequence

import pytest
from click.testing import CliRunner

from prefect.agent.adapters.fakes import InMemoryPlatform
from prefect.agent.adapters.system.clock import SystemClock
from prefect.agent.domain.errors import PlatformUnavailable
from prefect.agent.domain.model.submissions import Submission
from prefect.agent.domain.model.units import Unit
from prefect.agent.entrypoints.cli.agent import agent
from prefect.agent.entrypoints.library.selftest import ENDS, SAYS, SelfTest

SOON = 1.5
"""Seconds that a step may take where it will fail."""

PROOFS = ("the platform answers", "between claim and start", "between start and report", "dies", "cancelled")


class Obedient(InMemoryPlatform):
    """Executes the commands of the self-test: one ends at once with 7, the other one sleeps."""

    code = 7
    output = SAYS

    def create(self, submission: Submission) -> Unit:
        """Begin, and end at once if the command is that one."""
        unit = super().create(submission)
        if submission.command == ENDS and not unit.status.has_ended:
            self.write(unit.name, self.output)
            self.end(unit.name, self.code)
        return unit


class StartsTwice(Obedient):
    """A second create of one name starts a second unit."""

    def create(self, submission: Submission) -> Unit:
        """Not idempotent."""
        if any(unit.name == submission.name for unit in self.units()):
            self.vanish(submission.name)
        return super().create(submission)


class StartsNothing(Obedient):
    """Says that it has started a unit."""

    def unit(self, name: str) -> Unit | None:
        """There is none."""
        return None

    def units(self) -> Sequence[Unit]:
        """None."""
        return []


class HidesEnds(Obedient):
    """What has ended executes for ever, by its word."""

    def create(self, submission: Submission) -> Unit:
        """As any other."""
        return InMemoryPlatform.create(self, submission)


class WrongCode(Obedient):
    """Reports another exit code."""

    code = 1


class NoOutput(Obedient):
    """Keeps nothing of what a unit wrote."""

    output = ""


class Stubborn(Obedient):
    """Says that it has stopped what goes on."""

    def stop(self, name: str, *, grace: float) -> None:
        """Nothing."""


class Away(Obedient):
    """Does not answer."""

    def check(self) -> None:
        """Not now."""
        raise PlatformUnavailable("no answer")


def prove(platform: InMemoryPlatform, within: float = 60.0) -> tuple[bool, list[str]]:
    """Whether all is proven, and what was printed."""
    said: list[str] = []
    test = SelfTest(platform=platform, clock=SystemClock(), say=said.append, image="any", within=within)
    return test(), said


def test_a_platform_that_keeps_its_promises_passes() -> None:
    """One line for each proof, and nothing is left on the platform."""
    platform = Obedient()
    ok, said = prove(platform)

    assert ok, said
    assert [line.split()[0] for line in said] == ["ok"] * len(PROOFS)
    assert all(words in line for words, line in zip(PROOFS, said, strict=True))
    assert platform.units() == []


@pytest.mark.parametrize(
    ("broken", "proof", "why"),
    [
        (StartsTwice, "between start and report", "was started twice"),
        (StartsNothing, "between claim and start", "is started"),
        (HidesEnds, "dies", "the run is Failed"),
        (WrongCode, "dies", "its end is reported as"),
        (NoOutput, "dies", "its last output is not in"),
        (Stubborn, "cancelled", "its unit still executes"),
        (Away, "the platform answers", "no answer"),
    ],
)
def test_a_platform_that_breaks_a_promise_fails(broken: type[Obedient], proof: str, why: str) -> None:
    """The proof that it breaks says so; the others are still tried."""
    ok, said = prove(broken(), SOON)

    assert not ok
    [line] = [line for line in said if proof in line]
    assert line.startswith("x ")
    assert why in line
    assert len(said) >= len(PROOFS)


def test_a_unit_that_cannot_be_removed_is_named() -> None:
    """A person has to remove it; the other units are removed."""
    platform = Stubborn()
    _, said = prove(platform, SOON)

    left = {unit.name for unit in platform.units()}
    assert left
    assert left == {line.split()[1] for line in said if "remove it by hand" in line}


@pytest.mark.parametrize(
    "words",
    [("process", "--image", "x"), ("docker", "--interpreter", "x"), ("local", "--namespace", "x")],
)
def test_options_of_other_platforms_are_refused(words: Sequence[str]) -> None:
    """As by `agent start`."""
    done = CliRunner().invoke(agent, ["selftest", *words])

    assert done.exit_code == 2
    assert f"{words[1]} is not for {words[0]}" in done.output

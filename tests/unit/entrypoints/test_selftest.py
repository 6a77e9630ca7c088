"""The self-test proves what holds, and notices a platform that breaks its promises."""

import attrs
import pytest

from prefect.agent.adapters.fakes import InMemoryPlatform
from prefect.agent.adapters.system.clock import SystemClock
from prefect.agent.domain.errors import PlatformForbidden
from prefect.agent.domain.model.units import Submission, Unit
from prefect.agent.entrypoints import selftest
from prefect.agent.entrypoints.selftest import SelfTest


class Obeying(InMemoryPlatform):
    """Executes nothing, but ends the units whose command ends by itself."""

    def create(self, submission: Submission) -> Unit:
        """End a unit that exits at once."""
        unit = super().create(submission)
        if "exit 7" in submission.command[-1] and not unit.status.has_ended:
            self.end(unit.name, 7)
        return unit


class Doubling(Obeying):
    """Starts a second unit when it is asked again."""

    def create(self, submission: Submission) -> Unit:
        """Make it anew."""
        if self.unit(submission.name) is not None:
            self.vanish(submission.name)
        return super().create(submission)


class Lying(Obeying):
    """Says that every unit has ended well."""

    def create(self, submission: Submission) -> Unit:
        """End it with 0, whatever it wants."""
        unit = InMemoryPlatform.create(self, submission)
        if "exit 7" in submission.command[-1] and not unit.status.has_ended:
            self.end(unit.name, 0)
        return unit


class Surviving(Obeying):
    """Stops nothing, and says that it has."""

    def stop(self, name: str, *, grace: float) -> None:
        """Do nothing."""

    def remove(self, name: str) -> None:
        """Remove the unit, executing or not."""
        if self.unit(name) is not None:
            self.vanish(name)


def run(platform: InMemoryPlatform) -> tuple[bool, list[str]]:
    """Whether all holds, and what was printed."""
    said: list[str] = []
    return SelfTest(platform=platform, clock=SystemClock(), say=said.append)(), said


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Do not look for long."""
    monkeypatch.setattr(selftest, "LOOK_EVERY", 0.005)
    monkeypatch.setattr(
        selftest, "SETTINGS", attrs.evolve(selftest.SETTINGS, poll_first=0.01, poll_last=0.05, sweep_every=0.05)
    )


def test_a_platform_that_keeps_its_promises_passes() -> None:
    """Five proofs, and nothing is left behind."""
    platform = Obeying()

    ok, said = run(platform)

    assert ok, said
    assert [line.split()[0] for line in said] == ["ok"] * 5
    assert platform.units() == []


def test_a_second_start_is_noticed() -> None:
    """A create that is not idempotent by name."""
    ok, said = run(Doubling())

    assert not ok
    assert any(line.startswith("x ") and "twice" in line for line in said)


def test_a_wrong_end_is_noticed() -> None:
    """The exit code is lost."""
    ok, said = run(Lying())

    assert not ok
    assert any(line.startswith("x a unit that dies") for line in said)


def test_a_unit_that_survives_its_stop_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The run is called Cancelled while its unit executes."""
    ok, said = run(Surviving())

    assert not ok
    assert any(line.startswith("x a cancelled run") and "still executes" in line for line in said)


def test_what_is_not_permitted_is_said() -> None:
    """The check fails with its own words; the other proofs go on."""
    platform = Obeying()
    platform.fail_next("check", PlatformForbidden("it may not list containers"))

    ok, said = run(platform)

    assert not ok
    assert "it may not list containers" in said[0]

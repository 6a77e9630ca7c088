"""While the platform does not answer, nothing is claimed."""

import attrs
import pytest

from prefect.agent.adapters.fakes import InMemoryPlatform, ManualClock
from prefect.agent.domain.errors import PlatformError, PlatformForbidden, PlatformUnavailable
from prefect.agent.domain.services.gate import LOOK_EVERY, PlatformGate
from prefect.agent.ports import events
from support.builders import Heard


@attrs.define
class Door:
    """A platform and its gate."""

    clock: ManualClock = attrs.field(factory=lambda: ManualClock(auto=True))
    heard: Heard = attrs.field(factory=Heard)
    platform: InMemoryPlatform = attrs.field(factory=InMemoryPlatform)
    gate: PlatformGate = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self.gate = PlatformGate(platform=self.platform, clock=self.clock, tell=self.heard)

    def checks(self) -> list[bool]:
        """Two checks, each with a look at the platform."""
        found = []
        for _ in range(2):
            self.clock.advance(LOOK_EVERY)
            found.append(self.gate.check())
        return found


@pytest.fixture
def door() -> Door:
    """A platform that answers."""
    return Door()


def test_the_gate_is_open_until_the_platform_fails_a_check(door: Door) -> None:
    """Nothing is asked before there is a reason to."""
    assert door.gate.is_open
    assert door.platform.calls == []


@pytest.mark.parametrize("problem", [PlatformUnavailable("no socket"), PlatformForbidden("no socket")])
def test_the_gate_closes_and_opens_with_the_platform(door: Door, problem: PlatformError) -> None:
    """Each change is reported once, with the reason."""
    door.platform.fail_next("check", problem, times=2)
    closed = [*door.checks(), door.gate.is_open]
    why = door.gate.problem
    opened = [*door.checks(), door.gate.is_open]

    assert (closed, opened) == ([False] * 3, [True] * 3)
    assert why == "no socket"
    assert door.heard.names() == [events.PLATFORM_TROUBLE, events.PLATFORM_BACK]
    assert "no socket" in door.heard.events[0].message


def test_an_error_without_words_closes_the_gate_too(door: Door) -> None:
    """The reason is not empty, for empty means open."""
    door.platform.fail_next("check", PlatformUnavailable(""))

    assert not door.gate.check()
    assert door.gate.problem == "no answer"


def test_the_platform_is_not_asked_more_often_than_every_few_seconds(door: Door) -> None:
    """However many runs cannot be started: the last answer counts until then."""
    door.platform.fail_next("check", PlatformUnavailable("away"))
    found = [door.gate.check() for _ in range(5)]
    door.clock.advance(LOOK_EVERY - 1)
    found.append(door.gate.check())
    door.clock.advance(1)

    assert found == [False] * 6
    assert door.gate.check()
    assert door.platform.calls == ["check", "check"]

"""How fast the agent asks, by a clock of the test's own."""

import attrs
import pytest

from prefect.agent.adapters.kubernetes.throttle import LONGEST_HOLD, Throttle
from prefect.agent.domain.errors import ConfigurationError


@attrs.define
class Clock:
    """Time passes when somebody waits.

    Attributes:
        meanwhile: What happens while somebody waits for the first time.
    """

    time: float = 100.0
    meanwhile: list[float] = attrs.field(factory=list)
    throttle: Throttle | None = None

    def wait(self, seconds: float) -> None:
        """Let time pass."""
        if self.meanwhile and self.throttle is not None:
            self.throttle.hold(self.meanwhile.pop())
        self.time += seconds

    def throttled(self, qps: float, burst: int) -> Throttle:
        """A throttle by this clock."""
        self.throttle = Throttle(qps, burst, clock=lambda: self.time, wait=self.wait)
        return self.throttle


def times(clock: Clock, throttle: Throttle, requests: int) -> list[float]:
    """When each of so many requests may go, from now."""
    began, found = clock.time, []
    for _ in range(requests):
        throttle.take()
        found.append(round(clock.time - began, 6))
    return found


def test_a_burst_and_then_so_many_per_second() -> None:
    """A token bucket."""
    clock = Clock()
    assert times(clock, clock.throttled(10, 3), 6) == [0, 0, 0, 0.1, 0.2, 0.3]


def test_rest_fills_it_up() -> None:
    """To the burst, and no further."""
    clock = Clock()
    throttle = clock.throttled(10, 3)
    times(clock, throttle, 3)
    clock.time += 0.2
    assert times(clock, throttle, 3) == [0, 0, 0.1]
    clock.time += 1000
    assert times(clock, throttle, 4) == [0, 0, 0, 0.1]


def test_the_server_asks_for_time() -> None:
    """Nothing goes before; the longest of several holds, but no longer than is sensible."""
    clock = Clock()
    throttle = clock.throttled(10, 3)
    throttle.hold(5)
    throttle.hold(1)
    assert times(clock, throttle, 2) == [5, 5]
    throttle.hold(1e9)
    assert times(clock, throttle, 1) == [LONGEST_HOLD]


def test_the_server_asks_for_time_while_a_client_waits() -> None:
    """Whoever waits for its turn already waits longer."""
    clock = Clock()
    throttle = clock.throttled(10, 1)
    throttle.take()
    clock.meanwhile = [5]
    assert times(clock, throttle, 1) == [5]


@pytest.mark.parametrize(("qps", "burst"), [(0, 1), (-1, 1), (1, 0)])
def test_numbers_that_let_nothing_through(qps: float, burst: int) -> None:
    """Are refused."""
    with pytest.raises(ConfigurationError, match="lets nothing through"):
        Throttle(qps, burst)

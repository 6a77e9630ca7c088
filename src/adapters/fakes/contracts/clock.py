"""The contract of every clock."""

import threading
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import timedelta

import pytest

from prefect.agent.ports.clock import Clock

LONG = 1_000_000.0
"""Seconds that no test will see the end of."""

ROUNDING = 1e-6
"""Seconds: the difference of two moments, as floating-point numbers have it, may be so much too small."""


class ClockContract:
    """A subclass defines the fixture ``clock``: a clock on which time passes, however fast."""

    @pytest.fixture
    def clock(self) -> Clock:
        """Return the clock under test."""
        raise NotImplementedError

    def test_now_is_aware_and_utc(self, clock: Clock) -> None:
        """The time of day is aware, UTC."""
        assert clock.now().utcoffset() == timedelta(0)

    def test_time_of_day_passes(self, clock: Clock) -> None:
        """The time of day advances by at least the length of a pause."""
        before = clock.now()
        clock.pause(0.02)
        assert clock.now() - before >= timedelta(seconds=0.019)  # two clocks of one machine may disagree a little

    def test_monotonic_never_goes_back(self, clock: Clock) -> None:
        """Measured in one thread, monotonic time never goes back, whatever other threads do."""

        def measure(_number: int) -> list[float]:
            return [clock.monotonic() for _ in range(2000)]

        with ThreadPoolExecutor(4) as pool:
            for seen in pool.map(measure, range(4)):
                assert seen == sorted(seen)

    def test_a_pause_lasts_its_seconds(self, clock: Clock) -> None:
        """A pause without a wake lets at least its seconds pass, and says that no wake is set."""
        before = clock.monotonic()
        assert clock.pause(0.05) is False
        assert clock.monotonic() - before >= 0.05 - ROUNDING

    def test_a_pause_whose_wake_is_never_set_lasts_its_seconds(self, clock: Clock) -> None:
        """A wake that is not set changes nothing."""
        before = clock.monotonic()
        assert clock.pause(0.05, threading.Event()) is False
        assert clock.monotonic() - before >= 0.05 - ROUNDING

    @pytest.mark.parametrize("seconds", [0, 0.0, -1, -LONG])
    def test_no_seconds_do_not_pause(self, clock: Clock, seconds: float) -> None:
        """Zero and negative seconds do not pause, with or without a wake."""
        assert clock.pause(seconds) is False
        assert clock.pause(seconds, threading.Event()) is False

    @pytest.mark.parametrize("seconds", [LONG, 0.01, 0, -1])
    def test_a_set_wake_does_not_pause(self, clock: Clock, seconds: float) -> None:
        """If the wake is set already, the pause is over, and says so."""
        wake = threading.Event()
        wake.set()
        assert clock.pause(seconds, wake) is True

    def test_a_wake_ends_a_pause(self, clock: Clock) -> None:
        """A wake that is set by another thread ends the pause."""
        wake = threading.Event()
        pause = _long_pause(clock, wake)
        assert not pause.done()
        wake.set()
        assert pause.result(timeout=10) is True

    def test_a_wake_ends_only_its_own_pauses(self, clock: Clock) -> None:
        """All pauses of one wake end with it; a pause of another wake goes on."""
        wake, other = threading.Event(), threading.Event()
        pauses = [_long_pause(clock, wake) for _ in range(3)]
        elsewhere = _long_pause(clock, other)
        wake.set()
        assert [pause.result(timeout=10) for pause in pauses] == [True] * 3
        assert not elsewhere.done()
        other.set()
        assert elsewhere.result(timeout=10) is True


def _long_pause(clock: Clock, wake: threading.Event) -> Future[bool]:
    """Start a pause in a thread that does not keep the process alive, even if the clock is wrong."""
    future: Future[bool] = Future()
    threading.Thread(target=lambda: future.set_result(clock.pause(LONG, wake)), daemon=True).start()
    return future

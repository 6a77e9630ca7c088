"""Clocks against their contract, and what only the manual one can do."""

import threading
from collections.abc import Generator
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta, timezone

import pytest

from prefect.agent.adapters.fakes import ManualClock
from prefect.agent.adapters.fakes.contracts import ClockContract
from prefect.agent.adapters.system import SystemClock
from prefect.agent.ports.clock import Clock
from support.waiting import wait_until


class TestSystemClock(ClockContract):
    """The machine's clock."""

    @pytest.fixture
    def clock(self) -> Clock:
        """The clock under test."""
        return SystemClock()


class TestManualClock(ClockContract):
    """The manual clock, advanced by another thread all the time."""

    @pytest.fixture
    def clock(self) -> Generator[Clock]:
        """The clock under test."""
        manual, over = ManualClock(), threading.Event()

        def tick() -> None:
            while not over.wait(0.001):
                manual.advance(0.01)

        ticking = threading.Thread(target=tick)
        ticking.start()
        yield manual
        over.set()
        ticking.join(30)


class TestAdvancing:
    """What a test can do with the manual clock."""

    def test_time_stands_still(self) -> None:
        """Nothing passes unless it is told to."""
        clock = ManualClock()
        assert (clock.now(), clock.monotonic()) == (clock.now(), 0.0)
        clock.advance(90)
        assert clock.monotonic() == 90
        assert clock.now() == datetime(2024, 1, 1, 0, 1, 30, tzinfo=timezone.utc)

    def test_the_start_is_shown_in_utc(self) -> None:
        """Any aware time of day will do to begin with."""
        start = datetime(2025, 1, 1, 12, tzinfo=timezone(timedelta(hours=2)))
        assert ManualClock(start).now().isoformat() == "2025-01-01T10:00:00+00:00"

    def test_time_does_not_go_back(self) -> None:
        """A negative advance is a mistake in the test."""
        with pytest.raises(ValueError, match="back"):
            ManualClock().advance(-1)

    def test_a_pause_ends_exactly_when_its_time_is_over(self) -> None:
        """A real thread waits for as long as the clock stands before the pause's end, and ends at it."""
        clock = ManualClock()
        with ThreadPoolExecutor(1) as pool:
            pause = pool.submit(clock.pause, 1.0)
            wait_until(lambda: clock.waiting == 1)
            for _ in range(9):
                clock.advance(0.1)
            assert clock.waiting == 1
            assert not pause.done()
            clock.advance(0.1)
            assert pause.result(30) is False
        assert clock.waiting == 0

    def test_every_pause_has_its_own_end(self) -> None:
        """Of several pauses, those end whose time is over."""
        clock = ManualClock()
        with ThreadPoolExecutor(3) as pool:
            pauses = [pool.submit(clock.pause, seconds) for seconds in (1, 2, 3)]
            wait_until(lambda: clock.waiting == 3)
            clock.advance(2)
            wait_until(lambda: clock.waiting == 1)
            assert [pause.result(30) for pause in pauses[:2]] == [False, False]
            assert not pauses[2].done()
            clock.advance(1)
            assert pauses[2].result(30) is False

    def test_auto_passes_at_once(self) -> None:
        """In auto mode a pause is over at once, and its time has passed."""
        clock = ManualClock(auto=True)
        assert clock.pause(3600) is False
        assert clock.pause(0.5, threading.Event()) is False
        assert [clock.pause(seconds) for seconds in (0, -1)] == [False, False]
        assert clock.monotonic() == 3600.5

    def test_auto_does_not_pass_for_a_set_wake(self) -> None:
        """In auto mode too, a set wake means that no time passes."""
        clock, wake = ManualClock(auto=True), threading.Event()
        wake.set()
        assert clock.pause(3600, wake) is True
        assert clock.monotonic() == 0

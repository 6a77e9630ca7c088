"""Loops that stand still and threads that end: reported, red, and in the end the end of the process."""

import threading
from collections.abc import Generator
from contextlib import contextmanager

import attrs
import pytest

from prefect.agent.domain.errors import CloudUnavailable
from prefect.agent.domain.model.pipeline import WorkStep
from prefect.agent.domain.model.settings import AgentSettings
from prefect.agent.entrypoints.runtime.health import Health
from prefect.agent.entrypoints.runtime.progress import where
from prefect.agent.entrypoints.runtime.supervision import Supervisor
from prefect.agent.entrypoints.runtime.watchdog import LOOK_EVERY
from prefect.agent.ports import events
from prefect.agent.ports.events import Event
from support.builders import HandClock, Heard
from support.waiting import wait_until

SETTINGS = AgentSettings(stall_patience=900, stop_patience=30)


@attrs.define
class Guarded:
    """A supervisor whose watchdog looks when the test says so."""

    clock: HandClock = attrs.field(factory=HandClock)
    heard: Heard = attrs.field(factory=Heard)
    over: threading.Event = attrs.field(factory=threading.Event)
    go_on: threading.Event = attrs.field(factory=threading.Event)
    in_step: threading.Event = attrs.field(factory=threading.Event)
    ends: list[int] = attrs.field(factory=list)
    stops_in_time: bool = False
    supervisor: Supervisor = attrs.field(init=False)
    health: Health = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self.health = Health(clock=self.clock, steps=(WorkStep(name="poll", silence=1e9),))
        self.supervisor = Supervisor(
            clock=self.clock,
            on_fatal=self.stop,
            tell=self.take,
            settings=SETTINGS,
            end_process=self.ends.append,
        )

    def stop(self) -> None:
        """Stop the loops, as an engine does."""
        self.over.set()
        if self.stops_in_time:
            self.supervisor.watchdog._over.set()

    def take(self, event: Event) -> None:
        """Hear an event."""
        self.health.take(event)
        self.heard(event)

    def look(self, seconds: float) -> None:
        """Let the watchdog look again and again for so many seconds."""
        for _ in range(int(seconds / LOOK_EVERY)):
            self.clock.seconds += LOOK_EVERY
            self.supervisor.watchdog.look()

    def hanging_step(self) -> bool:
        """Hang until the test lets it go on."""
        self.in_step.set()
        self.go_on.wait(60)
        return False


@pytest.fixture
def guarded() -> Guarded:
    """A supervisor with nothing to do."""
    return Guarded()


@contextmanager
def hanging(guarded: Guarded, *, allowed: float) -> Generator[threading.Thread]:
    """A loop in a step that does not return during the block."""
    thread = guarded.supervisor.thread("sweep", guarded.hanging_step, guarded.over, allowed=allowed)
    try:
        assert guarded.in_step.wait(30)
        yield thread
    finally:
        guarded.go_on.set()
        thread.join(30)


def test_a_step_within_its_time_is_nothing_to_report(guarded: Guarded) -> None:
    """Each loop says how long its steps may take."""
    with hanging(guarded, allowed=60):
        guarded.look(60)

        assert guarded.heard.names() == []
        assert guarded.health.report()[0]


def test_a_loop_that_stands_still_is_reported_once_with_its_place(guarded: Guarded) -> None:
    """Name, seconds, file and line."""
    with hanging(guarded, allowed=60):
        guarded.look(300)

        [event] = guarded.heard.events
        assert (event.name, event.level, event.fields["loop"]) == (events.STALLED, "ERROR", "sweep")
        assert "threading.py" in event.fields["where"]
        assert "called from" in event.fields["where"]


def test_a_loop_that_stands_still_makes_health_red_until_it_goes_on(guarded: Guarded) -> None:
    """The reason is in the report."""
    with hanging(guarded, allowed=60):
        guarded.look(65)
        healthy, facts = guarded.health.report()
        assert not healthy
        assert "sweep loop stands still" in facts["trouble"]
        assert not guarded.health.lives

    assert guarded.heard.names() == [events.STALLED, events.RESUMED]
    assert guarded.health.report()[0]


def test_a_loop_that_stands_still_for_long_ends_the_process_with_71(
    guarded: Guarded, capsys: pytest.CaptureFixture[str]
) -> None:
    """The others are asked to stop first; the stacks are shown by file, line and function alone."""
    secret = "pcu_a-secret-in-a-local-variable"
    guarded.stops_in_time = True
    with hanging(guarded, allowed=60):
        guarded.look(60 + 900)

    assert guarded.ends == []  # the loops did stop in time: the agent ends by its fatal error
    assert guarded.supervisor.fatal is not None
    assert guarded.supervisor.fatal.code == 71
    assert guarded.over.is_set()
    shown = capsys.readouterr().err
    assert "Thread sweep:" in shown
    assert "test_watchdog.py:" in shown
    assert secret not in shown


def test_a_process_that_does_not_stop_is_ended(guarded: Guarded, capsys: pytest.CaptureFixture[str]) -> None:
    """After the time that a stopping agent has; once."""
    with hanging(guarded, allowed=60):
        guarded.look(60 + 900 + 60)

    assert guarded.ends == [71]
    assert 30 in guarded.clock.pauses
    assert capsys.readouterr().err.count("The process ends") == 1


def test_a_long_step_may_say_that_it_gets_on(guarded: Guarded) -> None:
    """A sweep over many units is no stall."""
    with hanging(guarded, allowed=60):
        for _ in range(10):
            guarded.look(50)
            guarded.supervisor.progress("sweep")

        assert guarded.heard.names() == []


def test_a_pause_after_a_failure_is_no_stall(guarded: Guarded) -> None:
    """Only steps take time: a server may ask for minutes."""
    looks: list[str] = []

    def step() -> bool:
        if looks:
            return False
        looks.append("failed")
        raise CloudUnavailable("away", retry_after=100)

    guarded.supervisor.run("poll", step, guarded.over, allowed=1)
    guarded.look(100)

    assert guarded.heard.names() == [events.CLOUD_TROUBLE]


def test_a_process_that_stood_still_as_a_whole_has_no_stalled_loop(guarded: Guarded) -> None:
    """A paused machine or SIGSTOP: the watchdog itself did not look meanwhile."""
    with hanging(guarded, allowed=60):
        guarded.look(10)
        guarded.clock.seconds += 5000
        guarded.look(45)

        assert guarded.heard.names() == []
        assert guarded.ends == []


def test_an_event_sink_that_hangs_does_not_hang_the_watchdog(guarded: Guarded) -> None:
    """What stands still may be the very log."""
    stuck = threading.Event()

    def hang(event: Event) -> None:
        stuck.wait(60)

    guarded.supervisor.watchdog.tell = hang
    with hanging(guarded, allowed=1):
        try:
            guarded.look(60 + 900 + 60)
        finally:
            stuck.set()

    assert guarded.ends == [71]


def test_a_watched_thread_that_ends_is_reported_once_and_red(guarded: Guarded) -> None:
    """It is no loop, so nothing starts it again: in the end the process makes way for a new one, with 70."""
    thread = threading.Thread(target=lambda: None, name="reaper")
    guarded.supervisor.watch_thread(thread)
    thread.start()
    thread.join()

    guarded.look(60)
    assert guarded.heard.names() == [events.THREAD_ENDED]
    assert "reaper" in guarded.health.report()[1]["trouble"]
    assert not guarded.health.report()[0]

    guarded.look(900)
    assert guarded.supervisor.fatal is not None
    assert guarded.supervisor.fatal.code == 70


def test_a_watched_thread_may_end_when_it_is_asked_to(guarded: Guarded) -> None:
    """A server that was stopped."""
    thread, asked = threading.Thread(target=lambda: None), threading.Event()
    guarded.supervisor.watch_thread(thread, asked)
    thread.start()
    thread.join()
    asked.set()

    guarded.look(60)

    assert guarded.heard.names() == []


def test_an_exception_that_ends_any_thread_is_reported(guarded: Guarded, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever started it: a thread does not die in silence. Afterwards everything is as before."""
    monkeypatch.setattr(threading, "excepthook", threading.__excepthook__)
    monkeypatch.setattr(guarded.supervisor.watchdog, "clock", guarded.clock)

    def die() -> None:
        raise OSError("no descriptors")

    guarded.supervisor.watchdog.look()  # the clock stands still: nothing else to see
    guarded.clock.pause = lambda seconds, wake=None: bool(wake and wake.wait(30))  # type: ignore[method-assign]
    with guarded.supervisor.on_guard():
        thread = threading.Thread(target=die, name="reaper")
        thread.start()
        thread.join()

    wait_until(lambda: not any(each.name == "progress-watchdog" for each in threading.enumerate()))
    [event] = guarded.heard.events
    assert (event.name, event.level) == (events.BUG, "ERROR")
    assert "reaper" in event.message
    assert "no descriptors" in event.fields["traceback"]
    assert threading.excepthook is threading.__excepthook__


def test_a_thread_that_has_ended_stands_nowhere() -> None:
    """Between two looks a thread may end."""
    assert "ended" in where(-1)

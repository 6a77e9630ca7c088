"""Named exit codes, and loops that survive what goes wrong in them (promise P3)."""

import subprocess
import sys
import textwrap
import threading
from collections.abc import Iterator

import pytest

from prefect.agent.domain.errors import (
    AgentError,
    CloudMisconfigured,
    CloudUnavailable,
    ConfigurationError,
    OutcomeUnknown,
    PlatformForbidden,
    PlatformUnavailable,
    RequestRejected,
    SubmissionRefused,
    Unauthorised,
)
from prefect.agent.entrypoints.runtime.exits import AgentExit, ExitCode, exit_for, leave
from prefect.agent.entrypoints.runtime.supervision import STRIKES, Supervisor
from prefect.agent.ports import events
from prefect.agent.ports.events import Event
from support.builders import HandClock, Heard


@pytest.mark.parametrize(
    ("trouble", "code"),
    [
        (Unauthorised("x"), 77),
        (PlatformForbidden("x"), 77),
        (ConfigurationError("x"), 78),
        (CloudUnavailable("x"), 69),
        (PlatformUnavailable("x"), 75),
        (RequestRejected("x"), 70),
        (OutcomeUnknown("x"), 70),
        (SubmissionRefused("x"), 70),
        (AgentError("x"), 70),
    ],
    ids=lambda value: type(value).__name__,
)
def test_every_error_has_an_exit_code(trouble: AgentError, code: int) -> None:
    """A supervisor knows from the code whether a restart can help; the person reads the message."""
    end = exit_for(trouble)

    assert (end.code, str(end).split(". ")[0]) == (code, "x")
    assert isinstance(end, AgentExit)


@pytest.mark.parametrize(
    ("trouble", "said"),
    [
        (CloudUnavailable("no answer."), "no answer. Is the address right (--api), and does the API run there? "),
        (CloudUnavailable("no answer: correct --api"), "no answer: correct --api"),
        (Unauthorised("no"), "no. Give a key that is valid, by --token-file or PREFECT__CLOUD__API_KEY"),
        (Unauthorised("no: give PREFECT__CLOUD__API_KEY"), "no: give PREFECT__CLOUD__API_KEY"),
        (
            CloudMisconfigured("there is no such tenant: correct --tenant-id"),
            "there is no such tenant: correct --tenant-id",
        ),
    ],
)
def test_the_sentence_of_an_exit_says_what_to_do(trouble: AgentError, said: str) -> None:
    """Unless the message itself says it."""
    assert str(exit_for(trouble)).startswith(said)
    assert said.endswith("? ") or str(exit_for(trouble)) == said


def test_codes_are_distinct() -> None:
    """Two names for one number would be one name too many."""
    assert len({int(code) for code in ExitCode}) == len(ExitCode) == 8


class Loop:
    """A loop under supervision: each turn takes the next outcome of a script."""

    def __init__(self, *script: bool | Exception) -> None:
        self.clock, self.heard, self.over = HandClock(), Heard(), threading.Event()
        self.supervisor = Supervisor(clock=self.clock, on_fatal=self.over.set, tell=self.heard, chance=lambda: 0.5)
        self._script: Iterator[bool | Exception] = iter(script)
        self.turns = 0

    def step(self) -> bool:
        """One turn."""
        self.turns += 1
        outcome = next(self._script)
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    def run(self) -> "Loop":
        """Run to the end."""
        self.supervisor.run("test", self.step, self.over)
        return self


def test_a_loop_ends_when_it_says_so() -> None:
    """Without a pause between turns that went well: pauses are the step's own business."""
    loop = Loop(True, True, False).run()

    assert (loop.turns, loop.clock.pauses, loop.supervisor.fatal) == (3, [], None)


def test_a_passing_failure_never_ends_a_loop() -> None:
    """It is told, and tried again after growing pauses."""
    loop = Loop(*[CloudUnavailable("away")] * 20, True, PlatformUnavailable("busy"), False).run()

    assert loop.supervisor.fatal is None
    assert loop.clock.pauses[:3] == [0.5, 1.0, 2.0]
    assert max(loop.clock.pauses) == 10.0
    assert loop.clock.pauses[-1] == 0.5
    assert loop.heard.names() == [events.CLOUD_TROUBLE] * 20 + [events.PLATFORM_TROUBLE]


def test_a_loop_waits_as_long_as_the_server_asks() -> None:
    """Retry-After is honoured, within reason; the loop's own pause if it is longer."""
    asked = [PlatformUnavailable("busy", retry_after=seconds) for seconds in (7, 0.1, 9999)]

    loop = Loop(*asked, False).run()

    assert loop.clock.pauses == [7, 1.0, 120.0]


def test_a_bug_is_reported_with_its_traceback() -> None:
    """One bug does not silence a loop."""
    loop = Loop(ValueError("oops"), False).run()

    [event] = loop.heard.events
    assert (event.name, event.level) == (events.BUG, "ERROR")
    assert "oops" in event.message
    assert "in step" in event.fields["traceback"]
    assert loop.supervisor.fatal is None


def test_a_loop_full_of_bugs_ends_the_agent() -> None:
    """After five in a row the process ends with 70 instead of going on mute."""
    loop = Loop(*[ValueError("oops")] * 9).run()

    assert loop.turns == STRIKES == 5
    assert loop.supervisor.fatal is not None
    assert loop.supervisor.fatal.code == 70


def test_bugs_with_good_turns_between_do_not_add_up() -> None:
    """Only a row counts."""
    script: list[bool | Exception] = []
    for _ in range(4):
        script += [*[ValueError("oops")] * 4, True]

    loop = Loop(*script, False).run()

    assert loop.supervisor.fatal is None


def refusals(count: int) -> list[bool | Exception]:
    """The key is not accepted, so often."""
    return [Unauthorised("no") for _ in range(count)]


def test_a_key_that_was_never_accepted_ends_the_agent_at_once() -> None:
    """Only a person can mend it."""
    loop = Loop(*refusals(9)).run()

    assert loop.turns == 1
    assert loop.supervisor.fatal is not None
    assert loop.supervisor.fatal.code == 77


def test_an_accepted_key_is_believed_for_ten_minutes() -> None:
    """A proxy that says no for a while, or the first key of a server, does not end a fleet."""
    loop = Loop(*refusals(99))
    loop.supervisor.accepted()
    started = loop.clock.seconds

    loop.run()

    assert loop.supervisor.fatal is not None
    assert loop.supervisor.fatal.code == 77
    assert 600 <= loop.clock.seconds - started < 600 + max(loop.clock.pauses)
    assert max(loop.clock.pauses) == 60.0


def test_refusals_are_logged_once_and_then_every_few_minutes() -> None:
    """Health learns of each one; a person reads a few lines."""
    loop = Loop(*refusals(99))
    loop.supervisor.accepted()

    loop.run()

    assert set(loop.heard.names()) == {events.KEY_REFUSED}
    assert [event.level for event in loop.heard.events][:2] == ["WARNING", "DEBUG"]
    assert sum(event.level == "WARNING" for event in loop.heard.events) <= 5


@pytest.mark.parametrize("name", [events.POLLED, events.CLAIMED, events.REPORTED])
def test_a_success_of_any_call_wipes_earlier_refusals(name: str) -> None:
    """Whichever loop it was: the key is the same."""
    loop = Loop(*refusals(99))
    loop.supervisor.accepted()
    started = loop.clock.seconds

    def step() -> bool:
        if loop.turns == 14:  # minutes later
            loop.supervisor.take(Event(name=name, message="good"))
        return loop.step()

    loop.supervisor.run("test", step, loop.over)

    assert events.KEY_ACCEPTED in loop.heard.names()
    assert loop.clock.seconds - started > 900


def test_a_poll_that_did_not_ask_proves_nothing_about_the_key() -> None:
    """An agent at its limit does not poll."""
    loop = Loop(*refusals(1))
    loop.supervisor.take(Event(name=events.POLLED, message="no room", fields={"busy": True}))

    loop.run()

    assert loop.supervisor.fatal is not None


def test_refusals_count_across_loops() -> None:
    """Every loop asks with the same key."""
    loop = Loop()
    loop.supervisor.accepted()
    for name in ("one", "other") * 5:
        loop.supervisor.failed(name, Unauthorised("no"))
        assert loop.supervisor.fatal is None
        loop.clock.seconds += 60

    loop.supervisor.failed("third", Unauthorised("no"))
    assert loop.supervisor.fatal is not None


def test_the_first_fatal_error_is_the_one_that_counts() -> None:
    """Later ones are consequences; the others are stopped once."""
    calls: list[str] = []
    supervisor = Supervisor(clock=HandClock(), on_fatal=lambda: calls.append("stop"), chance=lambda: 0.5)
    for _ in range(STRIKES + 3):
        supervisor.failed("a", Unauthorised("first"))
    over = threading.Event()
    over.set()
    for _ in range(STRIKES):
        supervisor.run("b", lambda: 1 // 0 > 0, over)

    assert calls == ["stop"]
    assert supervisor.fatal is not None
    assert supervisor.fatal.code == 77


def test_a_failed_loop_that_shall_stop_stops() -> None:
    """It does not try again, and does not wait."""
    loop = Loop(CloudUnavailable("away"), True)
    loop.over.set()

    loop.run()

    assert loop.turns == 1


def test_a_loop_in_a_thread_is_a_daemon() -> None:
    """A loop that hangs must not keep the process alive."""
    loop = Loop(True, False)
    thread = loop.supervisor.thread("poll", loop.step, loop.over)
    thread.join(30)

    assert (thread.daemon, thread.name, loop.turns) == (True, "poll", 2)


HANGING = """
    import threading
    from prefect.agent.entrypoints.runtime.exits import leave
    hanging = threading.Thread(target=threading.Event().wait, daemon={daemon})
    hanging.start()
    print("words", end="")
    leave(7)
"""


@pytest.mark.parametrize("daemon", [True, False])
def test_a_hanging_thread_does_not_keep_the_process(daemon: bool) -> None:
    """Python would wait for a thread of a pool for ever; what was printed is kept."""
    script = textwrap.dedent(HANGING.format(daemon=daemon))

    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=False)

    assert (done.returncode, done.stdout) == (7, "words"), done.stderr


def test_threads_that_were_there_before_do_not_matter() -> None:
    """A program that starts an agent may have threads of its own."""
    over = threading.Event()
    own = threading.Thread(target=over.wait)
    own.start()
    try:
        with pytest.raises(SystemExit) as end:
            leave(7, before=threading.enumerate())
    finally:
        over.set()
        own.join()

    assert end.value.code == 7

"""The start of an agent: it waits for Cloud and platform like everything else does."""

import threading
from collections.abc import Callable
from typing import Any

import attrs
import pytest

from prefect.agent.adapters.fakes import InMemoryCloudApi, InMemoryPlatform
from prefect.agent.domain.errors import (
    AgentError,
    CloudMisconfigured,
    CloudUnavailable,
    ConfigurationError,
    OutcomeUnknown,
    PlatformForbidden,
    PlatformUnavailable,
    RequestRejected,
    Unauthorised,
)
from prefect.agent.entrypoints.runtime.startup import StartUp
from prefect.agent.ports import events
from prefect.agent.ports.cloud_api import AgentIdentity, Tenant
from support.builders import HandClock, Heard
from support.waiting import wait_until


@attrs.define
class Start:
    """A start on fakes, under a clock that pauses move."""

    cloud: InMemoryCloudApi = attrs.field(factory=InMemoryCloudApi)
    platform: InMemoryPlatform = attrs.field(factory=InMemoryPlatform)
    clock: HandClock = attrs.field(factory=HandClock)
    heard: Heard = attrs.field(factory=Heard)
    stopping: threading.Event = attrs.field(factory=threading.Event)
    prepare: Callable[[], object] = lambda: None

    def __call__(self, *, patience: float = 300.0) -> Tenant | None:
        """Start, and give the tenant."""
        return StartUp(
            cloud=self.cloud,
            platform=self.platform,
            clock=self.clock,
            agent=AgentIdentity(name="ann", type="Agent"),
            patience=patience,
            stopping=self.stopping,
            tell=self.heard,
            prepare=self.prepare,
            chance=lambda: 0.5,
        )()


@pytest.fixture
def start() -> Start:
    """A start at which nothing fails yet."""
    return Start()


def fail(start: Start, call: str, problem: AgentError, times: int) -> None:
    """Let a call fail so often."""
    port: Any = start.platform if call == "check" else start.cloud
    port.fail_next(call, problem, times=times)


@pytest.mark.parametrize(
    ("call", "problem"),
    [
        ("connect", CloudUnavailable("away")),
        ("connect", OutcomeUnknown("lost")),
        ("connect", RequestRejected("no tenant yet")),
        ("check", PlatformUnavailable("away")),
        ("register", CloudUnavailable("away")),
        ("register", OutcomeUnknown("lost")),
        ("register", RequestRejected("no tenant yet")),
        ("register", Unauthorised("a proxy says no")),
    ],
)
def test_a_start_waits_for_what_may_pass(start: Start, call: str, problem: AgentError) -> None:
    """An outage of seconds, a Server that has no tenant yet, an engine that restarts, a failing registration."""
    fail(start, call, problem, times=10)

    assert start() is not None

    assert len(start.cloud.registered) == 1
    assert 8 < start.clock.seconds - 1000 < 300


@pytest.mark.parametrize(
    ("call", "problem"),
    [
        ("connect", Unauthorised("no")),
        ("connect", ConfigurationError("no address")),
        ("connect", CloudMisconfigured("no file of authorities")),
        ("check", PlatformForbidden("no")),
        ("check", ConfigurationError("no interpreter")),
    ],
)
def test_what_waiting_cannot_mend_ends_the_start_at_once(start: Start, call: str, problem: AgentError) -> None:
    """A key that is refused, a permission that is missing: a person is at hand now."""
    fail(start, call, problem, times=1)

    with pytest.raises(type(problem)):
        start()

    assert start.clock.pauses == []


@pytest.mark.parametrize("patience", [0.0, 20.0, 300.0])
def test_a_start_gives_up_after_its_patience(start: Start, patience: float) -> None:
    """With the last error; without patience after one try."""
    fail(start, "connect", CloudUnavailable("away"), times=1000)

    with pytest.raises(CloudUnavailable, match="away"):
        start(patience=patience)

    assert start.clock.seconds - 1000 == pytest.approx(patience)
    assert (start.cloud.calls.count("connect") == 1) is (patience == 0)


def test_the_patience_is_one_for_all_steps(start: Start) -> None:
    """Three steps that fail in turn do not wait three times as long."""
    fail(start, "connect", CloudUnavailable("away"), times=10)
    fail(start, "check", PlatformUnavailable("away too"), times=1000)

    with pytest.raises(PlatformUnavailable):
        start(patience=100)

    assert start.clock.seconds - 1000 == pytest.approx(100)


def test_the_same_reason_is_logged_once_a_minute(start: Start) -> None:
    """Each attempt is an event, for health; a person reads a line when there is news."""
    fail(start, "connect", CloudUnavailable("away"), times=12)
    fail(start, "register", CloudUnavailable("still away"), times=1)

    start()

    assert set(start.heard.names()) == {events.STARTING}
    assert len(start.heard.events) == 13
    warned = [event.message for event in start.heard.events if event.level == "WARNING"]
    assert [("still" in message) for message in warned] == [False, False, True]


def test_a_server_that_asks_for_an_hour_is_asked_again_within_a_minute(start: Start) -> None:
    """Retry-After is honoured within reason."""
    fail(start, "connect", CloudUnavailable("busy", retry_after=3600), times=1)

    start()

    assert start.clock.pauses == [60]


def test_what_is_made_after_the_check_is_waited_for_too(start: Start) -> None:
    """The first question for the platform's identity may meet an engine that restarts."""
    outcomes = iter([PlatformUnavailable("away"), None])

    def prepare() -> None:
        if (problem := next(outcomes)) is not None:
            raise problem

    start.prepare = prepare

    assert start() is not None


def test_a_bug_in_the_start_is_not_waited_for(start: Start) -> None:
    """It reaches the caller as it is."""

    def prepare() -> None:
        raise ValueError("oops")

    start.prepare = prepare

    with pytest.raises(ValueError, match="oops"):
        start()


def test_a_start_can_be_given_up_while_it_waits(start: Start) -> None:
    """No error: the agent was asked to stop."""
    fail(start, "connect", CloudUnavailable("away"), times=1000)
    start.heard.events = Stopper(start.stopping)

    assert start() is None


class Stopper(list):  # type: ignore[type-arg]
    """A list that has a start given up when the first event arrives."""

    def __init__(self, stopping: threading.Event) -> None:
        super().__init__()
        self.stopping = stopping

    def append(self, event: object) -> None:
        """Take it."""
        super().append(event)
        self.stopping.set()


def test_a_start_can_be_given_up_while_a_call_hangs(start: Start) -> None:
    """A signal is not to wait for a connection's timeout."""
    hangs, go_on = threading.Event(), threading.Event()

    def prepare() -> None:
        hangs.set()
        go_on.wait(60)

    start.prepare = prepare
    results: list[Tenant | None] = []
    starting = threading.Thread(target=lambda: results.append(start()))
    starting.start()
    try:
        assert hangs.wait(30)
        start.stopping.set()
        starting.join(30)
        assert results == [None]
    finally:
        go_on.set()
    wait_until(lambda: not any(thread.name == "start-up" for thread in threading.enumerate()))

"""The start of an agent: reach the Cloud and the platform, wait for them if necessary, and register the agent."""

import random
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Final, TypeVar

import attrs

from prefect.agent.domain.errors import (
    AgentError,
    CloudUnavailable,
    ConfigurationError,
    OutcomeUnknown,
    PlatformUnavailable,
    RequestRejected,
    Unauthorised,
    asked_to_wait,
)
from prefect.agent.domain.model.pauses import back_off
from prefect.agent.ports import events
from prefect.agent.ports.clock import Clock
from prefect.agent.ports.cloud_api import AgentIdentity, CloudApi, Tenant
from prefect.agent.ports.events import Event, EventSink
from prefect.agent.ports.platform import ExecutionPlatform

Result = TypeVar("Result")

MAY_PASS: Final = (CloudUnavailable, OutcomeUnknown, RequestRejected, PlatformUnavailable)
"""Errors after which a step is tried again. A rejection is one: a Server may get its tenant while the agent waits."""

REPEAT_AFTER: Final = 60.0
"""Seconds for which the same message is not repeated at level WARNING."""

LOOK_EVERY: Final = 0.1
"""Seconds between two checks whether the start was cancelled, while a call does not return."""

LONGEST_PAUSE: Final = 10.0
"""Longest pause in seconds between two tries, if no server asks for a longer one."""

LONGEST_WAIT: Final = 60.0
"""Longest pause in seconds between two tries, if a server asks for one."""


@attrs.define(kw_only=True)
class StartUp:
    """The steps that must succeed once before the first poll.

    Attributes:
        agent: How the agent presents itself to the Cloud; None registers nothing.
        patience: Seconds after which a failing step is not tried again; 0 tries each step once.
        stopping: Set to cancel the start.
        prepare: Called when the platform has answered, and tried again like the other steps.
    """

    cloud: CloudApi
    platform: ExecutionPlatform
    clock: Clock
    agent: AgentIdentity | None
    patience: float
    stopping: threading.Event
    tell: EventSink = events.ignore
    prepare: Callable[[], object] = lambda: None
    chance: Callable[[], float] = random.random
    _changed: threading.Event = attrs.field(factory=threading.Event, init=False)
    _logged: dict[str, float] = attrs.field(factory=dict, init=False)
    _deadline: float = attrs.field(default=0.0, init=False)

    def __call__(self) -> Tenant | None:
        """Connect, check the platform and register, in a thread of its own; return the tenant.

        Returns None as soon as :attr:`stopping` is set, also while a call hangs.

        Raises:
            AgentError: The last error of a step that did not succeed in time, or an error that waiting cannot solve: a
                refused key, a missing permission, a wrong configuration.
        """
        self._deadline = self.clock.monotonic() + self.patience
        work: Future[Tenant | None] = Future()
        threading.Thread(target=self._work, args=(work,), name="start-up", daemon=True).start()
        while not work.done() and not self.stopping.is_set():
            self._changed.wait(LOOK_EVERY)
        return None if self.stopping.is_set() else work.result()

    def _work(self, work: "Future[Tenant | None]") -> None:
        try:
            work.set_result(self._steps())
        except BaseException as problem:  # noqa: BLE001 - raised again by the thread that waits
            work.set_exception(problem)
        self._changed.set()

    def _steps(self) -> Tenant | None:
        tenant = self._persist(self.cloud.connect, MAY_PASS)
        self._persist(self.platform.check, MAY_PASS)
        self._persist(self.prepare, MAY_PASS)
        # The Cloud has accepted the key by now: a refusal may pass too.
        agent = self.agent
        if agent is not None:
            self._persist(lambda: self.cloud.register(agent), (*MAY_PASS, Unauthorised))
        return tenant

    def _persist(self, step: Callable[[], Result], may_pass: tuple[type[AgentError], ...]) -> Result | None:
        """Try *step* until it succeeds, an error is not of *may_pass*, or the time is up; None if cancelled."""
        misses = 0
        while not self.stopping.is_set():
            try:
                return step()
            except may_pass as problem:
                if isinstance(problem, ConfigurationError):
                    raise
                left = self._deadline - self.clock.monotonic()
                if left <= 0:
                    raise
                self._report(str(problem))
                asked = min(asked_to_wait(problem), LONGEST_WAIT)
            pause = back_off(misses, first=0.5, last=LONGEST_PAUSE, chance=self.chance())
            self.clock.pause(min(max(pause, asked), left), self.stopping)
            misses += 1
        return None

    def _report(self, text: str) -> None:
        """Log why the start waits; log the same reason only once a minute at level WARNING."""
        now = self.clock.monotonic()
        is_news = now - self._logged.get(text, -REPEAT_AFTER) >= REPEAT_AFTER
        if is_news:
            self._logged[text] = now
        left = max(0.0, self._deadline - now)
        message, fields = f"Starting: {text}. Trying again for up to {left:.0f} s", {"left_s": round(left, 1)}
        self.tell(Event(name=events.STARTING, level="WARNING" if is_news else "DEBUG", message=message, fields=fields))

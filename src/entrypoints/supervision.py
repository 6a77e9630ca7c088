"""Loops that survive what goes wrong in them, and end the process when they cannot go on (promise P3)."""

import random
import threading
import traceback
from collections.abc import Callable
from typing import Final

import attrs

from prefect.agent.domain.errors import AgentError, CloudError, Unauthorised
from prefect.agent.domain.model.planning import back_off
from prefect.agent.entrypoints.exits import AgentExit, ExitCode
from prefect.agent.ports import events
from prefect.agent.ports.clock import Clock, Wake
from prefect.agent.ports.events import Event, EventSink

STRIKES: Final = 5
"""Bugs of one loop, or refusals of the key by the Cloud, in a row that end the process."""

LONGEST_WAIT: Final = 120.0
"""Seconds: however long a server asks a loop to wait, it tries again then."""

Step = Callable[[], bool]
"""One turn of a loop; answers whether there is to be another."""


@attrs.define(kw_only=True)
class Supervisor:
    """Runs loops. One for all loops of an agent.

    Attributes:
        on_fatal: Called once when a loop cannot go on, to stop the others.
    """

    clock: Clock
    on_fatal: Callable[[], None]
    tell: EventSink = events.ignore
    chance: Callable[[], float] = random.random
    fatal: AgentExit | None = attrs.field(default=None, init=False)
    _refusals: int = attrs.field(default=0, init=False)

    def thread(self, name: str, step: Step, until: Wake) -> threading.Thread:
        """Run a loop in a daemon thread of its own."""
        thread = threading.Thread(target=self.run, args=(name, step, until), name=name, daemon=True)
        thread.start()
        return thread

    def run(self, name: str, step: Step, until: Wake) -> None:
        """Call *step* until it answers False, or until it failed and *until* is set."""
        strikes = misses = 0
        while True:
            asked_to_wait = 0.0
            try:
                if not step():
                    return
                strikes = misses = 0
                continue
            except AgentError as trouble:
                self.trouble(name, trouble)
                asked_to_wait = getattr(trouble, "retry_after", None) or 0.0
            except Exception as bug:  # noqa: BLE001 - P3: no bug of one step may silence a loop
                strikes += 1
                self.bug(name, bug)
            if strikes >= STRIKES:
                self._die(ExitCode.SOFTWARE, f"the {name} loop failed {strikes} times in a row; see the log above")
            misses += 1
            pause = back_off(misses, first=0.25, last=10.0, chance=self.chance())
            self.clock.pause(max(pause, min(asked_to_wait, LONGEST_WAIT)), until)
            if until.is_set():
                return

    def trouble(self, name: str, trouble: AgentError) -> None:
        """Tell what went wrong; too many refusals of the key in a row are the end."""
        kind = events.CLOUD_TROUBLE if isinstance(trouble, CloudError) else events.PLATFORM_TROUBLE
        self.tell(Event(name=kind, level="WARNING", message=f"{name}: {trouble}", fields={"loop": name}))
        if isinstance(trouble, Unauthorised):
            self._refusals += 1
            if self._refusals >= STRIKES:
                self._die(ExitCode.NO_PERMISSION, str(trouble))

    def accepted(self) -> None:
        """The Cloud took the key: earlier refusals do not count any more."""
        self._refusals = 0

    def bug(self, name: str, bug: Exception) -> None:
        """Tell of an exception that nobody expected."""
        text = "".join(traceback.format_exception(type(bug), bug, bug.__traceback__))
        fields = {"loop": name, "traceback": text}
        self.tell(Event(name=events.BUG, level="ERROR", message=f"Bug in the {name} loop: {bug!r}", fields=fields))

    def _die(self, code: ExitCode, message: str) -> None:
        if self.fatal is None:
            self.fatal = AgentExit(code, message)
            self.on_fatal()

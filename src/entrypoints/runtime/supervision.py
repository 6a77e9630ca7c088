"""Loops that survive what goes wrong in them, and end the process when they cannot go on (promise P3)."""

import random
import threading
import traceback
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Final

import attrs

from prefect.agent.domain.errors import AgentError, CloudError, Unauthorised, asked_to_wait
from prefect.agent.domain.model.patience import KeyTrust, Verdict, key_accepted, key_refused, key_unanswered
from prefect.agent.domain.model.pauses import back_off
from prefect.agent.domain.model.settings import AgentSettings
from prefect.agent.entrypoints.runtime.exits import AgentExit, ExitCode, end_now
from prefect.agent.entrypoints.runtime.progress import STEP_ALLOWED, Progress
from prefect.agent.entrypoints.runtime.watchdog import Watchdog
from prefect.agent.ports import events
from prefect.agent.ports.clock import Clock, Wake
from prefect.agent.ports.events import Event, EventSink

STRIKES: Final = 5
"""Bugs of one loop in a row that end the process."""

LONGEST_WAIT: Final = 120.0
"""Seconds: however long a server asks a loop to wait, it tries again then."""

LONGEST_PAUSE: Final = 10.0
"""Longest own pause of a loop between two failed steps, in seconds."""

LONGEST_PAUSE_REFUSED: Final = 60.0
"""The same while the Cloud refuses the API key."""

PROOF_OF_KEY: Final = frozenset({events.POLLED, events.CLAIMED, events.REPORTED})
"""Events that happen only if the Cloud has accepted the key."""

Step = Callable[[], bool]
"""One turn of a loop; answers whether there is to be another."""


@attrs.define(kw_only=True)
class Supervisor:
    """Runs loops. One for all loops of an agent.

    Attributes:
        on_fatal: Called once when a loop cannot go on, to stop the others.
        settings: How long refusals of the key and loops that stand still are borne.
        end_process: Ends the process at once, with a code.
    """

    clock: Clock
    on_fatal: Callable[[], None]
    tell: EventSink = events.ignore
    chance: Callable[[], float] = random.random
    settings: AgentSettings = AgentSettings()
    end_process: Callable[[int], None] = end_now
    fatal: AgentExit | None = attrs.field(default=None, init=False)
    watchdog: Watchdog = attrs.field(init=False)
    _progress: Progress = attrs.field(factory=Progress, init=False)
    _trust: KeyTrust = attrs.field(factory=KeyTrust, init=False)
    _guard: threading.Lock = attrs.field(factory=threading.Lock, init=False)

    def __attrs_post_init__(self) -> None:
        self.watchdog = Watchdog(
            clock=self.clock,
            progress=self._progress,
            settings=self.settings,
            give_up=self._die,
            tell=self.tell,
            end_process=self.end_process,
        )

    def on_guard(self) -> AbstractContextManager[None]:
        """Have the watchdog look after loops and threads while the block executes."""
        return self.watchdog.on_guard()

    def watch_thread(self, thread: threading.Thread, until: Wake | None = None) -> None:
        """Report *thread*, which is no loop, if it ends before *until* is set; None: whenever it ends."""
        self.watchdog.watch_thread(thread, until)

    def thread(self, name: str, step: Step, until: Wake, *, allowed: float = STEP_ALLOWED) -> threading.Thread:
        """Run a loop in a daemon thread of its own; see :meth:`run`."""
        thread = threading.Thread(target=self.run, args=(name, step, until), kwargs={"allowed": allowed}, name=name)
        thread.daemon = True
        thread.start()
        return thread

    def run(self, name: str, step: Step, until: Wake, *, allowed: float = STEP_ALLOWED) -> None:
        """Call *step* until it answers False, or until it failed and *until* is set.

        Args:
            name: Of the loop; unique.
            step: One turn.
            until: Ends the pause after a failed step.
            allowed: How many seconds one step may take, its own pauses included, before it is reported as stalled.
        """
        strikes = misses = 0
        while True:
            at_least, longest = 0.0, LONGEST_PAUSE
            self._progress.begin(name, self.clock.monotonic(), allowed)
            try:
                if not step():
                    return
                strikes = misses = 0
                continue
            except AgentError as problem:
                self.failed(name, problem)
                at_least = asked_to_wait(problem)
                longest = LONGEST_PAUSE_REFUSED if isinstance(problem, Unauthorised) else LONGEST_PAUSE
            except Exception as bug:  # noqa: BLE001 - P3: no bug of one step may silence a loop
                strikes += 1
                self.bug(name, bug)
            finally:
                self._resumed(name, self._progress.rest(name))
            if strikes >= STRIKES:
                self._die(ExitCode.SOFTWARE, f"the {name} loop failed {strikes} times in a row; see the log above")
            misses += 1
            pause = back_off(misses, first=0.25, last=longest, chance=self.chance())
            self.clock.pause(max(pause, min(at_least, LONGEST_WAIT)), until)
            if until.is_set():
                return

    def progress(self, name: str) -> None:
        """Let a long step of the loop *name* say that it gets on: its time begins anew."""
        self._resumed(name, self._progress.touch(name, self.clock.monotonic()))

    def failed(self, name: str, problem: AgentError) -> None:
        """Report what went wrong. Refusals of the key are borne for a while, see ``domain.model.patience``."""
        if isinstance(problem, Unauthorised):
            self._refused(name, problem)
            return
        kind = events.PLATFORM_TROUBLE
        if isinstance(problem, CloudError):
            kind = events.CLOUD_TROUBLE
            with self._guard:
                self._trust = key_unanswered(self._trust)
        self.tell(Event(name=kind, level="WARNING", message=f"{name}: {problem}", fields={"loop": name}))

    def accepted(self) -> None:
        """Note that the Cloud accepted the key in some call: earlier refusals do not count any more."""
        with self._guard:
            was_refused, self._trust = self._trust.is_refused, key_accepted(self._trust)
        if was_refused:
            self.tell(Event(name=events.KEY_ACCEPTED, message="The Cloud accepts the API key again"))

    def take(self, event: Event) -> None:
        """Learn from an event of the agent whether the Cloud accepts the key."""
        if event.name in PROOF_OF_KEY and not event.fields.get("busy"):
            self.accepted()

    def bug(self, name: str, bug: Exception) -> None:
        """Report an unexpected exception."""
        text = "".join(traceback.format_exception(type(bug), bug, bug.__traceback__))
        fields = {"loop": name, "traceback": text}
        self.tell(Event(name=events.BUG, level="ERROR", message=f"Bug in the {name} loop: {bug!r}", fields=fields))

    def _refused(self, name: str, refusal: Unauthorised) -> None:
        patience = self.settings.auth_patience
        with self._guard:
            self._trust, verdict = key_refused(self._trust, self.clock.monotonic(), patience=patience)
        if verdict is Verdict.GIVE_UP:
            self._die(ExitCode.NO_PERMISSION, str(refusal))
        message = f"{name}: {refusal}. It was accepted before: retrying; the agent ends after {patience:g} s of this"
        level = "DEBUG" if verdict is Verdict.WAIT else "WARNING"
        self.tell(Event(name=events.KEY_REFUSED, level=level, message=message, fields={"loop": name}))

    def _resumed(self, name: str, was_reported: bool) -> None:  # noqa: FBT001 - one of two facts
        if was_reported:
            message = f"The {name} loop goes on"
            self.tell(Event(name=events.RESUMED, level="WARNING", message=message, fields={"loop": name}))

    def _die(self, code: ExitCode, message: str) -> None:
        if self.fatal is None:
            self.fatal = AgentExit(code, message)
            self.on_fatal()

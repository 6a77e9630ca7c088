"""The watchdog: a daemon thread that reports loops that stand still and threads that have ended."""

import sys
import threading
import traceback
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from typing import Final

import attrs

from prefect.agent.domain.model.settings import AgentSettings
from prefect.agent.entrypoints.runtime import outlet
from prefect.agent.entrypoints.runtime.exits import ExitCode, end_now
from prefect.agent.entrypoints.runtime.progress import LoopStep, Progress, stacks, where
from prefect.agent.ports import events
from prefect.agent.ports.clock import Clock, Wake
from prefect.agent.ports.events import Event, EventSink

LOOK_EVERY: Final = 5.0
"""Seconds between two looks at the progress clock."""

ASIDE: Final = 1.0
"""Most seconds that the watchdog waits for an event sink or for stderr, since these may stand still themselves."""


@attrs.define(kw_only=True)
class Watchdog:
    """Watches the progress of loops, and threads that must not end.

    Attributes:
        give_up: Asks the loops to stop, with exit code and message, when the agent cannot continue.
        end_process: Ends the process at once with an exit code.
    """

    clock: Clock
    progress: Progress
    settings: AgentSettings
    give_up: Callable[[ExitCode, str], None]
    tell: EventSink = events.ignore
    end_process: Callable[[int], None] = end_now
    _threads: dict[threading.Thread, Wake | None] = attrs.field(factory=dict, init=False)
    _ended: dict[threading.Thread, float] = attrs.field(factory=dict, init=False)
    """By thread that has ended: when that was observed, in monotonic seconds."""
    _looked_at: float | None = attrs.field(default=None, init=False)
    _over: threading.Event = attrs.field(factory=threading.Event, init=False)
    _has_given_up: bool = attrs.field(default=False, init=False)

    def watch_thread(self, thread: threading.Thread, until: Wake | None = None) -> None:
        """Report *thread* if it ends before *until* is set; without *until*, report whenever it ends."""
        self._threads[thread] = until

    @contextmanager
    def on_guard(self) -> Generator[None]:
        """Watch while the block executes, and report exceptions that end any thread in that time."""
        before = threading.excepthook

        def report(died: threading.ExceptHookArgs) -> None:
            self._report_death(died)
            if before not in {threading.__excepthook__, outlet.thread_died}:
                before(died)

        threading.excepthook = report
        threading.Thread(target=self._run, name="progress-watchdog", daemon=True).start()
        try:
            yield
        finally:
            self._over.set()
            threading.excepthook = before

    def look(self) -> None:
        """Report loops that stand still and threads that have ended; end the process if that lasts too long."""
        now = self.clock.monotonic()
        if self._looked_at is not None and now - self._looked_at > 2 * LOOK_EVERY:
            self.progress.forgive(now - self._looked_at - LOOK_EVERY)
        self._looked_at = now
        for step in self.progress.overdue(now):
            self._judge_step(step, now)
        for thread, until in list(self._threads.items()):
            if not thread.is_alive() and not (until is not None and until.is_set()):
                self._judge_ended(thread, now)

    def _run(self) -> None:
        while not self._over.is_set():
            with suppress(Exception):  # the watchdog outlives its own bugs
                self.look()
            self.clock.pause(LOOK_EVERY, self._over)

    def _judge_step(self, step: LoopStep, now: float) -> None:
        taken = now - step.began
        message = f"The {step.loop} loop stands still for {taken:.0f} s (allowed: {step.allowed:.0f} s)"
        if not step.is_reported:
            step.is_reported = True
            stands = where(step.thread)
            fields = {"loop": step.loop, "taken_s": round(taken, 1), "allowed_s": step.allowed, "where": stands}
            self._report(Event(name=events.STALLED, level="ERROR", message=f"{message}, at {stands}", fields=fields))
        if step.overdue(now) >= self.settings.stall_patience:
            self._end(ExitCode.STALLED, message)

    def _judge_ended(self, thread: threading.Thread, now: float) -> None:
        message = f"The thread {thread.name} has ended unexpectedly"
        if thread not in self._ended:
            self._ended[thread] = now
            fields = {"thread": thread.name}
            self._report(Event(name=events.THREAD_ENDED, level="ERROR", message=message, fields=fields))
        if now - self._ended[thread] >= self.settings.stall_patience:
            self._end(ExitCode.SOFTWARE, message)

    def _report_death(self, died: threading.ExceptHookArgs) -> None:
        name = died.thread.name if died.thread is not None else "unknown"
        text = "".join(traceback.format_exception(died.exc_type, died.exc_value, died.exc_traceback))
        message = f"Bug in the thread {name}, which has ended: {died.exc_value!r}"
        self.tell(Event(name=events.BUG, level="ERROR", message=message, fields={"loop": name, "traceback": text}))

    def _end(self, code: ExitCode, message: str) -> None:
        """Ask the loops to stop, print all stacks, and end the process if the loops do not stop in time."""
        if self._has_given_up:
            return
        self._has_given_up = True
        self.give_up(code, message)
        _aside(lambda: _show(f"{message}. The process ends with {int(code)}. All threads:\n{stacks()}\n"))
        self.clock.pause(self.settings.stop_patience, self._over)
        if not self._over.is_set():
            self.end_process(code)

    def _report(self, event: Event) -> None:
        _aside(lambda: self.tell(event))


def _aside(act: Callable[[], None]) -> None:
    """Call *act* in a thread of its own, and wait for it for a moment."""
    thread = threading.Thread(target=act, name="watchdog-report", daemon=True)
    thread.start()
    thread.join(ASIDE)


def _show(text: str) -> None:
    with suppress(OSError, ValueError):
        sys.stderr.write(text)
        sys.stderr.flush()

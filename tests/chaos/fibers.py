"""Threads that take turns: one executes at a time, chance decides which, and time passes only while all of them wait.

Within :func:`chaos.patching.installed`, threads that a fiber starts become fibers, and what they wait for (conditions,
events, queues, joins, pools, ``time.sleep``) waits in virtual time. So the agent's real loops run as they are, and a
seed repeats them.
A process is a group of fibers; once it is killed, every one of its fibers raises :class:`Killed` where it stands.
"""

import _thread
import faulthandler
import heapq
import math
import random
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta, timezone
from typing import Any, Final

import attrs

from prefect.agent.ports.clock import Clock, Wake

START: Final = datetime(2024, 1, 1, tzinfo=timezone.utc)
MOST_STEPS: Final = 100_000
"""Turns without time passing after which a run is called endless."""

STANDS_STILL: Final = 20.0
"""Real seconds after which a run in which no fiber gives its turn away is called blocked."""

_START: Final = threading.Thread.start
_fibers: dict[int, "Fiber"] = {}
"""By the identity of the thread."""


class Killed(BaseException):
    """The process of this fiber was killed: everything unwinds."""


class Stuck(AssertionError):
    """No fiber can ever go on, or they go on for ever without time passing."""


@attrs.define(eq=False)
class Process:
    """A group of fibers that dies together.

    Attributes:
        killed: Whether it was killed; then nothing it does has any effect.
    """

    name: str
    killed: bool = False
    fibers: list["Fiber"] = attrs.field(factory=list)

    @property
    def is_over(self) -> bool:
        """Whether no fiber of it is left."""
        return not self.fibers


@attrs.define(eq=False)
class Fiber:
    """A thread that has its turns from the scheduler.

    Attributes:
        until: When its wait is over (microseconds); None if time alone does not end it.
        ready: What else ends its wait.
    """

    name: str
    process: Process
    scheduler: "Scheduler"
    baton: Any = attrs.field(factory=_thread.allocate_lock)
    until: int | None = None
    ready: Callable[[], bool] | None = None
    is_over: bool = False

    def can_run(self, now: int) -> bool:
        """Whether it has something to do."""
        if self.process.killed or (self.until is not None and self.until <= now):
            return True
        return self.ready is not None and self.ready()


class Scheduler:
    """Gives turns, and lets time pass.

    The fiber that made it is the director: the test itself. It cannot be killed.

    Args:
        chance: Decides who is next; None: each in its turn, the same in every run.
    """

    def __init__(self, chance: random.Random | None = None) -> None:
        self.now = 0
        self.steps = self._turns = 0
        self.failure: BaseException | None = None
        self._chance = chance
        self._timers: list[tuple[int, int, Callable[[], object]]] = []
        self._numbers = iter(range(sys.maxsize))
        self._director = Fiber("director", Process("director"), self)
        self._fibers = [self._director]
        self._current = self._director

    # --- for the director ---

    @contextmanager
    def directing(self) -> Iterator[None]:
        """Make the thread that calls the director; at the end every fiber is unwound."""
        _fibers[_thread.get_ident()] = self._director
        self._director.baton.acquire()
        try:
            yield
            self.check()
        finally:
            for fiber in list(self._fibers):
                if fiber is not self._director:
                    fiber.process.killed = True
            self.failure = None
            try:
                self.wait(lambda: len(self._fibers) == 1)
            finally:
                del _fibers[_thread.get_ident()]

    def check(self) -> None:
        """Raise what went wrong elsewhere."""
        if self.failure is not None:
            failure, self.failure = self.failure, None
            raise failure

    def run_for(self, seconds: float) -> None:
        """Let everything go on for so many virtual *seconds*."""
        self.wait(None, seconds)

    def at(self, seconds: float, act: Callable[[], object]) -> None:
        """Call *act*, which must not wait, so many virtual *seconds* from now."""
        heapq.heappush(self._timers, (self.now + _micro(seconds), next(self._numbers), act))

    def spawn(self, process: Process, name: str, work: Callable[[], object]) -> Fiber:
        """Let *work* be done by a new fiber of *process*."""
        fiber = Fiber(name, process, self, until=self.now)
        fiber.baton.acquire()
        process.fibers.append(fiber)
        self._fibers.append(fiber)

        def run() -> None:
            _fibers[_thread.get_ident()] = fiber
            fiber.baton.acquire()
            try:
                if not process.killed:
                    work()
            except Killed:
                pass
            except BaseException as problem:  # noqa: BLE001 - the director raises it
                self.failure = self.failure or problem
            finally:
                self._leave(fiber)

        thread = threading.Thread(target=run, name=name, daemon=True)
        mine = _fibers.pop(_thread.get_ident(), None)  # starting it waits for real
        try:
            _START(thread)
        finally:
            if mine is not None:
                _fibers[_thread.get_ident()] = mine
        return fiber

    # --- for fibers ---

    def wait(self, ready: Callable[[], bool] | None = None, seconds: float | None = None) -> bool:
        """Give the turn away until *ready* answers true or so many virtual *seconds* have passed; return *ready*.

        Raises:
            Killed: The process of this fiber was killed meanwhile.
            Stuck: Only in the director: nothing can go on.
        """
        me = self._current
        me.ready = ready
        me.until = None if seconds is None else self.now + _micro(max(0.0, seconds))
        self._hand_over(me)
        if me.process.killed:
            raise Killed
        if me is self._director:
            self.check()
        return ready() if ready is not None else False

    def turn(self) -> None:
        """Let others have a turn; no time passes."""
        self.wait(None, 0)

    def _leave(self, fiber: Fiber) -> None:
        fiber.is_over = True
        fiber.process.fibers.remove(fiber)
        self._fibers.remove(fiber)
        del _fibers[_thread.get_ident()]
        following = self._choose()
        self._current = following
        following.baton.release()

    def _hand_over(self, me: Fiber) -> None:
        following = self._choose()
        if following is me:
            return
        self._current = following
        following.baton.release()
        if me is not self._director:
            me.baton.acquire()
        elif not me.baton.acquire(timeout=STANDS_STILL):
            faulthandler.dump_traceback(all_threads=True)
            raise Stuck(f"{self._current.name} has not given its turn away for {STANDS_STILL:g} real seconds")

    def _choose(self) -> Fiber:
        """Whose turn it is; time passes until it is anybody's."""
        while True:
            self._run_timers()
            self.steps += 1
            self._turns += 1
            if self.failure is not None:
                return self._director
            if self._turns > MOST_STEPS:
                self._turns = 0
                self.failure = Stuck(f"endless turns without time passing, the last of {self._current.name}")
                return self._director
            able = [fiber for fiber in self._fibers if fiber.can_run(self.now)]
            if able:
                return self._pick(able)
            times = [fiber.until for fiber in self._fibers if fiber.until is not None]
            times += [self._timers[0][0]] if self._timers else []
            if not times:
                self.failure = Stuck("every fiber waits for another: " + ", ".join(each.name for each in self._fibers))
                return self._director
            self.now, self._turns = max(self.now, min(times)), 0

    def _pick(self, able: list[Fiber]) -> Fiber:
        if len(able) == 1:
            return able[0]
        if self._chance is not None:
            return self._chance.choice(able)
        first = able[0]
        self._fibers.remove(first)
        self._fibers.append(first)
        return first

    def _run_timers(self) -> None:
        while self._timers and self._timers[0][0] <= self.now:
            _, _, act = heapq.heappop(self._timers)
            try:
                act()
            except BaseException as problem:  # noqa: BLE001 - the director raises it
                self.failure = self.failure or problem


class VirtualClock(Clock):
    """A machine's clock: virtual time, and an error of its own.

    Attributes:
        ahead: Seconds that its time of day is ahead of the true one.
    """

    def __init__(self, scheduler: Scheduler) -> None:
        self._scheduler = scheduler
        self.ahead = 0.0

    def now(self) -> datetime:
        """The time of day, as this machine believes it to be."""
        return START + timedelta(microseconds=self._scheduler.now) + timedelta(seconds=self.ahead)

    def monotonic(self) -> float:
        """Virtual seconds."""
        return self._scheduler.now / 1_000_000

    def pause(self, seconds: float, wake: Wake | None = None) -> bool:
        """Wait in virtual time."""
        if seconds > 0 and not (wake is not None and wake.is_set()):
            self._scheduler.wait(wake.is_set if wake is not None else None, seconds)
        return wake is not None and wake.is_set()


def current() -> Fiber | None:
    """The fiber that calls; None outside of them, and for the director."""
    fiber = _fibers.get(_thread.get_ident())
    return None if fiber is None or fiber.process.name == "director" else fiber


def _micro(seconds: float) -> int:
    return math.ceil(seconds * 1_000_000)  # up: who waits for a moment finds it come

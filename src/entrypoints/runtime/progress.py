"""The progress of loops: which loop is in a step, since when, and what its thread executes."""

import sys
import threading
import traceback
from pathlib import Path
from types import FrameType
from typing import Final

import attrs

STEP_ALLOWED: Final = 300.0
"""Seconds that one step of a loop may take unless the loop sets another limit."""

PACKAGE: Final = Path(__file__).parents[1]
"""Folder of this package's files."""


@attrs.define(kw_only=True)
class LoopStep:
    """The current step of a loop.

    Attributes:
        loop: Name of the loop.
        thread: Ident of its thread.
        began: When the step began or last made progress, in monotonic seconds.
        allowed: Seconds that the step may take.
        is_reported: Whether the step was reported as stalled.
    """

    loop: str
    thread: int
    began: float
    allowed: float
    is_reported: bool = False

    def overdue(self, now: float) -> float:
        """Return the seconds by which the step exceeds its limit; negative while it is within the limit."""
        return now - self.began - self.allowed


@attrs.define
class Progress:
    """The current steps of all loops of an agent. Thread-safe. A loop between two steps, or in a pause, is not late."""

    _steps: dict[str, LoopStep] = attrs.field(factory=dict, init=False)
    _guard: threading.Lock = attrs.field(factory=threading.Lock, init=False)

    def begin(self, loop: str, now: float, allowed: float) -> None:
        """Record that *loop* begins a step in this thread."""
        with self._guard:
            self._steps[loop] = LoopStep(loop=loop, thread=threading.get_ident(), began=now, allowed=allowed)

    def touch(self, loop: str, now: float) -> bool:
        """Record that the step of *loop* makes progress; return whether it had been reported as stalled."""
        with self._guard:
            step = self._steps.get(loop)
            if step is None:
                return False
            was_reported, step.is_reported, step.began = step.is_reported, False, now
            return was_reported

    def rest(self, loop: str) -> bool:
        """Record that the step of *loop* is complete; return whether it had been reported as stalled."""
        with self._guard:
            step = self._steps.pop(loop, None)
            return step is not None and step.is_reported

    def forgive(self, seconds: float) -> None:
        """Add *seconds*, in which the whole process stood still, to the start of each step."""
        with self._guard:
            for step in self._steps.values():
                step.began += seconds

    def overdue(self, now: float) -> list[LoopStep]:
        """Return the steps that exceed their limits."""
        with self._guard:
            return [step for step in self._steps.values() if step.overdue(now) > 0]


def place(frame: FrameType) -> str:
    """Return file, line and function of *frame*, without values of its variables."""
    path = Path(frame.f_code.co_filename)
    return f"{'/'.join(path.parts[-2:])}:{frame.f_lineno} in {frame.f_code.co_name}"


def where(thread: int) -> str:
    """Return what the thread with that ident executes: its innermost frame, and the innermost one of this package."""
    frame = sys._current_frames().get(thread)  # noqa: SLF001 - the only way to see another thread's stack
    if frame is None:
        return "nowhere: the thread has ended"
    ours: FrameType | None = frame
    while ours is not None and PACKAGE not in Path(ours.f_code.co_filename).parents:
        ours = ours.f_back
    if ours is None or ours is frame:
        return place(frame)
    return f"{place(frame)}, called from {place(ours)}"


def stacks() -> str:
    """Return the stacks of all threads: file, line and function of each frame, outermost first, without values."""
    names = {thread.ident: thread.name for thread in threading.enumerate()}
    lines = []
    for ident, frame in sys._current_frames().items():  # noqa: SLF001 - the only way to see another thread's stack
        lines.append(f"Thread {names.get(ident, 'unknown')}:")
        lines += [f"  {place(each)}" for each, _ in traceback.walk_stack(frame)][::-1]
    return "\n".join(lines)

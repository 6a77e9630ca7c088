"""SIGINT, SIGTERM and SIGHUP: the first one asks the agent to stop, one that comes a second later ends the process."""

import signal
import sys
import threading
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from types import FrameType
from typing import Final

from prefect.agent.entrypoints.runtime.exits import end_now

TOGETHER: Final = 1.0
"""Seconds within which signals count as one: shells, wrappers and terminals send several."""

STOPPING: Final = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name))


@contextmanager
def stop_on_signals(stop: Callable[[], None], cause: Callable[[str], None] = lambda _: None) -> Generator[None]:
    """Call *stop* on the first signal during the block; end the process at once on a later one.

    In another thread than the main one, this does nothing, since only the main thread can handle signals.

    Args:
        stop: Has the agent finish what is in hand. Called in a signal handler: it must take no locks.
        cause: Takes the name of the first signal, before that.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    first: list[float] = []

    def handle(number: int, _frame: FrameType | None) -> None:
        if not first:
            first.append(time.monotonic())
            cause(signal.Signals(number).name)
            stop()
        elif time.monotonic() - first[0] > TOGETHER:
            sys.stderr.write("Second signal: stopping at once\n")
            end_now(128 + number)

    old = {number: signal.signal(number, handle) for number in STOPPING}
    try:
        yield
    finally:
        for number, handler in old.items():
            signal.signal(number, handler)

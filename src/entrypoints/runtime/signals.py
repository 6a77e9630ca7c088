"""SIGINT and SIGTERM: the first one asks the agent to stop, the second one ends the process."""

import signal
import sys
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager
from types import FrameType

from prefect.agent.entrypoints.runtime.exits import end_now


@contextmanager
def stop_on_signals(stop: Callable[[], None]) -> Generator[None]:
    """Call *stop* on the first SIGINT or SIGTERM during the block; end the process at once on the second.

    In another thread than the main one, this does nothing, since only the main thread can handle signals.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    seen: list[int] = []

    def handle(number: int, _frame: FrameType | None) -> None:
        if seen:
            sys.stderr.write("Second signal: stopping at once\n")
            end_now(128 + number)
        seen.append(number)
        stop()

    old = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in old.items():
            signal.signal(number, handler)

"""Periodic work while a block executes."""

import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager

from prefect.agent.entrypoints.runtime.progress import STEP_ALLOWED
from prefect.agent.entrypoints.runtime.supervision import Supervisor
from prefect.agent.ports.clock import Clock


@contextmanager
def periodically(
    supervisor: Supervisor, clock: Clock, seconds: float | None, name: str, act: Callable[[], None]
) -> Generator[None]:
    """Call *act* in a supervised thread again and again, with *seconds* between; never if *seconds* is None."""
    over = threading.Event()

    def step() -> bool:
        act()
        clock.pause(seconds or 0.0, over)
        return not over.is_set()

    if seconds is not None:
        supervisor.thread(name, step, over, allowed=STEP_ALLOWED + seconds)
    try:
        yield
    finally:
        over.set()

"""Waiting for a condition instead of sleeping."""

import time
from collections.abc import Callable
from typing import Final

LOOK_EVERY: Final = 0.005


def wait_until(
    condition: Callable[[], object], seconds: float = 30, what: str = "", *, every: float = LOOK_EVERY
) -> None:
    """Return as soon as *condition* gives something true.

    It is looked at once more when the time is over: the test itself may have stood still.

    Args:
        seconds: How long to go on asking.
        what: What is waited for, for the message.
        every: Seconds between two looks.

    Raises:
        AssertionError: It did not come true in time.
    """
    end = time.monotonic() + seconds
    is_late = False
    while not condition():
        if is_late:
            raise AssertionError(f"not within {seconds:g} s: {what or condition}")
        time.sleep(every)
        is_late = time.monotonic() >= end

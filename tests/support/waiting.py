"""Waiting for a condition instead of sleeping."""

import time
from collections.abc import Callable
from typing import Final

LOOK_EVERY: Final = 0.005


def wait_until(condition: Callable[[], object], seconds: float = 10, what: str = "") -> None:
    """Return as soon as *condition* gives something true.

    Args:
        seconds: How long to go on asking.
        what: What is waited for, for the message.

    Raises:
        AssertionError: It did not come true in time.
    """
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() >= end:
            raise AssertionError(f"not within {seconds:g} s: {what or condition}")
        time.sleep(LOOK_EVERY)

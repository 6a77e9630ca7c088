"""Keeps other processes of the same user out of this one's memory and environment (Linux: prctl(2), proc(5))."""

import sys
from typing import Final

_PR_SET_DUMPABLE: Final = 4


def hide() -> bool:
    """Let only root read this process: its ``/proc`` entries, its memory, a debugger on it; no core dumps either.

    Programs that it starts are not concerned: exec(2) sets this back. Forked children are until then.

    Returns:
        Whether that was done. False where the system has no such thing.
    """
    if sys.platform != "linux":
        return False
    import ctypes  # noqa: PLC0415 - only Linux pays for it

    try:
        return bool(ctypes.CDLL(None).prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0) == 0)
    except (OSError, AttributeError):  # a C library without it
        return False

"""Prevents other processes of the same user from reading this one's memory and environment (prctl(2), proc(5))."""

import sys
from typing import Final

_PR_SET_DUMPABLE: Final = 4


def hide() -> bool:
    """Let only root read this process's ``/proc`` entries and memory, or debug it; write no core dumps.

    A program that it starts is readable again, since exec(2) resets this; a forked child stays hidden until then.

    Returns:
        Whether that succeeded; False on systems without this feature.
    """
    if sys.platform != "linux":
        return False
    import ctypes  # noqa: PLC0415 - only Linux pays for it

    try:
        return bool(ctypes.CDLL(None).prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0) == 0)
    except (OSError, AttributeError):  # a C library without prctl
        return False

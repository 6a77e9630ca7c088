"""Raises the agent's limit of open descriptors to the maximum; its children get the original limit."""

import resource
import threading
from contextlib import suppress

_guard = threading.Lock()
_before: list[int] = []


def raise_limit() -> None:
    """Raise this process' soft limit of open descriptors to the hard one. May be repeated; never raises."""
    with _guard:
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        if soft == hard:
            return
        with suppress(OSError, ValueError):  # the system's own maximum is lower
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
            if not _before:
                _before.append(soft)


def soft_limit_of_children() -> int | None:
    """Return the soft limit with which this process was started; None if it was not raised."""
    with _guard:
        return _before[0] if _before else None

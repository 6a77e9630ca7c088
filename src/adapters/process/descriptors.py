"""How many descriptors the agent may open: as many as the system lets it. Its children get the usual limit back."""

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
    """The soft limit that this process was started with; None if it was not raised."""
    with _guard:
        return _before[0] if _before else None

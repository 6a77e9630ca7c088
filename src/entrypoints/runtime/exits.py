"""How the process ends: named exit codes, for supervisors that must know whether a restart can help (sysexits.h)."""

import enum
import logging
import os
import sys
import threading
import time
from collections.abc import Callable, Collection
from typing import Final

from prefect.agent.domain.errors import (
    AgentError,
    CloudUnavailable,
    ConfigurationError,
    PlatformForbidden,
    PlatformUnavailable,
    Unauthorised,
)

LEFT_OVERS: Final = 1.0
"""Seconds that threads get which are about to end when the process ends."""


class ExitCode(enum.IntEnum):
    """Exit codes of ``prefect agent``. 2 is click's own for wrong usage; 71 means that a loop stood still."""

    OK = 0
    USAGE = 2
    CLOUD_UNAVAILABLE = 69
    SOFTWARE = 70
    STALLED = 71
    PLATFORM_UNAVAILABLE = 75
    NO_PERMISSION = 77
    CONFIGURATION = 78


class AgentExit(Exception):
    """The agent has to end with *code*; the message is one sentence for the person who started it."""

    def __init__(self, code: ExitCode, message: str) -> None:
        super().__init__(message)
        self.code = code


def exit_for(trouble: AgentError, clean: Callable[[str], str] = str) -> AgentExit:
    """The way out for an error that start-up cannot get round; *clean* takes secrets out of its message."""
    codes: tuple[tuple[type[AgentError], ExitCode], ...] = (
        (Unauthorised, ExitCode.NO_PERMISSION),
        (PlatformForbidden, ExitCode.NO_PERMISSION),
        (ConfigurationError, ExitCode.CONFIGURATION),
        (CloudUnavailable, ExitCode.CLOUD_UNAVAILABLE),
        (PlatformUnavailable, ExitCode.PLATFORM_UNAVAILABLE),
    )
    code = next((code for kind, code in codes if isinstance(trouble, kind)), ExitCode.SOFTWARE)
    return AgentExit(code, clean(str(trouble)))


def end_now(code: int) -> None:
    """End the process with *code* without waiting for any thread; what was logged is written if that can be done."""
    writer = threading.Thread(target=_write_out, name="last-words", daemon=True)
    writer.start()
    writer.join(LEFT_OVERS)
    os._exit(code)


def _write_out() -> None:
    """Empty all buffers. It hangs if the reader of the log does."""
    logging.shutdown()
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:
            stream.flush()


def leave(code: int, *, before: Collection[threading.Thread] = ()) -> None:
    """End the process with *code*, also if a thread hangs that Python would wait for.

    Args:
        code: The exit code.
        before: Threads that are not the agent's: they do not matter.

    Raises:
        SystemExit: No thread hangs: Python ends as it always does.
    """
    deadline = time.monotonic() + LEFT_OVERS
    for thread in threading.enumerate():
        if thread.daemon or thread in before or thread is threading.current_thread():
            continue
        thread.join(max(0.0, deadline - time.monotonic()))
        if thread.is_alive():
            end_now(code)
    sys.exit(code)

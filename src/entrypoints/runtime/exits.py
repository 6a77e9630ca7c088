"""The end of the process, with an exit code that shows a supervisor whether a restart can help (sysexits.h)."""

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
"""Seconds for which the process waits for its remaining threads before it ends."""

_REMEDIES: Final[tuple[tuple[type[AgentError], str, str], ...]] = (
    (
        CloudUnavailable,
        "--api",
        "Is the address right (--api), and does the API run there? prefect agent doctor checks the way to it",
    ),
    (Unauthorised, "PREFECT__CLOUD__API_KEY", "Give a key that is valid, by --token-file or PREFECT__CLOUD__API_KEY"),
)
"""By family of errors: the word that a message with a remedy of its own has, and the remedy for the others."""


class ExitCode(enum.IntEnum):
    """Exit codes of ``prefect agent``. 2 is click's code for wrong usage; 71 means that a loop stood still."""

    OK = 0
    USAGE = 2
    CLOUD_UNAVAILABLE = 69
    SOFTWARE = 70
    STALLED = 71
    PLATFORM_UNAVAILABLE = 75
    NO_PERMISSION = 77
    CONFIGURATION = 78


class AgentExit(Exception):
    """Asks to end the agent with *code*; the message is one sentence for the person who started it."""

    def __init__(self, code: ExitCode, message: str) -> None:
        super().__init__(message)
        self.code = code


def exit_for(problem: AgentError, clean: Callable[[str], str] = str) -> AgentExit:
    """Return the exit for an error that the agent cannot recover from; *clean* masks secrets in its message."""
    codes: tuple[tuple[type[AgentError], ExitCode], ...] = (
        (Unauthorised, ExitCode.NO_PERMISSION),
        (PlatformForbidden, ExitCode.NO_PERMISSION),
        (ConfigurationError, ExitCode.CONFIGURATION),
        (CloudUnavailable, ExitCode.CLOUD_UNAVAILABLE),
        (PlatformUnavailable, ExitCode.PLATFORM_UNAVAILABLE),
    )
    code = next((code for kind, code in codes if isinstance(problem, kind)), ExitCode.SOFTWARE)
    message = str(problem)
    for kind, known, remedy in _REMEDIES:
        if isinstance(problem, kind) and not isinstance(problem, ConfigurationError) and known not in message:
            message = f"{message.rstrip('.')}. {remedy}"
    return AgentExit(code, clean(message))


def end_now(code: int) -> None:
    """End the process with *code* at once, without waiting for its threads; try to write buffered log lines first."""
    writer = threading.Thread(target=_flush_all, name="flush-log", daemon=True)
    writer.start()
    writer.join(LEFT_OVERS)
    os._exit(code)


def _flush_all() -> None:
    """Write all buffered output. This hangs if the reader of the log hangs."""
    logging.shutdown()
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:
            stream.flush()


def leave(code: int, *, before: Collection[threading.Thread] = ()) -> None:
    """End the process with *code*, also if a thread hangs for which Python would wait.

    Args:
        code: The exit code.
        before: Threads that are not the agent's, for which it does not wait.

    Raises:
        SystemExit: No thread hangs, and Python ends the process as usual.
    """
    deadline = time.monotonic() + LEFT_OVERS
    for thread in threading.enumerate():
        if thread.daemon or thread in before or thread is threading.current_thread():
            continue
        thread.join(max(0.0, deadline - time.monotonic()))
        if thread.is_alive():
            end_now(code)
    sys.exit(code)

"""Runs small external programs (credential helpers, login plugins), each with a deadline."""

import contextlib
import os
import signal
import subprocess
from collections.abc import Mapping, Sequence
from typing import Final

import attrs

REMAINING_OUTPUT: Final = 1.0
"""Seconds to read the remaining output of a program that was killed."""

SHOWN: Final = 500
"""Most characters of a program's error output that a message shows: the last ones."""


@attrs.frozen
class Finished:
    """The result of a program that ended by itself.

    Attributes:
        code: Its exit code.
    """

    code: int
    output: bytes
    errors: bytes


class ProgramOverdue(Exception):
    """A program did not end in time and was killed.

    Attributes:
        errors: Its output to stderr until then.
    """

    def __init__(self, seconds: float, errors: bytes) -> None:
        super().__init__(f"it did not end within {seconds:g} s and was killed")
        self.errors = errors


def run(
    words: Sequence[str],
    *,
    seconds: float,
    given: bytes = b"",
    env: Mapping[str, str] | None = None,
    folder: str | None = None,
    on_terminal: bool = False,
) -> Finished:
    """Run a program and wait for its end; at the deadline, kill its whole process group.

    Args:
        words: The program and its arguments.
        seconds: The deadline, from the start.
        given: Its standard input.
        folder: Its working directory; None for the current one.
        on_terminal: Whether it may ask the person at the terminal; it then shares stdin, stderr and process group.

    Raises:
        ProgramOverdue: It did not end in time, or a process that it started kept its output open.
        OSError: The program cannot be started.
    """
    piped = None if on_terminal else subprocess.PIPE
    with subprocess.Popen(
        list(words),
        stdin=piped,
        stdout=subprocess.PIPE,
        stderr=piped,
        env=env,
        cwd=folder,
        start_new_session=not on_terminal,
    ) as process:
        try:
            output, errors = process.communicate(None if on_terminal else given, timeout=seconds)
        except subprocess.TimeoutExpired:
            _kill(process, group=not on_terminal)
            raise ProgramOverdue(seconds, _remaining_errors(process)) from None
        except BaseException:
            _kill(process, group=not on_terminal)
            raise
    return Finished(process.returncode, output, errors or b"")


def shown(errors: bytes) -> str:
    """Return the end of a program's error output on one line, as " (...)"; empty if there is none."""
    text = " ".join(errors.decode(errors="replace").split())
    return f" ({text[-SHOWN:]})" if text else ""


def _kill(process: "subprocess.Popen[bytes]", *, group: bool) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        if group and os.name == "posix":
            os.killpg(process.pid, signal.SIGKILL)
        process.kill()


def _remaining_errors(process: "subprocess.Popen[bytes]") -> bytes:
    try:
        return process.communicate(timeout=REMAINING_OUTPUT)[1] or b""
    except subprocess.TimeoutExpired as late:  # a process of another group still has the pipes
        return late.stderr or b""

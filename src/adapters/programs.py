"""Runs small programs of others (credential helpers, login plugins), each with a deadline for the whole of it."""

import contextlib
import os
import signal
import subprocess
from collections.abc import Mapping, Sequence
from typing import Final

import attrs

LAST_WORDS: Final = 1.0
"""Seconds to read what a program that was ended had written."""

SHOWN: Final = 500
"""Characters of a program's error output that an error repeats, the last ones."""


@attrs.frozen
class Finished:
    """A program that has ended by itself.

    Attributes:
        code: Its exit code.
    """

    code: int
    output: bytes
    errors: bytes


class ProgramOverdue(Exception):
    """A program did not end in time; it was killed.

    Attributes:
        errors: What it had written to its standard error.
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
    """Run a program and wait for its end. It gets a process group of its own, all of which is killed at the deadline.

    Args:
        words: The program and its arguments.
        given: For its standard input.
        folder: Where it runs; None for the current directory.
        on_terminal: Whether it may ask the person at the terminal: then it shares standard input, error and group.

    Raises:
        ProgramOverdue: It did not end, or not all that it started let go of its output.
        OSError: It cannot be started.
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
            raise ProgramOverdue(seconds, _last_words(process)) from None
        except BaseException:
            _kill(process, group=not on_terminal)
            raise
    return Finished(process.returncode, output, errors or b"")


def shown(errors: bytes) -> str:
    """The end of a program's error output on one line, in brackets with a blank before; empty if there is none."""
    text = " ".join(errors.decode(errors="replace").split())
    return f" ({text[-SHOWN:]})" if text else ""


def _kill(process: "subprocess.Popen[bytes]", *, group: bool) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        if group and os.name == "posix":
            os.killpg(process.pid, signal.SIGKILL)
        process.kill()


def _last_words(process: "subprocess.Popen[bytes]") -> bytes:
    try:
        return process.communicate(timeout=LAST_WORDS)[1] or b""
    except subprocess.TimeoutExpired as late:  # something in another group has the pipes
        return late.stderr or b""

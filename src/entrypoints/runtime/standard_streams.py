"""The standard streams of a program: what happens if they are missing, or cannot be written."""

import errno
import io
import os
import sys
from contextlib import suppress
from typing import TYPE_CHECKING, Final, TextIO

if TYPE_CHECKING:
    from typing_extensions import Buffer

EX_IOERR: Final = 74
"""The exit code if the output cannot be written, by sysexits.h."""

NO_READER: Final = 141
"""The exit code if the reader of the output is gone, as shells show it: 128 and the number of SIGPIPE."""


class OutputLost(SystemExit):
    """Ends the program, since its standard output cannot be written. The exit code is the argument."""


class _Output(io.BufferedWriter):
    """The standard output of a program, which any failed write to it ends."""

    def write(self, data: "Buffer", /) -> int:
        """Write *data*, or end the program."""
        try:
            return super().write(data)
        except OSError as problem:
            raise _lost(self, problem) from problem

    def flush(self) -> None:
        """Write what is buffered, or end the program."""
        try:
            super().flush()
        except OSError as problem:
            raise _lost(self, problem) from problem


class _Errors(io.BufferedWriter):
    """The standard error of a program, which goes on, with the same exit code, if it cannot be written."""

    def write(self, data: "Buffer", /) -> int:
        """Write *data*; drop it if that fails."""
        try:
            return super().write(data)
        except OSError:
            return memoryview(data).nbytes

    def flush(self) -> None:
        """Write what is buffered, now or when it is possible again."""
        with suppress(OSError):
            super().flush()


def install() -> None:
    """Make the standard streams fit for a program of this package. Call it before anything is opened."""
    _open_missing()
    sys.stdout = _like(sys.stdout, _Output(io.FileIO(1, "w", closefd=False)))
    sys.stderr = _like(sys.stderr, _Errors(io.FileIO(2, "w", closefd=False)))


def _like(old: TextIO, buffer: io.BufferedWriter) -> io.TextIOWrapper:
    by_line = getattr(old, "line_buffering", False)
    return io.TextIOWrapper(buffer, encoding=old.encoding, errors=old.errors, line_buffering=by_line)


def _open_missing() -> None:
    """Open ``/dev/null`` as each standard stream that the caller has closed.

    Without this the next file or connection would get the stream's number, and what is printed would be written there.
    """
    for number, name, mode in ((0, "stdin", "r"), (1, "stdout", "w"), (2, "stderr", "w")):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest free number: this one
            setattr(sys, name, open(number, mode, encoding="utf-8", closefd=False))  # noqa: SIM115 - for good


def _lost(stream: io.BufferedWriter, problem: OSError) -> OutputLost:
    """Say on stderr why *stream* cannot be written; return what ends the program.

    What it still holds, and all that is printed from now on, goes to ``/dev/null``. Nothing is said if its reader is
    gone: one such as ``head`` ends on purpose.
    """
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, stream.fileno())
    os.close(null)
    if problem.errno == errno.EPIPE:
        return OutputLost(NO_READER)
    with suppress(OSError, ValueError):
        sys.stderr.write(f"Error: cannot write the output: {problem.strerror or problem}\n")
        sys.stderr.flush()
    return OutputLost(EX_IOERR)

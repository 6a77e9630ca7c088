"""Writes text and uncaught exceptions of all threads with secrets masked, exceptions in the format of the log."""

import logging
import os
import sys
import threading
import traceback
from collections.abc import Iterable
from contextlib import suppress
from types import TracebackType

from prefect.agent.domain.secrets import Mask
from prefect.agent.domain.texts import escaped_lines
from prefect.agent.entrypoints.runtime.logs import LOGGER, Redact
from prefect.agent.entrypoints.settings.secret_sources import secrets_in
from prefect.agent.ports import events


class _Shown:
    """Holds the secrets that this process masks in its output."""

    mask = Mask()


def install() -> None:
    """Write all uncaught exceptions of this process through this module. Only for programs of this package."""
    know()
    sys.excepthook, threading.excepthook, sys.unraisablehook = _uncaught, thread_died, _unraisable


def know(secrets: Iterable[str] = ()) -> Mask:
    """Mask *secrets* and those of the environment in all output from now on.

    Returns:
        The mask, to which more secrets may be added.
    """
    mask = _Shown.mask = Mask({*secrets_in(os.environ), *secrets})
    if logging.lastResort is not None:  # writes the warnings of other libraries
        for old in [each for each in logging.lastResort.filters if isinstance(each, Redact)]:
            logging.lastResort.removeFilter(old)
        logging.lastResort.addFilter(Redact(mask))
    return mask


def clean(text: str) -> str:
    """Return *text* with secrets masked and control characters escaped, safe for a terminal."""
    return escaped_lines(_Shown.mask(text))


def say(*lines: str, err: bool = False) -> None:
    """Print *lines* with secrets masked and control characters escaped.

    Args:
        err: Print to stderr instead of stdout. What cannot be written there is dropped.
    """
    text = "".join(f"{clean(line)}\n" for line in lines)
    if err:
        with suppress(OSError, ValueError):
            sys.stderr.write(text)
            sys.stderr.flush()
        return
    sys.stdout.write(text)
    sys.stdout.flush()


def show(problem: BaseException, message: str, *, level: str = "CRITICAL") -> None:
    """Write *problem* with its traceback to the log, or to stderr if there is no log yet. Never raises."""
    text = "".join(traceback.format_exception(problem))
    logger = logging.getLogger(LOGGER)
    if logger.handlers:
        name = events.BUG if level == "CRITICAL" else events.AGENT_STOPPED
        number = logging.getLevelName(level)
        logger.log(number, "%s", message, extra={"event": name, "fields": {"traceback": text}})
        return
    with suppress(OSError, ValueError):
        sys.stderr.write(clean(f"{message}\n{text}"))
        sys.stderr.flush()


def thread_died(died: threading.ExceptHookArgs) -> None:
    """Write the exception that ended a thread; for use as ``threading.excepthook``."""
    if died.exc_value is not None and not isinstance(died.exc_value, SystemExit):
        name = died.thread.name if died.thread is not None else "unknown"
        show(died.exc_value, f"Bug in the thread {name}, which has ended: {_named(died.exc_value)}")


def _uncaught(kind: type[BaseException], problem: BaseException, trace: TracebackType | None) -> None:
    if issubclass(kind, KeyboardInterrupt):
        sys.__excepthook__(kind, problem, trace)
        return
    show(problem, f"Bug: {_named(problem)}")


def _unraisable(found: "sys.UnraisableHookArgs") -> None:
    if found.exc_value is not None:
        show(found.exc_value, f"Ignored: {_named(found.exc_value)}")


def _named(problem: BaseException) -> str:
    return f"{type(problem).__name__}: {problem}"

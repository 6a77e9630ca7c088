"""The agent's log: one line per event, as text or JSON, times in UTC, secrets masked. Logs go to stderr."""

import json
import logging
import os
import platform as machine
import re
import sys
import traceback
from collections.abc import Iterable, Mapping
from contextlib import suppress
from datetime import datetime, timezone
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Final, TextIO

import attrs

from prefect.agent.adapters.flow_output import LOGGER as FLOW_OUTPUT
from prefect.agent.domain.secrets import MASK, Mask
from prefect.agent.domain.texts import cut, escaped, escaped_json, escaped_lines
from prefect.agent.entrypoints.runtime.standard_streams import OutputLost
from prefect.agent.ports import events
from prefect.agent.ports.events import Event, EventSink

__all__ = ["FLOW_OUTPUT", "LOGGER", "MASK", "Mask", "Redact", "set_up"]

LOGGER: Final = "prefect.agent"

MAX_MESSAGE: Final = 8 * 1024
"""Most characters of one message, and of one field, that the log shows."""

MAX_TRACEBACK: Final = 64 * 1024
"""Most characters of a traceback that the log shows: its last ones."""

COLOURS: Final = ((logging.ERROR, "31"), (logging.WARNING, "33"), (logging.INFO, "32"), (logging.DEBUG, "2"))
"""By lowest level: the terminal's code for its colour."""


def own_version() -> str:
    """Return the version of this installation; empty if it cannot be read."""
    try:
        return metadata.version("prefect-agent")
    except metadata.PackageNotFoundError:
        return ""


def first_line() -> Event:
    """Return the first event of an agent: what it is, and on what it executes."""
    python, system = machine.python_version(), f"{machine.system()} {machine.release()} {machine.machine()}"
    message = f"Prefect agent {own_version()}, Python {python}, {system}, process {os.getpid()}"
    fields = {"version": own_version(), "python": python, "system": system, "pid": os.getpid()}
    return Event(name=events.AGENT_BEGINS, message=message, fields=fields)


def wants_colour(stream: TextIO, environ: Mapping[str, str]) -> bool:
    """Return whether levels are coloured on *stream*: only on a terminal that can, and without ``NO_COLOR``."""
    if environ.get("NO_COLOR") or environ.get("TERM", "dumb") == "dumb":
        return False
    try:
        return stream.isatty()
    except ValueError:  # it is closed
        return False


class Redact(logging.Filter):
    """Masks known secrets in every record, also in those of other libraries. Never raises."""

    def __init__(self, secrets: Iterable[str] | Mask) -> None:
        super().__init__()
        self.mask = secrets if isinstance(secrets, Mask) else Mask(secrets)

    def filter(self, record: logging.LogRecord) -> bool:
        """Mask the record in place; return True, so that it is logged."""
        record.msg, record.args = self.clean(_message(record)), None
        if record.exc_info and not record.exc_text:
            record.exc_text = logging.Formatter().formatException(record.exc_info)
        if record.exc_text:
            record.exc_text = self.clean(record.exc_text)
        if record.stack_info:
            record.stack_info = self.clean(record.stack_info)
        fields = getattr(record, "fields", None)
        if fields:
            record.fields = self.mask.value(fields)
        return True

    def clean(self, text: str) -> str:
        """Return *text* with secrets masked."""
        return self.mask(text)


class TextFormatter(logging.Formatter):
    """Formats a record as ``2026-11-23T09:30:20.123Z INFO    agent | message``, with a traceback below it."""

    def __init__(self, agent_name: str, *, colour: bool = False) -> None:
        super().__init__()
        self._agent_name, self._colour = escaped(agent_name), colour

    def format(self, record: logging.LogRecord) -> str:
        """Return the line, and below it the traceback if the record has one."""
        message = escaped(cut(record.getMessage(), MAX_MESSAGE))
        line = f"{_iso(record.created)} {self._level(record)} {self._agent_name} | {message}"
        traces = (self._exception(record), getattr(record, "fields", {}).get("traceback"), record.stack_info)
        return "\n".join([line, *(_shown_trace(str(trace)) for trace in traces if trace)])

    def _level(self, record: logging.LogRecord) -> str:
        name = f"{record.levelname:<7}"
        colour = next((code for level, code in COLOURS if record.levelno >= level), "")
        return f"\x1b[{colour}m{name}\x1b[0m" if self._colour and colour else name

    def _exception(self, record: logging.LogRecord) -> str | None:
        return record.exc_text or (self.formatException(record.exc_info) if record.exc_info else None)


class JsonFormatter(logging.Formatter):
    """Formats a record as one line of JSON.

    Its members are ts, level, logger, event, message, agent, version, pid, and the event's fields.
    """

    def __init__(self, agent_name: str) -> None:
        super().__init__()
        self._agent_name, self._version = agent_name, own_version()

    def format(self, record: logging.LogRecord) -> str:
        """Return the JSON object as one line."""
        entry = {
            "ts": _iso(record.created),
            "level": record.levelname,
            "logger": record.name,
            "agent": self._agent_name,
            "version": self._version,
            "pid": os.getpid(),
            "event": getattr(record, "event", "log"),
            "message": record.getMessage(),
            **getattr(record, "fields", {}),
        }
        if record.exc_info or record.exc_text:
            entry["traceback"] = record.exc_text or self.formatException(record.exc_info)  # type: ignore[arg-type]
        short = {name: _cut_field(name, value) for name, value in entry.items()}
        return escaped_json(json.dumps(short, default=str, ensure_ascii=False))


if TYPE_CHECKING:
    _TextHandler = logging.StreamHandler[TextIO]
else:
    _TextHandler = logging.StreamHandler  # Python 3.10 has no type in brackets here


class Outlet(_TextHandler):
    """Writes records to a stream. If that fails, it reports only the error's type."""

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802, ARG002 - logging's own name
        """Report the error on stderr without the message and its arguments, which could hold secrets."""
        problem = sys.exc_info()[1]
        with suppress(OSError, ValueError):
            sys.stderr.write(f"Cannot write a log line: {type(problem).__name__}\n")


class OutputOutlet(Outlet):
    """Writes flow runs' output to standard output, whatever that is at the time."""

    def emit(self, record: logging.LogRecord) -> None:
        """Write one line; drop it if standard output cannot be written, for that is no reason to end an agent."""
        self.stream = sys.stdout
        with suppress(OutputLost):
            super().emit(record)


_COLOUR_CODE: Final = re.compile(r"\\x1b\[([\d;]*m)")
"""The code of a colour, as ``escaped`` writes it."""


class OutputFormatter(logging.Formatter):
    """Formats a line of a flow run's output as ``crimson-dolphin | the line``."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line; colours of the flow run's own stay, what else does something to a terminal is escaped."""
        fields = getattr(record, "fields", {})
        name = fields.get("flow_run_name") or fields.get("flow_run_id") or fields.get("unit") or "flow run"
        line = _COLOUR_CODE.sub("\x1b[\\1", escaped(record.getMessage()))
        return f"{escaped(str(name))} | {line}"


def set_up(
    *,
    level: str | int,
    form: str = "text",
    agent_name: str = "agent",
    secrets: Iterable[str] | Mask = (),
    stream: TextIO | None = None,
) -> logging.Logger:
    """Let the agent's logger write to *stream* (default: stderr), and replace the handlers of an earlier call."""
    chosen, redact = stream or sys.stderr, Redact(secrets)
    colour = wants_colour(chosen, os.environ)
    formatter = JsonFormatter(agent_name) if form == "json" else TextFormatter(agent_name, colour=colour)
    logger = _with_one_handler(logging.getLogger(LOGGER), Outlet(chosen), formatter, redact)
    logger.setLevel(level)
    output = JsonFormatter(agent_name) if form == "json" else OutputFormatter()
    _with_one_handler(logging.getLogger(FLOW_OUTPUT), OutputOutlet(), output, redact).setLevel(logging.INFO)
    return logger


def _with_one_handler(
    logger: logging.Logger, handler: logging.Handler, formatter: logging.Formatter, redact: Redact
) -> logging.Logger:
    handler.setFormatter(formatter)
    handler.addFilter(redact)
    logger.handlers[:] = [handler]
    logger.propagate = False
    return logger


def mask_also(logger: logging.Logger, mask: Mask) -> None:
    """Let the handlers that :func:`set_up` made for *logger* mask the secrets of *mask*, too."""
    for handler in logger.handlers:
        for each in handler.filters:
            if isinstance(each, Redact):
                each.mask.learn(mask)


def _message(record: logging.LogRecord) -> str:
    """Return the record's message; if it cannot be formatted, say so instead of raising in the code that logs."""
    try:
        return record.getMessage()
    except Exception as problem:  # noqa: BLE001 - any code may log any format with any arguments
        return f"(a log line that cannot be formatted: {type(problem).__name__}) {record.msg!s}"


def _shown_trace(text: str) -> str:
    return escaped_lines(text[-MAX_TRACEBACK:])


def _cut_field(name: str, value: object) -> object:
    if not isinstance(value, str):
        return value
    return value[-MAX_TRACEBACK:] if name == "traceback" else cut(value, MAX_MESSAGE)


def log_events(logger: logging.Logger) -> EventSink:
    """Return an event sink that writes events to *logger*."""

    def take(event: Event) -> None:
        level = logging.getLevelName(event.level)
        logger.log(level, "%s", event.message, extra={"event": event.name, "fields": dict(event.fields)})

    return take


@attrs.define
class SafeSink:
    """An event sink that never raises, so that reporting an event cannot disturb the loop that reports it.

    Attributes:
        failures: Number of events for which the sink inside raised an exception.
    """

    inside: EventSink
    failures: int = attrs.field(default=0, init=False)

    def __call__(self, event: Event) -> None:
        """Pass *event* on. Count an exception; report the first one on stderr, by its type and place only."""
        try:
            self.inside(event)
        except Exception as problem:  # noqa: BLE001 - P3: reporting a fact must not change it
            self.failures += 1
            if self.failures == 1:
                _report_failure(problem)


def safe(tell: EventSink) -> EventSink:
    """Return an event sink that passes events to *tell* and never raises."""
    return tell if isinstance(tell, SafeSink) else SafeSink(tell)


def _report_failure(problem: Exception) -> None:
    frames = traceback.extract_tb(problem.__traceback__)
    where = f" ({Path(frames[-1].filename).name}:{frames[-1].lineno})" if frames else ""
    with suppress(OSError, ValueError):
        sys.stderr.write(f"An event sink raised {type(problem).__name__}{where}; later ones are not reported\n")
        sys.stderr.flush()


def _iso(seconds: float) -> str:
    moment = datetime.fromtimestamp(seconds, timezone.utc)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")

"""The agent's log: one line per event, as text or JSON, times in UTC, secrets masked. Logs go to stderr."""

import json
import logging
import sys
import traceback
from collections.abc import Iterable
from contextlib import suppress
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Final, TextIO

import attrs

from prefect.agent.domain.secrets import MASK, Mask
from prefect.agent.domain.texts import cut, escaped, escaped_json, escaped_lines
from prefect.agent.ports.events import Event, EventSink

__all__ = ["LOGGER", "MASK", "Mask", "Redact", "set_up"]

LOGGER: Final = "prefect.agent"

MAX_MESSAGE: Final = 8 * 1024
"""Most characters of one message, and of one field, that the log shows."""

MAX_TRACEBACK: Final = 64 * 1024
"""Most characters of a traceback that the log shows: its last ones."""


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

    def __init__(self, agent_name: str) -> None:
        super().__init__()
        self._agent_name = escaped(agent_name)

    def format(self, record: logging.LogRecord) -> str:
        """Return the line, and below it the traceback if the record has one."""
        message = escaped(cut(record.getMessage(), MAX_MESSAGE))
        line = f"{_iso(record.created)} {record.levelname:<7} {self._agent_name} | {message}"
        traces = (self._exception(record), getattr(record, "fields", {}).get("traceback"), record.stack_info)
        return "\n".join([line, *(_shown_trace(str(trace)) for trace in traces if trace)])

    def _exception(self, record: logging.LogRecord) -> str | None:
        return record.exc_text or (self.formatException(record.exc_info) if record.exc_info else None)


class JsonFormatter(logging.Formatter):
    """Formats a record as one line of JSON: ts, level, logger, event, message, agent, and the event's fields."""

    def __init__(self, agent_name: str) -> None:
        super().__init__()
        self._agent_name = agent_name

    def format(self, record: logging.LogRecord) -> str:
        """Return the JSON object as one line."""
        entry = {
            "ts": _iso(record.created),
            "level": record.levelname,
            "logger": record.name,
            "agent": self._agent_name,
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


def set_up(
    *,
    level: str | int,
    form: str = "text",
    agent_name: str = "agent",
    secrets: Iterable[str] | Mask = (),
    stream: TextIO | None = None,
) -> logging.Logger:
    """Let the agent's logger write to *stream* (default: stderr), and replace the handlers of an earlier call."""
    logger = logging.getLogger(LOGGER)
    handler = Outlet(stream or sys.stderr)
    handler.setFormatter(JsonFormatter(agent_name) if form == "json" else TextFormatter(agent_name))
    handler.addFilter(Redact(secrets))
    for old in logger.handlers[:]:
        logger.removeHandler(old)
    logger.addHandler(handler)
    logger.setLevel(level)
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

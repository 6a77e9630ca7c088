"""Log lines: one per fact, times in UTC, text or JSON, never a secret. Logs go to stderr; stdout is for results."""

import json
import logging
import sys
import time
import traceback
from collections.abc import Iterable
from contextlib import suppress
from datetime import datetime, timezone
from pathlib import Path
from typing import Final, TextIO

import attrs

from prefect.agent.ports.events import Event, EventSink

LOGGER: Final = "prefect.agent"
MASK: Final = "********"


class Redact(logging.Filter):
    """Takes known secrets out of every record, whoever wrote it."""

    def __init__(self, secrets: Iterable[str]) -> None:
        super().__init__()
        # Longest first, so that a secret inside another one leaves no part of it. Very short ones are none.
        self._secrets = sorted({secret for secret in secrets if len(secret) >= 4}, key=len, reverse=True)

    def filter(self, record: logging.LogRecord) -> bool:
        """Rewrite the record in place; always lets it pass."""
        record.msg, record.args = self.clean(record.getMessage()), None
        if record.exc_info and not record.exc_text:
            record.exc_text = logging.Formatter().formatException(record.exc_info)
        if record.exc_text:
            record.exc_text = self.clean(record.exc_text)
        fields = getattr(record, "fields", None)
        if fields:
            record.fields = {name: self.clean(v) if isinstance(v, str) else v for name, v in fields.items()}
        return True

    def clean(self, text: str) -> str:
        """*text* without secrets."""
        for secret in self._secrets:
            text = text.replace(secret, MASK)
        return text


class TextFormatter(logging.Formatter):
    """``2026-11-23T09:30:20.123Z INFO    agent | message``."""

    converter = staticmethod(time.gmtime)

    def __init__(self, agent_name: str) -> None:
        super().__init__(f"%(asctime)s %(levelname)-7s {agent_name} | %(message)s")

    def formatTime(self, record: logging.LogRecord, datefmt: str | None = None) -> str:  # noqa: N802, ARG002
        """ISO 8601, UTC, milliseconds."""
        return _iso(record.created)

    def format(self, record: logging.LogRecord) -> str:
        """The line, and below it the traceback of a bug."""
        text = super().format(record)
        trace = getattr(record, "fields", {}).get("traceback")
        return f"{text}\n{trace}" if trace else text


class JsonFormatter(logging.Formatter):
    """One JSON object per line: ts, level, logger, event, message, agent, and the fields of the event."""

    def __init__(self, agent_name: str) -> None:
        super().__init__()
        self._agent_name = agent_name

    def format(self, record: logging.LogRecord) -> str:
        """The object as one line."""
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
        return json.dumps(entry, default=str, ensure_ascii=False)


def set_up(
    *,
    level: str | int,
    form: str = "text",
    agent_name: str = "agent",
    secrets: Iterable[str] = (),
    stream: TextIO | None = None,
) -> logging.Logger:
    """Let the agent's logger write to *stream* (stderr). Replaces what an earlier call set up."""
    logger = logging.getLogger(LOGGER)
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(JsonFormatter(agent_name) if form == "json" else TextFormatter(agent_name))
    handler.addFilter(Redact(secrets))
    for old in logger.handlers[:]:
        logger.removeHandler(old)
    logger.addHandler(handler)
    logger.setLevel(level)
    logger.propagate = False
    return logger


def log_events(logger: logging.Logger) -> EventSink:
    """An event sink that writes to *logger*."""

    def take(event: Event) -> None:
        level = logging.getLevelName(event.level)
        logger.log(level, "%s", event.message, extra={"event": event.name, "fields": dict(event.fields)})

    return take


@attrs.define
class SafeSink:
    """An event sink that cannot hurt the loop that reports.

    Attributes:
        failures: How many events the sink inside did not take.
    """

    inside: EventSink
    failures: int = attrs.field(default=0, init=False)

    def __call__(self, event: Event) -> None:
        """Hand *event* on. An exception is counted; the first one is reported to stderr, by type and place alone."""
        try:
            self.inside(event)
        except Exception as problem:  # noqa: BLE001 - P3: reporting a fact must not change it
            self.failures += 1
            if self.failures == 1:
                _complain(problem)


def safe(tell: EventSink) -> EventSink:
    """Return an event sink that hands events to *tell* and never raises."""
    return tell if isinstance(tell, SafeSink) else SafeSink(tell)


def _complain(problem: Exception) -> None:
    frames = traceback.extract_tb(problem.__traceback__)
    where = f" ({Path(frames[-1].filename).name}:{frames[-1].lineno})" if frames else ""
    with suppress(OSError, ValueError):
        sys.stderr.write(f"An event sink raised {type(problem).__name__}{where}; later ones are not reported\n")
        sys.stderr.flush()


def _iso(seconds: float) -> str:
    moment = datetime.fromtimestamp(seconds, timezone.utc)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")

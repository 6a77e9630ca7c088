"""The reports of one flow run that the Cloud has not confirmed: its log lines, then its end. Pure."""

from collections import deque
from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

import attrs

from prefect.agent.domain.model.ends import End, EndKind
from prefect.agent.domain.model.flow_runs import FlowRunId
from prefect.agent.domain.times import iso, read_time

MAX_MESSAGE: Final = 128 * 1024
"""Longest message of one report, in characters."""

_CONTROL: Final = {
    code: "\N{REPLACEMENT CHARACTER}"
    for code in (*range(32), *range(127, 160), *range(0xD800, 0xE000))
    if chr(code) not in "\t\n\x1b"
}
"""Characters that Clouds and terminals do not take in a log, lone surrogates too; the escape of colours stays."""


@attrs.frozen(kw_only=True)
class Line:
    """A line is one entry for the flow run's log."""

    message: str
    level: str
    at: datetime


def readable(text: str) -> str:
    """Return *text* as a log can keep it: cut, control characters replaced, carriage returns as line ends."""
    cut = text if len(text) <= MAX_MESSAGE else f"{text[:MAX_MESSAGE]}\n(cut: {len(text)} characters)"
    return cut.replace("\r\n", "\n").replace("\r", "\n").translate(_CONTROL)


@attrs.define
class RunReports:
    """The reports of one flow run that wait to be sent.

    Attributes:
        end: The next end to be carried out; a later one for the same claim replaces it.
        later_ends: Ends for other claims of the run, to be carried out after it.
        not_before: When to try again (monotonic, seconds).
        misses: Failed tries in a row.
        line_misses: Failed tries of its lines in a row.
        line_refusals: Number of those tries after which other runs' lines were accepted: the Cloud was available.
    """

    run_id: FlowRunId
    lines: deque[Line] = attrs.field(factory=deque)
    end: End | None = None
    not_before: float = 0.0
    misses: int = 0
    line_misses: int = 0
    line_refusals: int = 0
    later_ends: deque[End] = attrs.field(factory=deque)

    def add_end(self, end: End) -> None:
        """Add an end. It never replaces an end for another claim: most often one of the two is void."""
        waiting = [each for each in (self.end, *self.later_ends) if each is not None]
        kept = [each for each in waiting if (each.unit, each.lease) != (end.unit, end.lease)]
        self.end, *later = (*kept, end)
        self.later_ends = deque(later)

    @property
    def is_empty(self) -> bool:
        """Return whether everything is reported."""
        return not self.lines and self.end is None


@attrs.frozen
class Due:
    """The reports of one flow run that were due at one moment, while *run* itself goes on changing."""

    run: RunReports
    lines: tuple[Line, ...]


def size(line: Line) -> int:
    """Return roughly how many bytes a line takes in the outbox."""
    return 200 + len(line.message)


def entry_of(report: Line | End) -> dict[str, Any]:
    """Return a report as flat JSON-ready values."""
    if isinstance(report, Line):
        return {"line": report.message, "level": report.level, "at": iso(report.at)}
    entry: dict[str, Any] = {
        "end": report.kind.value,
        "unit": report.unit,
        "message": report.message,
        "lease": report.lease,
    }
    lasted = {} if report.lasted is None else {"lasted": report.lasted}
    return {**entry, **lasted} if report.counts else {**entry, **lasted, "counts": False}


def read_entry(run_id: FlowRunId, entry: Mapping[str, Any]) -> Line | End | None:
    """Return the report that such values describe; None if they describe none."""
    try:
        if "end" in entry:
            kind = EndKind(entry["end"])
            return End(
                run_id=run_id,
                unit=str(entry["unit"]),
                kind=kind,
                message=str(entry["message"]),
                lease=str(entry.get("lease", "")),
                counts=entry.get("counts", True) is not False,
                lasted=float(entry["lasted"]) if isinstance(entry.get("lasted"), int | float) else None,
            )
        return Line(message=str(entry["line"]), level=str(entry["level"]), at=read_time(entry["at"]))
    except (KeyError, ValueError):
        return None

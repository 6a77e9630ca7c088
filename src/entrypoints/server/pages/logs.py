"""The log of a flow run: a page at a time, live, searched, and as a download. It may have 100,000 lines and more.

The page shows the lines of one stretch and asks for the next one when it is wanted. New lines come as server-sent
events that hold HTML of the same template; ids of lines grow with the time at which the Cloud took them in, so a stream
looks only at what came since, whatever time the lines themselves carry.
"""

import re
import time
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from itertools import accumulate
from typing import Any, Final

import attrs
from starlette.datastructures import QueryParams
from starlette.responses import Response, StreamingResponse

from prefect.agent.domain.cloud.logs import LEVELS
from prefect.agent.domain.texts import escaped, escaped_lines
from prefect.agent.entrypoints.server.pages.addresses import changed, position, position_text
from prefect.agent.entrypoints.server.pages.changes import Watch, event
from prefect.agent.entrypoints.server.pages.flow_run import head
from prefect.agent.entrypoints.server.pages.kinds import Page, Section, Stream
from prefect.agent.entrypoints.server.pages.rendering import MAX_SHOWN, Ready, render
from prefect.agent.entrypoints.server.pages.view import View, fields
from prefect.agent.entrypoints.server.storage.ids import first_id_of
from prefect.agent.entrypoints.server.storage.row_trees import Row

LINES: Final = 500
"""Lines of a page."""

NEWS: Final = 500
"""Most lines that one event carries, whatever was written since the last one."""

REST: Final = 1.0
"""Seconds of rest after an event that left lines out: people do not read so fast, and browsers have much to draw."""

CHUNK: Final = 5000
"""Lines of a download that are read at a time, if they are not too long together."""

CHUNK_SIZE: Final = 4_000_000
"""Characters of a download that are read at a time, if that is more than one line."""

CHOICES: Final = 200
"""Task runs to choose from, beside the one that is chosen."""

ROOM: Final = 1_000_000
"""Characters of the lines of a page together: beyond that, each line gets its share of them."""

_PLACE: Final = "t0.id, t0.timestamp"
_COLUMNS: Final = f"{_PLACE}, t0.name, t0.level, t0.task_run_id, t0.message"
_CUT: Final = (
    f"{_PLACE}, t0.name, t0.level, t0.task_run_id, substr(t0.message, 1, {MAX_SHOWN}) AS message, "
    "length(t0.message) AS size"
)
_ANSI: Final = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)|[@-Z\\-_])")


def data(view: View) -> Mapping[str, Any]:
    """What ``flow_run_logs.html`` shows: the last lines, or those before or after a place."""
    shown = head(view)
    after = position(view.query.get("after", ""))
    lines = _lines(view, LINES + 1, after=after, before=position(view.query.get("before", "")))
    more = len(lines) > LINES
    lines = (lines[:LINES] if after else lines[-LINES:]) if more else lines
    is_top = after is not None and not after[0]
    is_part = after is not None or view.query.get("before")
    return {
        **shown,
        "lines": shown_lines(lines),
        "levels": LEVELS,
        "older": _place(view.query, "before", lines[0]) if lines and not is_top and (more or after) else None,
        "newer": _place(view.query, "after", lines[-1]) if lines and is_part and (more or not after) else None,
        "first": changed(view.query, after="~0", before=None),
        "last": changed(view.query, after=None, before=None),
        "stream": f"{view.link('flow-run', view.path['run_id'], 'logs', 'events')}{_stream_query(view.query)}",
        "download": f"{view.link('flow-run', view.path['run_id'], 'logs', 'download')}{_stream_query(view.query)}",
        "is_live": not is_part,
        "since": first_id_of(time.time_ns()),
        "tasks": _tasks(view),
    }


def shown_lines(lines: Sequence[Row]) -> list[Row]:
    """Lines with their ``text`` for people: without colours, and long ones cut, so that a page of them stays a page."""
    is_much = sum(len(line["message"] or "") for line in lines) > ROOM
    most = ROOM // len(lines) if is_much else MAX_SHOWN
    return [{**line, "text": Ready(_cut(line, most))} for line in lines]


def _cut(line: Row, most: int) -> str:
    text, size = line["message"] or "", line["size"] or 0
    return _plain(text) if size <= most else f"{_plain(text[:most])}... (cut: {size} characters; download the log)"


def _plain(message: str) -> str:
    """A message without commands of terminals; what is left of control characters is made visible."""
    return escaped_lines(_ANSI.sub("", message).replace("\r\n", "\n"))


def follow(watch: Watch) -> Response:
    """Send new lines as they come: events ``lines`` with HTML.

    Of more lines than a person can follow the last ones are sent, and how many were left out.
    """
    with watch.look() as view:
        query = view.query
    tail = _Tail(query.get("since") or first_id_of(time.time_ns()))

    def news() -> list[str]:
        if time.monotonic() < tail.rests_until:
            return []
        with watch.look() as view:
            lines, left_out = tail.read(view)
        if not lines:
            return []
        tail.rests_until = time.monotonic() + (REST if left_out else 0)
        html = render("log_lines.html", {"lines": shown_lines(lines)})
        return [event("lines", {"html": html, "left_out": left_out, "since": tail.since})]

    return watch.stream(news)


@attrs.define
class _Tail:
    """What came since the last look.

    Attributes:
        since: Ids of lines that come from now on are not below this.
        rests_until: Monotonic time before which it is not worth reading again.
    """

    since: str
    rests_until: float = 0
    _sent: set[str] = attrs.field(factory=set, init=False)

    def read(self, view: View) -> tuple[list[Row], int]:
        """New lines, in the order in which the Cloud took them in, and how many before these are left out."""
        now = first_id_of(time.time_ns())
        condition, params = _filter(view, run="+t0.flow_run_id")
        new = f"FROM log t0 WHERE t0.id >= ? AND {condition}"
        newest = f"SELECT {_CUT} {new} ORDER BY t0.id DESC LIMIT {NEWS + 1 + len(self._sent)}"
        found = view.sql("log", newest, [self.since, *params])
        lines = [row for row in reversed(found) if row["id"] not in self._sent]
        left_out = 0
        if len(lines) > NEWS:
            left_out = view.sql("log", f"SELECT count(*) AS n {new}", [self.since, *params])[0]["n"] - NEWS
        # Of one millisecond some lines may have come before this look, and others come after it.
        same = view.sql("log", f"SELECT t0.id {new}", [now, *params])
        self.since, self._sent = now, {row["id"] for row in same}
        return lines[-NEWS:], left_out


def download(watch: Watch) -> Response:
    """All lines that the filters leave, as a text file.

    Raises:
        NotThere: There is no such run.
    """
    with watch.look() as view:
        run_id = view.row("flow_run", view.path["run_id"], fields("id"))["id"]

    def text() -> Iterator[str]:
        after, is_over = ("", ""), False
        while not is_over:
            with watch.look() as view:
                lines, is_over = _next_lines(view, after)
            yield "".join(map(_written, lines))
            after = (lines[-1]["timestamp"], lines[-1]["id"]) if lines else after

    async def parts() -> AsyncIterator[str]:
        for part in text():
            yield part

    disposition = f'attachment; filename="flow-run-{run_id}.log"'
    return StreamingResponse(
        parts(), media_type="text/plain; charset=utf-8", headers={"Content-Disposition": disposition}
    )


def _next_lines(view: View, after: tuple[str, str]) -> tuple[list[Row], bool]:
    """The lines of a download after a place, whole: one, or as many as can be held; and whether they are the last."""
    sizes = _lines(view, CHUNK, after=after, columns=f"{_PLACE}, length(t0.message) AS size")
    totals = accumulate(row["size"] or 0 for row in sizes)
    count = max(1, sum(1 for total in totals if total <= CHUNK_SIZE))
    return _lines(view, count, after=after, columns=_COLUMNS), len(sizes) < CHUNK and count >= len(sizes)


def _written(line: Row) -> str:
    return f"{line['timestamp']} {line['level']} {escaped(line['name'] or '')}: {_plain(line['message'] or '')}\n"


def _lines(
    view: View,
    most: int,
    *,
    after: tuple[str, str] | None = None,
    before: tuple[str, str] | None = None,
    columns: str = _CUT,
) -> list[Row]:
    """Lines in the order of their times: the first ones after a place, or the last ones before one or at all."""
    condition, params = _filter(view)
    if after is not None:
        condition, params = f"{condition} AND (t0.timestamp, t0.id) > (?, ?)", [*params, *after]
    elif before is not None:
        condition, params = f"{condition} AND (t0.timestamp, t0.id) < (?, ?)", [*params, *before]
    way = "ASC" if after is not None else "DESC"
    statement = f"SELECT {columns} FROM log t0 WHERE {condition} ORDER BY t0.timestamp {way}, t0.id {way} LIMIT {most}"
    found = view.sql("log", statement, params)
    return found if after is not None else found[::-1]


def _filter(view: View, run: str = "t0.flow_run_id") -> tuple[str, list[Any]]:
    """The condition that the address asks for."""
    parts, params = [f"{run} = ?", "t0.tenant_id = ?"], [view.path["run_id"], view.tenant["id"]]
    level, text, task_run = (view.query.get(name, "") for name in ("level", "text", "task_run"))
    if level in LEVELS:
        several = LEVELS[: LEVELS.index(level) + 1]
        parts, params = [*parts, f"t0.level IN ({', '.join('?' * len(several))})"], [*params, *several]
    if text:
        parts, params = [*parts, "instr(lower(t0.message), lower(?)) > 0"], [*params, text[:1000]]
    if task_run:
        parts, params = [*parts, "t0.task_run_id = ?"], [*params, task_run]
    return " AND ".join(parts), params


def _place(query: QueryParams, name: str, line: Row) -> str:
    other = {"before": None, "after": None, name: position_text(line["timestamp"], line["id"])}
    return changed(query, **other)


def _stream_query(query: QueryParams) -> str:
    return changed(query, before=None, after=None, since=None)


def _tasks(view: View) -> list[Row]:
    """Task runs to choose from, the one that is chosen among them."""
    of_run, columns = {"flow_run_id": {"_eq": view.path["run_id"]}}, fields("id map_index", task=fields("name"))
    rows = view.rows("task_run", columns, of_run, limit=CHOICES)
    chosen = view.query.get("task_run")
    if chosen and chosen not in {row["id"] for row in rows}:
        rows += view.rows("task_run", columns, {**of_run, "id": {"_eq": chosen}})
    return sorted(rows, key=lambda row: (row["task"]["name"] or "", row["map_index"]))


SECTION: Final = Section(
    pages=(Page("/flow-run/{run_id}/logs", "flow_run_logs.html", data, tab="Flow runs"),),
    streams=(
        Stream("/flow-run/{run_id}/logs/events", follow),
        Stream("/flow-run/{run_id}/logs/download", download),
    ),
)

"""What stands behind an address's question mark: every filter lives there, so that links and reloads keep it. Pure."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta, timezone
from typing import Final
from urllib.parse import urlencode

from starlette.datastructures import QueryParams

from prefect.agent.domain.times import iso, read_time

SPANS: Final[Mapping[str, timedelta]] = {
    "1h": timedelta(hours=1),
    "24h": timedelta(hours=24),
    "7d": timedelta(days=7),
    "30d": timedelta(days=30),
    "26w": timedelta(weeks=26),
}
"""Spans of time until now, by the name that they have in an address."""


def changed(query: QueryParams, **values: str | Sequence[str] | None) -> str:
    """The same query with some values replaced, to be appended to an address; None or nothing takes one away."""
    kept = [(name, value) for name, value in query.multi_items() if name not in values and value]
    added: list[tuple[str, str]] = []
    for name, value in values.items():
        several: Iterable[str] = [value] if isinstance(value, str) else value or ()
        added += [(name, one) for one in several if one]
    return f"?{urlencode([*kept, *added])}" if kept or added else "?"


def only(query: QueryParams, names: Iterable[str]) -> str:
    """The part of a query with these names, without a question mark."""
    wanted = set(names)
    return urlencode([(name, value) for name, value in query.multi_items() if name in wanted and value])


def moment(query: QueryParams, name: str) -> str | None:
    """A time, as it is stored; None if there is none, or if it is not a time. Without a zone it is UTC."""
    try:
        return iso(read_time(query[name])) if query.get(name) else None
    except ValueError:
        return None


def span_start(query: QueryParams, now: datetime, otherwise: str = "") -> str | None:
    """When the span that ``?span=`` names begins, as stored times are; None if it names none."""
    length = SPANS.get(query.get("span") or otherwise)
    return iso(now.astimezone(timezone.utc) - length) if length else None


def position(text: str) -> tuple[str, str] | None:
    """Where a page of a list begins: a value and an id, as :func:`position_text` wrote them; None if it is none."""
    value, sign, row_id = text.rpartition("~")
    return (value, row_id) if sign and row_id else None


def position_text(value: str, row_id: str) -> str:
    """A row's place in a list."""
    return f"{value}~{row_id}"


def pattern(text: str) -> str:
    """A pattern of ``_ilike`` for texts that hold *text*."""
    escaped = text.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
    return f"%{escaped}%"

"""A sorted list, a page at a time: each page begins at a row, and both ways from it are in the address.

A page is named by the row before it (``?after=``) or by the one behind it (``?before=``), never by a number of rows to
leave out: it costs the same wherever it is, and no row is shown twice or left out when others come or go.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, Generic, TypeVar

import attrs
from starlette.datastructures import QueryParams

from prefect.agent.entrypoints.server.pages.addresses import changed, position, position_text
from prefect.agent.entrypoints.server.pages.view import View
from prefect.agent.entrypoints.server.storage.filters import Where
from prefect.agent.entrypoints.server.storage.row_trees import Ask, Row
from prefect.agent.entrypoints.server.storage.tables import TABLES

LONGEST: Final = 200
"""Characters of a text that a list is sorted by: they are in the address."""

_AFTER: Final = "after"
_BEFORE: Final = "before"


@attrs.frozen(kw_only=True)
class Stretch:
    """The rows that a page is made from.

    Attributes:
        start: Value and id of the row that they come after; None: they are the first ones.
        is_back: Whether they are read against the order of the list.
        most: How many are read.
    """

    start: tuple[str, str] | None
    is_back: bool
    most: int

    def sql(self, value: str, row_id: str, *, descending: bool) -> tuple[str, list[str], str]:
        """A condition, its parameters, and the end of the statement, for a list in this order."""
        sign, way = ("<", "DESC") if descending is not self.is_back else (">", "ASC")
        condition = f"({value}, {row_id}) {sign} (?, ?)" if self.start else "1"
        return condition, list(self.start or ()), f"ORDER BY {value} {way}, {row_id} {way} LIMIT {self.most}"


T = TypeVar("T")


@attrs.frozen(kw_only=True)
class Sheet(Generic[T]):
    """One page of a list.

    Attributes:
        rows: In the order of the list.
        previous: Query of the page before; None on the first.
        next: Query of the page behind; None on the last.
    """

    rows: Sequence[T]
    previous: str | None
    next: str | None


def sheet(query: QueryParams, size: int, read: Callable[[Stretch], list[Row]], name: str = "") -> Sheet[Row]:
    """The page of a list that an address names; the first one if there is nothing any more where that was.

    Args:
        read: Reads rows in the order of their stretch, each with its ``id`` and the ``place`` that is sorted by.
        name: What the names in the address begin with, on a page with several lists.
    """
    after, before = position(query.get(name + _AFTER, "")), position(query.get(name + _BEFORE, ""))
    is_back = after is None and before is not None
    found = read(Stretch(start=before if is_back else after, is_back=is_back, most=size + 1))
    if not found and (after or before):
        after, is_back = None, False
        found = read(Stretch(start=None, is_back=False, most=size + 1))
    more, found = len(found) > size, found[:size]
    found = found[::-1] if is_back else found
    has_previous, has_next = (more, True) if is_back else (after is not None, more)

    def leads(way: str, row: Row) -> str:
        here = {way: position_text(row["place"], row["id"])}
        return changed(query, **{name + one: here.get(one) for one in (_AFTER, _BEFORE)})

    return Sheet(
        rows=found,
        previous=leads(_BEFORE, found[0]) if has_previous else None,
        next=leads(_AFTER, found[-1]) if has_next else None,
    )


def sheet_of(
    view: View,
    table: str,
    columns: tuple[Ask, ...],
    by: str,
    *,
    size: int,
    where: Mapping[str, Any] | None = None,
    descending: bool = False,
    name: str = "",
) -> Sheet[Row]:
    """The page of the tenant's rows that the address names.

    Args:
        columns: Of ``fields``; the id must be among them.
        by: What the list is sorted by: SQL of a row ``t0``.
        where: A filter in Hasura's words.
        name: As in :func:`sheet`.
    """
    built = Where()
    condition = built.sql(TABLES[table], {**(where or {}), "tenant_id": {"_eq": view.tenant["id"]}})

    def read(stretch: Stretch) -> list[Row]:
        beyond, start, end = stretch.sql(by, "t0.id", descending=descending)
        statement = f"SELECT t0.id, {by} AS place FROM {table} t0 WHERE {condition} AND {beyond} {end}"
        return view.sql(table, statement, [*built.params, *start])

    found = sheet(view.query, size, read, name)
    ids = [row["id"] for row in found.rows]
    known = {row["id"]: row for row in view.rows(table, columns, {"id": {"_in": ids}})} if ids else {}
    return attrs.evolve(found, rows=[known[one] for one in ids])


def part(query: QueryParams, size: int, rows: Sequence[T], name: str = "skip") -> Sheet[T]:
    """The page of a list that is read as a whole.

    Args:
        name: What says in the address how many rows come before it.
    """
    given = query.get(name, "")
    skip = int(given) if given.isascii() and given.isdigit() and len(given) < 9 else 0
    skip = min(skip, max(0, len(rows) - 1) // size * size)
    return Sheet(
        rows=rows[skip : skip + size],
        previous=changed(query, **{name: str(max(0, skip - size)) if skip > size else None}) if skip else None,
        next=changed(query, **{name: str(skip + size)}) if len(rows) > skip + size else None,
    )


def text(column: str) -> str:
    """What a list is sorted by if that is a text of others: its beginning, which an address has room for."""
    return f"substr(coalesce(t0.{column}, ''), 1, {LONGEST})"

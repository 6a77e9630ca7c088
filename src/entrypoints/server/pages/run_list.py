"""Flow runs as a list: filters from the address, sorted, a page at a time, as fast with 100,000 runs as with ten.

A page begins at a row, never at a number of rows to leave out. The index of the column that is sorted by is walked,
unless a filter leaves so few rows that sorting these is less work.
"""

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final

import attrs
from starlette.datastructures import QueryParams

from prefect.agent.domain.state_names import PARENTS
from prefect.agent.domain.times import iso
from prefect.agent.entrypoints.server.pages.addresses import moment, pattern, span_start
from prefect.agent.entrypoints.server.pages.paging import Stretch, sheet
from prefect.agent.entrypoints.server.pages.view import View, fields
from prefect.agent.entrypoints.server.storage.filters import Where
from prefect.agent.entrypoints.server.storage.row_trees import Row
from prefect.agent.entrypoints.server.storage.tables import TABLES

PAGE_SIZE: Final = 50
FEW: Final = 2000
"""Rows that are sorted rather than looked for along an index."""

SORTS: Final[Mapping[str, str]] = {
    "created": "created",
    "start": "start_time",
    "changed": "state_timestamp",
    "name": "name",
}
"""What a list can be sorted by, and its column; each has an index."""

TIMES: Final[Mapping[str, str]] = {
    "created": "created",
    "due": "scheduled_start_time",
    "start": "start_time",
    "end": "end_time",
    "changed": "state_timestamp",
}
"""Times that a span can be about, and their columns."""

COLUMNS: Final = fields(
    "id name state state_message labels created scheduled_start_time start_time end_time state_timestamp",
    flow=fields("id name"),
)

_TABLE: Final = TABLES["flow_run"]


@attrs.frozen(kw_only=True)
class Listing:
    """One page of a list.

    Attributes:
        runs: Rows with ``COLUMNS``.
        previous: Query of the page before; None on the first.
        next: Query of the next page; None on the last.
        sort: What it is sorted by: one of ``SORTS``.
    """

    runs: list[Row]
    previous: str | None
    next: str | None
    sort: str
    is_descending: bool


FILTERS: Final = ("state", "flow", "project", "label", "name", "time", "span", "from", "to", "sort", "way")
"""Names in an address that say what a list shows, and how it is sorted."""


def run_filter(query: QueryParams, now: datetime) -> dict[str, Any]:
    """What the address asks for, in Hasura's words."""
    where: dict[str, Any] = {}
    states = [state for state in query.getlist("state") if state in PARENTS]
    labels = [label for text in query.getlist("label") for label in _words(text)]
    if states:
        where["state"] = {"_in": states}
    if labels:
        where["labels"] = {"_contains": labels}
    if query.get("flow"):
        where["flow"] = {"flow_group_id": {"_eq": query["flow"]}}
    if query.get("project"):
        where["flow"] = {**where.get("flow", {}), "project_id": {"_eq": query["project"]}}
    return {**where, **_span(query, now)}


def list_runs(view: View) -> Listing:
    """The page of the list that the address names."""
    where = run_filter(view.query, view.now)
    name = view.query.get("name", "")[:200]
    sort = _sort(view.query)
    is_descending = (view.query.get("way") or ("asc" if sort == "name" else "desc")) == "desc"

    def read(stretch: Stretch) -> list[Row]:
        return _places(view, where, SORTS[sort], stretch, descending=is_descending, name=name)

    found = sheet(view.query, PAGE_SIZE, read)
    return Listing(
        runs=_rows(view, [one["id"] for one in found.rows]),
        previous=found.previous,
        next=found.next,
        sort=sort,
        is_descending=is_descending,
    )


def matching_runs(view: View, most: int, *, until: str) -> list[str]:
    """Ids of the *most* runs that were created last of those that the address asks for.

    Args:
        until: A stored time: what was created later is left out.
    """
    name = view.query.get("name", "")[:200]
    where = run_filter(view.query, view.now)
    where["created"] = {**where.get("created", {}), "_lte": until}
    found = _places(view, where, "created", _first(most), descending=True, name=name)
    return [one["id"] for one in found]


def _sort(query: QueryParams) -> str:
    """What is sorted by: by what the address says, else by the time that its span is about."""
    by_time = {"start": "start", "end": "changed", "changed": "changed"}.get(query.get("time", ""), "created")
    asked = query.get("sort", "")
    has_span = bool(query.get("span") or query.get("from") or query.get("to"))
    return asked if asked in SORTS else by_time if has_span else "created"


def begun(now: datetime) -> dict[str, Any]:
    """The condition that leaves out runs that are scheduled for later: a schedule makes many ahead of time."""
    return {"_or": [{"state": {"_neq": "Scheduled"}}, {"state_start_time": {"_lte": iso(now)}}]}


def latest_runs(view: View, expression: Mapping[str, Any], most: int) -> list[Row]:
    """The *most* runs that were created last of those that match, with ``COLUMNS``."""
    found = _places(view, expression, "created", _first(most), descending=True)
    return _rows(view, [one["id"] for one in found])


def _first(most: int) -> Stretch:
    return Stretch(start=None, is_back=False, most=most)


def _places(
    view: View,
    expression: Mapping[str, Any],
    column: str,
    stretch: Stretch,
    *,
    descending: bool,
    name: str = "",
) -> list[Row]:
    """Ids and places of the rows of a stretch."""
    where = Where()
    full = {**expression, "tenant_id": {"_eq": view.tenant["id"]}, column: _known(expression.get(column))}
    tests = _tests(expression, name)
    is_narrow = _are_few(view, expression)
    # What is sorted by is found along its index anyway.
    chosen = None if is_narrow else _first_few(view, [test for test in tests if test.column != column])
    if chosen is not None:
        full["id"] = {"_in": chosen}
    texts = [test for test in tests if test.is_text]
    # A text search first: it is many times faster than reading the labels of each run as JSON.
    parts = [*(test.sql for test in texts), where.sql(_TABLE, full, narrow=True)]
    params = [*(one for test in texts for one in test.params), *where.params]
    beyond, start, end = stretch.sql(f"t0.{column}", "t0.id", descending=descending)
    hint = "" if is_narrow or chosen is not None else f"INDEXED BY {_index(column)}"
    condition = " AND ".join([*parts, beyond])
    statement = f"SELECT t0.id, t0.{column} AS place FROM flow_run t0 {hint} WHERE {condition} {end}"
    return view.sql("flow_run", statement, [*params, *start])


@attrs.frozen(kw_only=True)
class _Test:
    """What a filter demands of one column, which has an index.

    Attributes:
        is_text: Whether it looks into a text, and the index is read from its beginning to its end.
    """

    column: str
    sql: str
    params: Sequence[str]
    is_text: bool = True


def _tests(expression: Mapping[str, Any], name: str) -> list[_Test]:
    """Tests of a filter that may leave few runs, those that are found first before those that are looked for."""
    tests = []
    for column in TIMES.values():
        wanted = [(sign, expression.get(column, {}).get(key)) for key, sign in (("_gte", ">="), ("_lt", "<"))]
        bounds = [(sign, value) for sign, value in wanted if value]
        if bounds:
            sql = " AND ".join(f"t0.{column} {sign} ?" for sign, _ in bounds)
            tests.append(_Test(column=column, sql=sql, params=[value for _, value in bounds], is_text=False))
    needles = [json.dumps(label) for label in expression.get("labels", {}).get("_contains", ())]
    if needles:
        sql = " AND ".join(["instr(t0.labels, ?)"] * len(needles))
        tests.append(_Test(column="labels", sql=sql, params=needles))
    if name:
        tests.append(_Test(column="name", sql="t0.name LIKE ? ESCAPE '\\'", params=[pattern(name)]))
    return tests


def _first_few(view: View, tests: Sequence[_Test]) -> list[str] | None:
    """Ids of the runs that pass the first test that leaves few; None if none does."""
    for test in tests:
        found = _few(view, test)
        if found is not None:
            return found
    return None


def _few(view: View, test: _Test) -> list[str] | None:
    """Ids of the runs that pass, by the index of the column alone; None if they are not few."""
    statement = f"SELECT t0.id FROM flow_run t0 INDEXED BY {_index(test.column)} WHERE {test.sql} LIMIT {FEW + 1}"
    found = [row["id"] for row in view.sql("flow_run", statement, list(test.params))]
    return found if len(found) <= FEW else None


def _index(column: str) -> str:
    """The index that begins with *column*."""
    number = next(n for n, text in enumerate(_TABLE.indexes) if text.split(", ")[0] == column)
    return f"flow_run_{number}"


def _known(test: Mapping[str, Any] | None) -> dict[str, Any]:
    """A list sorted by a column has only rows with a value there."""
    return {**(test or {}), "_is_null": False}


def _are_few(view: View, expression: Mapping[str, Any]) -> bool:
    """Whether a filter with an index of its own leaves so few rows that they can be sorted."""
    known = [name for name in ("state", "flow", "flow_id") if name in expression]
    return any(_count(view, {name: expression[name]}) <= FEW for name in known)


def _count(view: View, expression: Mapping[str, Any]) -> int:
    """How many rows match, counted as far as one more than few."""
    where = Where()
    condition = where.sql(_TABLE, expression)
    statement = f"SELECT count(*) AS n FROM (SELECT 1 FROM flow_run t0 WHERE {condition} LIMIT {FEW + 1})"
    return int(view.sql("flow_run", statement, where.params)[0]["n"])


def _rows(view: View, ids: list[str]) -> list[Row]:
    found = {row["id"]: row for row in view.rows("flow_run", COLUMNS, {"id": {"_in": ids}})} if ids else {}
    return [found[one] for one in ids]


def _span(query: QueryParams, now: datetime) -> dict[str, Any]:
    """The condition on a time. What has ended in a span has changed since it began: that has an index."""
    start = span_start(query, now) or moment(query, "from")
    test = {"_gte": start, "_lt": moment(query, "to")}
    if not any(test.values()):
        return {}
    column = TIMES.get(query.get("time", ""), "created")
    implied: dict[str, Any] = {"state_timestamp": {"_gte": start}} if column == "end_time" and start else {}
    return {column: test, **implied}


def _words(text: str) -> list[str]:
    return [word.strip() for word in text.split(",") if word.strip()]

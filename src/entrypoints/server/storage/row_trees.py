"""Read trees of rows with one statement for each level, however many rows a level has."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

import attrs

from prefect.agent.entrypoints.server.storage.answer_limits import check_total, value_size
from prefect.agent.entrypoints.server.storage.database import Tx, decode_value
from prefect.agent.entrypoints.server.storage.filters import Where, order_sql
from prefect.agent.entrypoints.server.storage.short_values import short_sql
from prefect.agent.entrypoints.server.storage.tables import TABLES, Table, ToMany, ToOne

CHUNK: Final = 500
"""Ids in one statement: below SQLite's limit of variables, and constant so that statements stay cached."""

AGGREGATE: Final = "_aggregate"

TYPE_NAME: Final = "__typename"
"""A field of every row that is not stored; graphql-core answers it, and it counts in the size."""

_SIZE: Final = "#"
"""The key of a row's size; no field of an answer has this name."""


@attrs.frozen
class Ask:
    """One selected field.

    Attributes:
        key: Its key in the answer.
        is_short: Whether the values of its children are read in short.
    """

    key: str
    name: str
    args: Mapping[str, Any] = attrs.field(factory=dict)
    children: tuple["Ask", ...] = ()
    is_short: bool = False


Row = dict[str, Any]


def read_rows(tx: Tx, table: Table, ask: Ask) -> list[Row]:
    """Return the rows that *ask* selects, as nested objects with the keys of the answer."""
    found = [shown for _, shown in _load(tx, table, ask)]
    tx.spend(sum(shown[_SIZE] for shown in found))
    return found


def read_by_id(tx: Tx, table: Table, ask: Ask) -> Row | None:
    """Return the row with the id in *ask*, or None."""
    found = _load(tx, table, Ask(ask.key, ask.name, {"where": {"id": {"_eq": ask.args["id"]}}}, ask.children))
    if not found:
        return None
    tx.spend(found[0][1][_SIZE])
    return found[0][1]


def count_rows(tx: Tx, table: Table, args: Mapping[str, Any], link: str = "1", link_params: Sequence[Any] = ()) -> int:
    """Return how many rows match; with ``distinct_on``, how many different values there are."""
    where = Where()
    condition = where.sql(table, args.get("where"), narrow=bool(link_params))
    distinct = args.get("distinct_on")
    counted = f"SELECT DISTINCT {', '.join(distinct)}" if distinct else "SELECT 1"
    sql = f"SELECT count(*) AS n FROM ({counted} FROM {table.name} t0 WHERE {link} AND {condition})"
    found = tx.one(sql, [*link_params, *where.params])
    return int(found["n"]) if found else 0


def _load(
    tx: Tx, table: Table, ask: Ask, link: str = "1", link_params: Sequence[Any] = (), *, split_by: str = ""
) -> list[tuple[Row, Row]]:
    """Return stored rows and their shown fields. With *split_by*, the caller applies limit and offset to each group."""
    args = ask.args
    where = Where()
    condition = where.sql(table, args.get("where"), narrow=bool(link_params))
    order = order_sql(table, args.get("order_by")) or _default_order(table, split_by)
    columns = _columns(table, ask.children) | set(args.get("distinct_on") or ()) | ({split_by} if split_by else set())
    sql = f"SELECT {_read(table, columns, is_short=ask.is_short)} FROM {table.name} t0 WHERE {link} AND {condition}"
    sql += f" ORDER BY {order}" if order else ""
    in_sql = not split_by and not args.get("distinct_on")
    if in_sql and (args.get("limit") is not None or args.get("offset")):
        limit = args.get("limit")
        sql += f" LIMIT {-1 if limit is None else max(0, limit)} OFFSET {max(0, args.get('offset') or 0)}"
    stored = tx.all(sql, [*link_params, *where.params])
    if not split_by:
        stored = _distinct(stored, args.get("distinct_on"))
        if not in_sql:
            stored = _page(stored, args)
    return _show(tx, table, stored, ask.children)


def _show(tx: Tx, table: Table, stored: list[Row], asks: Iterable[Ask]) -> list[tuple[Row, Row]]:
    pairs: list[tuple[Row, Row]] = [(row, {_SIZE: value_size(None)}) for row in stored]
    total = 0
    for ask in asks:
        tx.check_time()
        total += _show_field(tx, table, pairs, ask)
        check_total(total)
    return pairs


def _show_field(tx: Tx, table: Table, pairs: list[tuple[Row, Row]], ask: Ask) -> int:
    """Add one field to all rows; return by how much the answer grows."""
    name, kinds = ask.name, table.all_columns
    if name == TYPE_NAME:
        return _count_each(pairs, len(ask.key) + value_size(table.name))
    if name in kinds:
        kind, total, each = kinds[name], 0, len(ask.key)
        for row, shown in pairs:
            shown[ask.key] = decode_value(kind, row[name])
            size = each + value_size(row[name])
            shown[_SIZE] += size
            total += size
        return total
    if name.endswith(AGGREGATE):
        _show_counts(tx, table, pairs, ask)
    elif name in table.relations:
        relation = table.relations[name]
        if isinstance(relation, ToOne):
            return _show_one(tx, relation, pairs, ask)
        return _show_many(tx, relation, pairs, ask)
    return 0


def _count_each(pairs: list[tuple[Row, Row]], size: int) -> int:
    """Add *size* to each row; return by how much the answer grows."""
    for _, shown in pairs:
        shown[_SIZE] += size
    return size * len(pairs)


def _show_one(tx: Tx, relation: ToOne, pairs: list[tuple[Row, Row]], ask: Ask) -> int:
    found: dict[str, Row] = {}
    for ids in _chunks({row[relation.column] for row, _ in pairs} - {None}):
        inner = attrs.evolve(ask, args={}, children=(*ask.children, Ask("", "id")))
        marks = ", ".join("?" * len(ids))
        found.update(
            {row["id"]: shown for row, shown in _load(tx, TABLES[relation.table], inner, f"id IN ({marks})", ids)}
        )
    total = 0
    for row, shown in pairs:
        one = shown[ask.key] = found.get(row[relation.column])
        size = one[_SIZE] if one else value_size(None)
        shown[_SIZE] += size
        total += size
    return total


def _show_many(tx: Tx, relation: ToMany, pairs: list[tuple[Row, Row]], ask: Ask) -> int:
    groups: dict[str, list[tuple[Row, Row]]] = defaultdict(list)
    for ids in _chunks({row["id"] for row, _ in pairs}):
        link = f"{relation.column} IN ({', '.join('?' * len(ids))})"
        for pair in _load(tx, TABLES[relation.table], ask, link, ids, split_by=relation.column):
            groups[pair[0][relation.column]].append(pair)
    total = 0
    for row, shown in pairs:
        members = [{**stored, "": inner} for stored, inner in groups.get(row["id"], ())]
        several = [member[""] for member in _page(_distinct(members, ask.args.get("distinct_on")), ask.args)]
        shown[ask.key] = several
        size = sum(one[_SIZE] for one in several)
        shown[_SIZE] += size
        total += size
    return total


def _show_counts(tx: Tx, table: Table, pairs: list[tuple[Row, Row]], ask: Ask) -> None:
    relation = table.relations[ask.name.removesuffix(AGGREGATE)]
    for row, shown in pairs:
        count = count_rows(tx, TABLES[relation.table], ask.args, f"{relation.column} = ?", [row["id"]])
        shown[ask.key] = {"aggregate": {"count": count}}


def _columns(table: Table, asks: Iterable[Ask]) -> set[str]:
    """Return the columns that must be read to answer *asks*."""
    needed = {"id"}
    for ask in asks:
        relation = table.relations.get(ask.name)
        if ask.name in table.all_columns:
            needed.add(ask.name)
        elif isinstance(relation, ToOne):
            needed.add(relation.column)
    return needed


def _read(table: Table, columns: Iterable[str], *, is_short: bool) -> str:
    """Return what a statement selects for *columns*."""
    if not is_short:
        return ", ".join(sorted(columns))
    kinds = table.all_columns
    return ", ".join(f"{short_sql(kinds[name], f't0.{name}')} AS {name}" for name in sorted(columns))


def _default_order(table: Table, split_by: str) -> str:
    # Clients take the first tenant for the default one (protocol section 12.3): it must stay the first.
    return _insertion_order(table) if split_by or table.name == "tenant" else ""


def _insertion_order(table: Table) -> str:
    return "t0.created, t0.version" if table.name.endswith("_state") else "t0.created"


def _distinct(rows: list[Row], columns: Sequence[str] | None) -> list[Row]:
    if not columns:
        return rows
    first: dict[tuple[Any, ...], Row] = {}
    for row in rows:
        first.setdefault(tuple(row[column] for column in columns), row)
    return list(first.values())


def _page(rows: list[Row], args: Mapping[str, Any]) -> list[Row]:
    start = max(0, args.get("offset") or 0)
    limit = args.get("limit")
    return rows[start:] if limit is None else rows[start : start + max(0, limit)]


def _chunks(ids: set[Any]) -> Iterable[list[Any]]:
    ordered = sorted(ids)
    return (ordered[start : start + CHUNK] for start in range(0, len(ordered), CHUNK))

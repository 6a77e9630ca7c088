"""Translate filters in Hasura's syntax to SQL text and parameters. Pure: nothing is executed."""

import json
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import attrs

from prefect.agent.domain.cloud.errors import CloudRefusal
from prefect.agent.entrypoints.server.storage.sql_functions import MAX_PATTERN
from prefect.agent.entrypoints.server.storage.tables import BOOL, JSON, TABLES, UUID, Table, ToOne

Expression = Mapping[str, Any]

_SIMPLE: Final = {
    "_eq": "=", "_neq": "<>", "_lt": "<", "_lte": "<=", "_gt": ">", "_gte": ">=",
}  # fmt: skip

_PATTERNS: Final = ("_like", "_nlike", "_ilike", "_nilike")

_PREFIX: Final = re.compile(r"[^%_\\]*%?", re.DOTALL)
"""Matches a LIKE pattern whose only wildcard is a ``%`` at its end."""

OPERATORS: Final = (*_SIMPLE, *_PATTERNS, "_in", "_nin", "_is_null", "_contains")
"""The comparison operators of every column."""

JSON_OPERATORS: Final = ("_contained_in",)
"""The further comparison operators of JSON columns."""

_RARE: Final = 0.001
"""The share of recently changed rows that SQLite shall assume, as it has no statistics."""

_RANGES: Final = ("_eq", "_in", "_lt", "_lte", "_gt", "_gte")
"""Operators for which an index finds the rows."""

DIRECTIONS: Final = {
    "asc": "ASC NULLS LAST",
    "asc_nulls_first": "ASC NULLS FIRST",
    "asc_nulls_last": "ASC NULLS LAST",
    "desc": "DESC NULLS FIRST",
    "desc_nulls_first": "DESC NULLS FIRST",
    "desc_nulls_last": "DESC NULLS LAST",
}
"""Sort directions, with PostgreSQL's defaults for null."""


@attrs.define
class Where:
    """Builds one condition. Table aliases are ``t0``, ``t1``, ...; ``t0`` is the queried table."""

    params: list[Any] = attrs.field(factory=list, init=False)
    _aliases: int = attrs.field(default=0, init=False)

    def sql(self, table: Table, expression: Expression | None, alias: str = "t0", *, narrow: bool = False) -> str:
        """Return the condition for *expression*; an empty one is always true. Comparisons with null are ignored.

        Args:
            narrow: Whether another condition already restricts the query to few rows.
        """
        asked = {name: value for name, value in (expression or {}).items() if value is not None}
        narrow = narrow or _is_narrow(table, asked)
        parts = [self._part(table, name, value, alias, narrow=narrow) for name, value in asked.items()]
        return " AND ".join(parts) or "1"

    def _part(self, table: Table, name: str, value: Any, alias: str, *, narrow: bool) -> str:
        if name == "_and":
            return self._join(" AND ", "1", table, value, alias, narrow=narrow)
        if name == "_or":
            either = self._join(" OR ", "0", table, value, alias, narrow=narrow)
            return either + self._common(table, value, alias)
        if name == "_not":
            return f"NOT ({self.sql(table, value, alias, narrow=narrow)})"
        if name in table.relations:
            return self._related(table, name, value, alias, narrow=narrow)
        kind = table.all_columns[name]
        column = f"{alias}.{name}"
        tests = [self._compare(column, kind, op, operand) for op, operand in value.items() if operand is not None]
        return f"({' AND '.join(tests) or '1'})"

    def _join(
        self, word: str, none: str, table: Table, expressions: Sequence[Expression], alias: str, *, narrow: bool
    ) -> str:
        parts = [f"({self.sql(table, expression, alias, narrow=narrow)})" for expression in expressions]
        return f"({word.join(parts) or none})"

    def _common(self, table: Table, expressions: Sequence[Expression], alias: str) -> str:
        """Return a condition on the column that all alternatives test, so that an index finds their rows.

        ``(x = 1 AND a) OR (x = 2 AND b)`` implies ``x IN (1, 2)``, also where x is null: the result is the same.
        """
        parts = []
        for name, kind in table.all_columns.items():
            values = [_exact((expression or {}).get(name), kind) for expression in expressions]
            known = [value for several in values if several is not None for value in several]
            if known and None not in values:
                parts.append(f" AND {alias}.{name} IN ({', '.join('?' * len(known))})")
                self.params += known
        return "".join(parts)

    def _related(self, table: Table, name: str, expression: Expression, alias: str, *, narrow: bool) -> str:
        """Return the condition that a matching related row exists. It is never null, so it can be negated.

        The query starts from the related rows if an index finds few of them and no other condition is narrow.
        """
        relation = table.relations[name]
        other = TABLES[relation.table]
        self._aliases += 1
        inner = f"t{self._aliases}"
        mine, theirs = (relation.column, "id") if isinstance(relation, ToOne) else ("id", relation.column)
        leads = not narrow and _is_narrow(other, expression)
        condition = self.sql(other, expression, inner, narrow=not leads)
        if leads:
            found = f"SELECT {inner}.{theirs} FROM {other.name} {inner} WHERE {inner}.{theirs} IS NOT NULL"
            return f"({alias}.{mine} IS NOT NULL AND {alias}.{mine} IN ({found} AND {condition}))"
        return f"EXISTS (SELECT 1 FROM {other.name} {inner} WHERE {inner}.{theirs} = {alias}.{mine} AND {condition})"

    def _compare(self, column: str, kind: str, operator: str, operand: Any) -> str:
        if operator == "_is_null":
            return f"{column} IS {'' if operand else 'NOT '}NULL"
        stored = _stored(kind)
        if operator in {"_in", "_nin"}:
            self.params += [stored(value) for value in operand]
            marks = ", ".join("?" * len(operand))
            if not operand:
                return "0" if operator == "_in" else "1"
            return f"{column} {'IN' if operator == '_in' else 'NOT IN'} ({marks})"
        if operator in _PATTERNS:
            return self._like(column, operator, _text(operand))
        self.params.append(stored(operand))
        if operator == "_contains":
            return f"json_contains({column}, ?)"
        if operator == "_contained_in":
            return f"json_contains(?, {column})"
        test = f"{column} {_SIMPLE[operator]} ?"
        return f"likelihood({test}, {_RARE})" if _asks_for_recent(column, operator) else test

    def _like(self, column: str, operator: str, pattern: str) -> str:
        """Return the condition for a LIKE pattern: a prefix uses an index, every other pattern a function in Python."""
        if len(pattern) > MAX_PATTERN:
            raise CloudRefusal(f"A pattern has at most {MAX_PATTERN} characters")
        no, minds_case = "NOT " if operator in {"_nlike", "_nilike"} else "", operator in {"_like", "_nlike"}
        if _PREFIX.fullmatch(pattern) and minds_case:
            self.params.append(_glob(pattern))
            return f"{column} {no}GLOB ?"
        if _PREFIX.fullmatch(pattern):
            self.params.append(pattern)
            return f"{column} {no}LIKE ? ESCAPE '\\'"
        self.params += [pattern, int(minds_case)]
        return f"{no}text_like({column}, ?, ?)"


def order_sql(table: Table, order_by: object, alias: str = "t0") -> str:
    """Return the ORDER BY terms; empty without *order_by*.

    Args:
        order_by: An object of columns and directions, or a list of such objects; to-one relations may be nested.

    Raises:
        CloudRefusal: A column cannot be sorted by, or a direction is unknown.
    """
    terms = order_by if isinstance(order_by, list) else [order_by]
    found = [pair for term in terms if term for pair in _order_terms(table, term, alias)]
    return ", ".join(f"{column} {direction}" for column, direction in found)


def _order_terms(table: Table, term: object, alias: str) -> list[tuple[str, str]]:
    """Return the SQL terms of an order, each with its direction."""
    found = []
    for name, direction in _mapping(term).items():
        if direction is None:
            continue
        relation = table.relations.get(name)
        if isinstance(relation, ToOne):
            inner = f"{alias}_{name}"
            link = f"FROM {relation.table} {inner} WHERE {inner}.id = {alias}.{relation.column}"
            nested = _order_terms(TABLES[relation.table], direction, inner)
            found += [(f"(SELECT {column} {link})", way) for column, way in nested]
        elif name in table.all_columns and isinstance(direction, str) and direction in DIRECTIONS:
            found.append((f"{alias}.{name}", DIRECTIONS[direction]))
        else:
            raise CloudRefusal(f"{table.name} cannot be ordered by {name!r:.80} {direction!r:.80}")
    return found


def _mapping(term: object) -> Mapping[str, Any]:
    if not isinstance(term, Mapping):
        raise CloudRefusal(f"order_by takes columns and directions, not {term!r:.80}")
    return term


def _stored(kind: str) -> Callable[[Any], Any]:
    if kind == JSON:
        return lambda value: json.dumps(value, separators=(",", ":"))
    return int if kind == BOOL else (lambda value: value)


def _asks_for_recent(column: str, operator: str) -> bool:
    """Return whether a test selects rows changed after some time, which is usually recent."""
    return column.endswith(".state_timestamp") and operator in {"_gt", "_gte"}


def _is_narrow(table: Table, expression: Expression) -> bool:
    """Return whether an index finds few rows: a reference to a row is given, or its first two columns are tested."""
    kinds = table.all_columns
    tests = {name: test for name, test in expression.items() if name in kinds and test is not None}
    exact = {name for name, test in tests.items() if _exact(test, kinds[name]) is not None}
    ranged = {name for name, test in tests.items() if any(test.get(operator) is not None for operator in _RANGES)}
    return any(key[0] in exact and (kinds[key[0]] == UUID or (len(key) > 1 and key[1] in ranged)) for key in table.keys)


def _exact(test: Mapping[str, Any] | None, kind: str) -> list[Any] | None:
    """Return the stored values of a test that only a few values pass; None for any other test."""
    if kind == JSON or not test:
        return None
    if test.get("_eq") is not None:
        return [_stored(kind)(test["_eq"])]
    several = test.get("_in")
    return None if several is None else [_stored(kind)(value) for value in several]


def _text(operand: Any) -> str:
    """Return the operand of a pattern test as text: that of a JSON value is its JSON."""
    return operand if isinstance(operand, str) else json.dumps(operand, separators=(",", ":"))


def _glob(pattern: str) -> str:
    """Return a LIKE pattern as a GLOB pattern, which is case-sensitive like PostgreSQL's LIKE."""
    found, characters = [], iter(pattern)
    for character in characters:
        is_plain = character == "\\"
        one = next(characters, character) if is_plain else character
        if not is_plain and one in _WILDCARDS:
            found.append(_WILDCARDS[one])
        else:
            found.append(f"[{one}]" if one in "*?[" else one)
    return "".join(found)


_WILDCARDS: Final = {"%": "*", "_": "?"}

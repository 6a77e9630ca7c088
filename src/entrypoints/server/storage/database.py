"""The database of the Cloud: one SQLite file in WAL mode, one connection, one transaction for each request.

WAL with ``synchronous=NORMAL`` survives the death of the process at any moment: every change that was answered is in
the log file. A power cut can lose the last moments, but never consistency (SQLite's page "Write-Ahead Logging").
"""

import json
import sqlite3
import time
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime, timezone
from functools import cache
from operator import itemgetter
from pathlib import Path
from typing import IO, Any, Final

import attrs

from prefect.agent.domain.cloud.errors import BAD_INPUT, TOO_EXPENSIVE
from prefect.agent.domain.times import iso
from prefect.agent.entrypoints.server.storage.answer_limits import check_total
from prefect.agent.entrypoints.server.storage.ids import new_ids
from prefect.agent.entrypoints.server.storage.opening import APPLICATION_ID, DatabaseProblem, hold_lock, open_file
from prefect.agent.entrypoints.server.storage.sql_functions import TOO_SLOW, SqlFunctions, TooMuch
from prefect.agent.entrypoints.server.storage.tables import BOOL, JSON, TABLES

__all__ = [
    "APPLICATION_ID",
    "AsksTooMuch",
    "Database",
    "DatabaseProblem",
    "Tx",
    "code_of_mistake",
    "decode_value",
    "explain",
]

READ_SECONDS: Final = 10.0
WRITE_SECONDS: Final = 60.0
"""Seconds after which a transaction is aborted: all other requests wait for it."""

MAX_ROWS: Final = 100_000
"""How many rows one transaction may read: answers are built in memory."""

_LOOK_EVERY: Final = 50_000
"""Steps of SQLite's virtual machine between two checks of the clock, about a millisecond."""


_LIMITS: Final = (
    "too many", "Expression tree is too large", "parser stack overflow", "string or blob too big",
    "LIKE or GLOB pattern too complex", "statement too long",
)  # fmt: skip
"""Beginnings of SQLite's messages that say that a request exceeds one of its limits."""


class AsksTooMuch(DatabaseProblem):
    """A request reads more rows than permitted."""


def explain(problem: Exception) -> str | None:
    """Return one sentence for a person about a failure of the database; None for any other exception."""
    if isinstance(problem, (DatabaseProblem, TooMuch)):
        return str(problem)
    if isinstance(problem, UnicodeEncodeError):
        return "A text holds half a surrogate pair and cannot be stored"
    if isinstance(problem, RecursionError):
        return "A value is nested too deeply"
    if isinstance(problem, OverflowError):
        return "A number has more than 64 bits and cannot be stored"
    if not isinstance(problem, (sqlite3.OperationalError, sqlite3.DatabaseError)):
        return None
    text = str(problem)
    if text == "interrupted":
        return TOO_SLOW
    if _is_too_much(problem):
        return f"This asks for too much at once ({text}): ask for less at a time"
    return f"The Cloud's database failed: {text}; no change was kept"


def code_of_mistake(problem: Exception) -> str | None:
    """Return the code of a client's mistake: it asks for too much, or for a value that cannot be stored. Else None."""
    if isinstance(problem, (TooMuch, AsksTooMuch)) or _is_too_much(problem):
        return TOO_EXPENSIVE
    return BAD_INPUT if isinstance(problem, (UnicodeEncodeError, RecursionError, OverflowError)) else None


def _is_too_much(problem: Exception) -> bool:
    """Return whether SQLite refused a statement because it is too long, too large or too complex."""
    return isinstance(problem, sqlite3.Error) and str(problem).startswith(("interrupted", *_LIMITS))


@attrs.define
class Tx:
    """One transaction.

    Attributes:
        _functions: The SQL functions in Python, with the deadline of the transaction.
    """

    _connection: sqlite3.Connection
    _functions: SqlFunctions
    _left: int = attrs.field(default=MAX_ROWS, init=False)
    _spent: int = attrs.field(default=0, init=False)
    _lost: BaseException | None = attrs.field(default=None, init=False)
    _changes_before: int = attrs.field(
        default=attrs.Factory(lambda self: self._connection.total_changes, takes_self=True), init=False
    )

    @property
    def changed_rows(self) -> int:
        """How many rows this transaction has changed; changes that a savepoint took back do not count."""
        return self._connection.total_changes - self._changes_before

    def all(self, sql: str, params: Sequence[Any] | Mapping[str, Any] = ()) -> list[dict[str, Any]]:
        """Return all rows as they are stored.

        Raises:
            AsksTooMuch: This transaction has read more than ``MAX_ROWS`` rows.
            TooMuch: This transaction takes too long.
        """
        self.check_time()
        with self._reasons():
            cursor = self._connection.execute(sql, params)
            names = [column[0] for column in cursor.description]
            found = [dict(zip(names, row, strict=True)) for row in cursor.fetchmany(self._left + 1)]
        self._left -= len(found)
        if self._left < 0:
            raise AsksTooMuch(f"This reads more than {MAX_ROWS} rows: ask for fewer at a time with limit and offset")
        return found

    def one(self, sql: str, params: Sequence[Any] | Mapping[str, Any] = ()) -> dict[str, Any] | None:
        """Return the first row as it is stored, or None."""
        return next(iter(self.all(sql, params)), None)

    def rows(self, table: str, where: str, params: Sequence[Any] = ()) -> list[dict[str, Any]]:
        """Return rows of *table*, JSON and booleans decoded. *where* may end in ORDER BY and LIMIT."""
        decoders = _decoders(table)
        found = self.all(f"SELECT * FROM {table} WHERE {where}", params)
        for row in found:
            for name, decoder in decoders:
                if row[name] is not None:
                    row[name] = decoder(row[name])
        return found

    def row(self, table: str, where: str, params: Sequence[Any] = ()) -> dict[str, Any] | None:
        """Return the first of :meth:`rows`, or None."""
        return next(iter(self.rows(table, f"{where} LIMIT 1", params)), None)

    def execute(self, sql: str, params: Sequence[Any] = ()) -> int:
        """Execute a statement that changes rows; return how many rows it changed."""
        self.check_time()
        with self._reasons():
            return self._connection.execute(sql, params).rowcount

    def insert(self, table: str, row: Mapping[str, Any]) -> str:
        """Add one row with the table's defaults; return its id."""
        return self.insert_many(table, [row])[0]

    def insert_many(self, table: str, rows: Iterable[Mapping[str, Any]]) -> list[str]:
        """Add rows that name the same columns; return their ids."""
        now = iso(datetime.now(timezone.utc))
        same = {"created": now, "updated": now, **TABLES[table].defaults}
        full = [{"id": row_id, **same, **row} for row_id, row in zip(new_ids(), rows, strict=False)]
        if full:
            names = list(full[0])
            sql = f"INSERT INTO {table} ({', '.join(names)}) VALUES ({', '.join('?' * len(names))})"
            self._connection.executemany(sql, _encoded(table, names, full))
        return [row["id"] for row in full]

    def update(self, table: str, row_id: str, values: Mapping[str, Any]) -> int:
        """Change columns of one row; return 1, or 0 if the row does not exist."""
        sets = ", ".join(f"{name} = ?" for name in values)
        [encoded] = _encoded(table, [*values, "id"], [{**values, "id": row_id}])
        return self.execute(f"UPDATE {table} SET {sets} WHERE id = ?", encoded)

    @contextmanager
    def savepoint(self) -> Generator[None]:
        """Undo all changes of the block if it raises an exception."""
        self.check_open()
        self._connection.execute("SAVEPOINT field")
        kept = self.changed_rows
        try:
            yield
        except BaseException as problem:
            self._changes_before = self._connection.total_changes - kept  # SQLite counts what is rolled back, too
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK TO field")
                self._connection.execute("RELEASE field")
            else:
                self._lost = problem
            raise
        self._connection.execute("RELEASE field")

    def check_open(self) -> None:
        """Check that the transaction is still open: a full disk or an interrupt ends it.

        Raises:
            DatabaseProblem: The transaction has ended.
        """
        if not self._connection.in_transaction:
            why = explain(self._lost) if isinstance(self._lost, Exception) else None
            raise DatabaseProblem(why or "The transaction was lost; no change was kept") from self._lost

    def spend(self, size: int) -> None:
        """Count *size* more characters of the answer; raise :class:`TooLarge` if there are too many."""
        self._spent += size
        check_total(self._spent)

    def check_time(self) -> None:
        """Raise :class:`TooMuch` if this transaction takes too long."""
        self._functions.check_time()

    @contextmanager
    def _reasons(self) -> Generator[None]:
        """Raise the reason why a function in Python gave up, which SQLite does not pass on."""
        self._functions.problem = None
        try:
            yield
        except sqlite3.OperationalError as problem:
            if self._functions.problem is not None:
                raise self._functions.problem from problem
            raise


_encode_json: Final = json.JSONEncoder(separators=(",", ":")).encode


def _decode_json(text: str) -> Any:
    return {} if text == "{}" else [] if text == "[]" else json.loads(text)


_ENCODERS: Final[Mapping[str, Callable[[Any], Any]]] = {JSON: _encode_json, BOOL: int}
_DECODERS: Final[Mapping[str, Callable[[Any], Any]]] = {JSON: _decode_json, BOOL: bool}


@cache
def _encoders(table: str) -> Mapping[str, Callable[[Any], Any]]:
    return {name: _ENCODERS[kind] for name, kind in TABLES[table].all_columns.items() if kind in _ENCODERS}


@cache
def _decoders(table: str) -> Sequence[tuple[str, Callable[[Any], Any]]]:
    return [(name, _DECODERS[kind]) for name, kind in TABLES[table].all_columns.items() if kind in _DECODERS]


def _encoded(table: str, names: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> Generator[list[Any]]:
    """Yield the values of the columns *names* of each row, as SQLite stores them."""
    encoders = _encoders(table)
    special = [(place, encoders[name]) for place, name in enumerate(names) if name in encoders]
    pick = itemgetter(*names)
    for row in rows:
        values = list(pick(row))
        for place, encoder in special:
            if values[place] is not None:
                values[place] = encoder(values[place])
        yield values


def decode_value(kind: str, value: Any) -> Any:
    """Return the decoded form of a stored value of a column of type *kind*."""
    decoder = _DECODERS.get(kind)
    return value if value is None or decoder is None else decoder(value)


@attrs.define
class Database:
    """An open database. Use it from one thread at a time."""

    path: Path
    _connection: sqlite3.Connection = attrs.field(init=False)
    _lock: IO[str] = attrs.field(init=False)
    _functions: SqlFunctions = attrs.field(factory=SqlFunctions, init=False)

    def __attrs_post_init__(self) -> None:
        # Resolved, because a link to the file would have its own lock and log.
        self.path = self.path.resolve()
        self._lock = hold_lock(self.path)
        try:
            self._connection = open_file(self.path)
            self._functions.register(self._connection)
        except BaseException:
            self._lock.close()
            raise

    @property
    def changed_rows(self) -> int:
        """How many rows were changed since the file was opened."""
        return self._connection.total_changes

    @contextmanager
    def write(self) -> Generator[Tx]:
        """Open a transaction; commit it at the end of the block, or roll it back if the block raises."""
        with self._transaction("BEGIN IMMEDIATE", WRITE_SECONDS) as tx:
            yield tx
            tx.check_open()
            self._connection.execute("COMMIT")

    @contextmanager
    def read(self) -> Generator[Tx]:
        """Open a transaction for reading only, with a consistent view."""
        with self._transaction("BEGIN", READ_SECONDS) as tx:
            yield tx

    def glance(self, sql: str, params: Sequence[Any] = ()) -> tuple[Any, ...] | None:
        """Execute a short statement outside of any transaction; return its first row as it is stored, or None."""
        found: tuple[Any, ...] | None = self._connection.execute(sql, params).fetchone()
        return found

    @contextmanager
    def _transaction(self, begin: str, seconds: float) -> Generator[Tx]:
        connection, end = self._connection, time.monotonic() + seconds
        self._functions.end = end
        connection.set_progress_handler(lambda: time.monotonic() > end, _LOOK_EVERY)
        connection.execute(begin)
        try:
            yield Tx(connection, self._functions)
        finally:
            connection.set_progress_handler(None, 0)  # what follows is not this transaction's
            if connection.in_transaction:
                connection.execute("ROLLBACK")

    def close(self) -> None:
        """Close the file. May be repeated."""
        self._connection.close()
        self._lock.close()

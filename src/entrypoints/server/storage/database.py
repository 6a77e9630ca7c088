"""The Cloud's memory: one SQLite file in WAL mode, one connection, one transaction per request.

WAL with ``synchronous=NORMAL`` survives the death of the process at any moment (what was answered is in the log file);
only a power cut can take the last moments, and never consistency (SQLite documentation, "Write-Ahead Logging").
"""

import fcntl
import json
import logging
import os
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
from prefect.agent.entrypoints.server.storage.answer_sizes import check_total
from prefect.agent.entrypoints.server.storage.effort import TOO_SLOW, Effort, TooMuch
from prefect.agent.entrypoints.server.storage.files import PRIVATE_FILE, keep_private, make_file, make_folder, planted
from prefect.agent.entrypoints.server.storage.ids import new_ids
from prefect.agent.entrypoints.server.storage.migrations import SCHEMA_VERSION, migrate
from prefect.agent.entrypoints.server.storage.tables import BOOL, JSON, TABLES

APPLICATION_ID: Final = 0x50434C44
"""Marks the file as one of ours (SQLite ``application_id``)."""

READ_SECONDS: Final = 10.0
WRITE_SECONDS: Final = 60.0
"""A transaction whose statements go on for longer is given up: all requests wait for the one that is being answered."""

MAX_ROWS: Final = 100_000
"""Most rows that one transaction reads: answers are made in memory."""

_LOOK_EVERY: Final = 50_000
"""Steps of SQLite's machine between two looks at the clock; about a millisecond."""


_LIMITS: Final = (
    "too many", "Expression tree is too large", "parser stack overflow", "string or blob too big",
    "LIKE or GLOB pattern too complex", "statement too long",
)  # fmt: skip
"""How messages of SQLite begin that speak of its limits: what a request asks for is beyond them."""

_LOCK_FLAGS: Final = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC

_log: Final = logging.getLogger(__name__)


class DatabaseProblem(Exception):
    """The file cannot be used, or not now; the message says why and what to do."""


class AsksTooMuch(DatabaseProblem):
    """A request reads more than a request may."""


def explain(problem: Exception) -> str | None:
    """What a person can be told of a failure of the database; None if it is something else."""
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
    return f"The Cloud's database refuses: {text}; nothing of this was kept"


def code_of_mistake(problem: Exception) -> str | None:
    """The code of an error that is the client's: too much is asked for, or what cannot be stored. Else None."""
    if isinstance(problem, (TooMuch, AsksTooMuch)) or _is_too_much(problem):
        return TOO_EXPENSIVE
    return BAD_INPUT if isinstance(problem, (UnicodeEncodeError, RecursionError, OverflowError)) else None


def _is_too_much(problem: Exception) -> bool:
    """Whether SQLite gave up because a statement is too long, too large or too complex."""
    return isinstance(problem, sqlite3.Error) and str(problem).startswith(("interrupted", *_LIMITS))


@attrs.define
class Tx:
    """One transaction.

    Attributes:
        _effort: Until when something more is begun, and what its functions may take.
    """

    _connection: sqlite3.Connection
    _effort: Effort
    _left: int = attrs.field(default=MAX_ROWS, init=False)
    _spent: int = attrs.field(default=0, init=False)
    _lost: BaseException | None = attrs.field(default=None, init=False)

    def all(self, sql: str, params: Sequence[Any] | Mapping[str, Any] = ()) -> list[dict[str, Any]]:
        """All rows as they are stored.

        Raises:
            AsksTooMuch: This transaction has read more than ``MAX_ROWS``.
            TooMuch: It goes on for too long.
        """
        self.check_time()
        with self._reasons():
            cursor = self._connection.execute(sql, params)
            names = [column[0] for column in cursor.description]
            found = [dict(zip(names, row, strict=True)) for row in cursor.fetchmany(self._left + 1)]
        self._left -= len(found)
        if self._left < 0:
            raise AsksTooMuch(f"This reads more than {MAX_ROWS} rows: ask for less at a time with limit and offset")
        return found

    def one(self, sql: str, params: Sequence[Any] | Mapping[str, Any] = ()) -> dict[str, Any] | None:
        """The first row as it is stored, or None."""
        return next(iter(self.all(sql, params)), None)

    def rows(self, table: str, where: str, params: Sequence[Any] = ()) -> list[dict[str, Any]]:
        """All rows of *table*, JSON and booleans decoded. *where* may end in ORDER BY and LIMIT."""
        decoders = _decoders(table)
        found = self.all(f"SELECT * FROM {table} WHERE {where}", params)
        for row in found:
            for name, decoder in decoders:
                if row[name] is not None:
                    row[name] = decoder(row[name])
        return found

    def row(self, table: str, where: str, params: Sequence[Any] = ()) -> dict[str, Any] | None:
        """The first of :meth:`rows`, or None."""
        return next(iter(self.rows(table, f"{where} LIMIT 1", params)), None)

    def execute(self, sql: str, params: Sequence[Any] = ()) -> int:
        """Change something; return how many rows were changed."""
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
        """Change columns of one row; return how many rows that was."""
        sets = ", ".join(f"{name} = ?" for name in values)
        [encoded] = _encoded(table, [*values, "id"], [{**values, "id": row_id}])
        return self.execute(f"UPDATE {table} SET {sets} WHERE id = ?", encoded)

    @contextmanager
    def savepoint(self) -> Generator[None]:
        """What happens inside happens whole or not at all."""
        self.check_open()
        self._connection.execute("SAVEPOINT field")
        try:
            yield
        except BaseException as problem:
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK TO field")
                self._connection.execute("RELEASE field")
            else:
                self._lost = problem
            raise
        self._connection.execute("RELEASE field")

    def check_open(self) -> None:
        """A full disk or an interrupt may have ended the transaction from within: nothing may be done outside of one.

        Raises:
            DatabaseProblem: It has.
        """
        if not self._connection.in_transaction:
            told = explain(self._lost) if isinstance(self._lost, Exception) else None
            raise DatabaseProblem(told or "The transaction was lost: nothing of this was kept") from self._lost

    def spend(self, size: int) -> None:
        """Count *size* characters of the answer; raise :class:`TooLarge` if it has too many."""
        self._spent += size
        check_total(self._spent)

    def check_time(self) -> None:
        """Raise :class:`TooMuch` if this transaction goes on for too long."""
        self._effort.check()

    @contextmanager
    def _reasons(self) -> Generator[None]:
        """Of a function that gave up SQLite says only that it did: say why instead."""
        self._effort.problem = None
        try:
            yield
        except sqlite3.OperationalError as problem:
            if self._effort.problem is not None:
                raise self._effort.problem from problem
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
    """Values of the columns *names*, as SQLite stores them."""
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
    """One stored value of a column of type *kind*."""
    decoder = _DECODERS.get(kind)
    return value if value is None or decoder is None else decoder(value)


@attrs.define
class Database:
    """One open file. Not thread-safe: one thread at a time."""

    path: Path
    _connection: sqlite3.Connection = attrs.field(init=False)
    _lock: IO[str] = attrs.field(init=False)
    _effort: Effort = attrs.field(factory=Effort, init=False)

    def __attrs_post_init__(self) -> None:
        # By its one name: a link to it would have a lock and a log of its own.
        self.path = self.path.resolve()
        self._lock = _lock(self.path)
        try:
            self._connection = _open(self.path)
            self._effort.register(self._connection)
        except BaseException:
            self._lock.close()
            raise

    @contextmanager
    def write(self) -> Generator[Tx]:
        """A transaction: committed at the end, rolled back on any exception."""
        with self._transaction("BEGIN IMMEDIATE", WRITE_SECONDS) as tx:
            yield tx
            tx.check_open()
            self._connection.execute("COMMIT")

    @contextmanager
    def read(self) -> Generator[Tx]:
        """A consistent view; nothing may be changed through it."""
        with self._transaction("BEGIN", READ_SECONDS) as tx:
            yield tx

    def glance(self, sql: str, params: Sequence[Any] = ()) -> tuple[Any, ...] | None:
        """The first row of a short statement, as it is stored, outside of any transaction; or None."""
        found: tuple[Any, ...] | None = self._connection.execute(sql, params).fetchone()
        return found

    @contextmanager
    def _transaction(self, begin: str, seconds: float) -> Generator[Tx]:
        connection, end = self._connection, time.monotonic() + seconds
        self._effort.end = end
        connection.set_progress_handler(lambda: time.monotonic() > end, _LOOK_EVERY)
        connection.execute(begin)
        try:
            yield Tx(connection, self._effort)
        finally:
            connection.set_progress_handler(None, 0)  # what follows is not this transaction's
            if connection.in_transaction:
                connection.execute("ROLLBACK")

    def close(self) -> None:
        """Close the file. May be repeated."""
        self._connection.close()
        self._lock.close()


def _lock(path: Path) -> IO[str]:
    """Hold a lock beside the file for as long as the process lives, so that two servers never share it."""
    try:
        make_folder(path.parent)
        lock = os.fdopen(os.open(f"{path}.lock", _LOCK_FLAGS, PRIVATE_FILE), "a", encoding="utf-8")
    except OSError as problem:
        raise DatabaseProblem(f"cannot write beside {path}: {problem.strerror}; choose another --database") from problem
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as problem:
        lock.close()
        raise DatabaseProblem(f"another server uses {path}; stop it, or choose another --database") from problem
    return lock


def _open(path: Path) -> sqlite3.Connection:
    problem = planted(path)
    if problem is not None:
        raise DatabaseProblem(problem)
    make_file(path)
    try:
        connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False, cached_statements=512)
    except sqlite3.Error as problem:
        raise DatabaseProblem(f"cannot use {path}: {problem}; it was left as it is") from problem
    try:
        _check_ours(connection, path)
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = NORMAL")
        connection.execute("PRAGMA foreign_keys = ON")
        connection.execute("PRAGMA cache_size = -16000")
        migrate(connection, APPLICATION_ID)
        _check_writable(connection)
        _check_private(connection, path)
    except BaseException as problem:
        connection.close()
        if isinstance(problem, sqlite3.Error):
            raise DatabaseProblem(f"cannot use {path}: {problem}; it was left as it is") from problem
        raise
    return connection


def _check_private(connection: sqlite3.Connection, path: Path) -> None:
    """What others can read or replace is no place for keys and secrets."""
    problem = keep_private(path)
    if problem is None:
        return
    holds = "SELECT EXISTS (SELECT 1 FROM api_key_hash) OR EXISTS (SELECT 1 FROM secret)"
    if connection.execute(holds).fetchone()[0]:
        raise DatabaseProblem(problem)
    _log.warning("%s", problem)


def _check_writable(connection: sqlite3.Connection) -> None:
    """A file that can only be read is found out at the start, not at the first change."""
    connection.execute("BEGIN IMMEDIATE")
    connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
    connection.execute("ROLLBACK")


def _check_ours(connection: sqlite3.Connection, path: Path) -> None:
    """Look before touching: the file is empty, or one that this version can use."""
    version = connection.execute("PRAGMA user_version").fetchone()[0]
    mark = connection.execute("PRAGMA application_id").fetchone()[0]
    is_new = not connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0] and not version
    if not is_new and mark != APPLICATION_ID:
        raise DatabaseProblem(f"{path} is a database of something else; choose another --database")
    if version > SCHEMA_VERSION:
        raise DatabaseProblem(f"{path} was written by a newer prefect-agent (schema {version}); update this one")

"""The Cloud's memory: one SQLite file in WAL mode, one connection, one transaction per request.

WAL with ``synchronous=NORMAL`` survives the death of the process at any moment (what was answered is in the log file);
only a power cut can take the last moments, and never consistency (SQLite documentation, "Write-Ahead Logging").
"""

import fcntl
import json
import sqlite3
import uuid
from collections.abc import Generator, Iterable, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime, timezone
from pathlib import Path
from typing import IO, Any, Final

import attrs

from prefect.agent.domain.times import iso
from prefect.agent.entrypoints.server.tables import BOOL, JSON, TABLES, Table

SCHEMA_VERSION: Final = 1
APPLICATION_ID: Final = 0x50434C44
"""Marks the file as one of ours (SQLite ``application_id``)."""


class DatabaseProblem(Exception):
    """The file cannot be used; the message says why and what to do."""


@attrs.frozen
class Tx:
    """One write transaction."""

    _connection: sqlite3.Connection

    def all(self, sql: str, params: Sequence[Any] | Mapping[str, Any] = ()) -> list[dict[str, Any]]:
        """All rows as they are stored."""
        cursor = self._connection.execute(sql, params)
        names = [column[0] for column in cursor.description]
        return [dict(zip(names, row, strict=True)) for row in cursor]

    def one(self, sql: str, params: Sequence[Any] | Mapping[str, Any] = ()) -> dict[str, Any] | None:
        """The first row as it is stored, or None."""
        return next(iter(self.all(sql, params)), None)

    def rows(self, table: str, where: str, params: Sequence[Any] = ()) -> list[dict[str, Any]]:
        """All rows of *table*, JSON and booleans decoded. *where* may end in ORDER BY and LIMIT."""
        return [decode(TABLES[table], row) for row in self.all(f"SELECT * FROM {table} WHERE {where}", params)]

    def row(self, table: str, where: str, params: Sequence[Any] = ()) -> dict[str, Any] | None:
        """The first of :meth:`rows`, or None."""
        return next(iter(self.rows(table, f"{where} LIMIT 1", params)), None)

    def execute(self, sql: str, params: Sequence[Any] = ()) -> int:
        """Change something; return how many rows were changed."""
        return self._connection.execute(sql, params).rowcount

    def insert(self, table: str, row: Mapping[str, Any]) -> str:
        """Add one row with the table's defaults; return its id."""
        return self.insert_many(table, [row])[0]

    def insert_many(self, table: str, rows: Iterable[Mapping[str, Any]]) -> list[str]:
        """Add rows that name the same columns; return their ids."""
        described = TABLES[table]
        now = iso(datetime.now(timezone.utc))
        full = [{"id": str(uuid.uuid4()), "created": now, "updated": now, **described.defaults, **row} for row in rows]
        if full:
            names = list(full[0])
            sql = f"INSERT INTO {table} ({', '.join(names)}) VALUES ({', '.join('?' * len(names))})"
            self._connection.executemany(sql, [[encode(described, n, row[n]) for n in names] for row in full])
        return [row["id"] for row in full]

    def update(self, table: str, row_id: str, values: Mapping[str, Any]) -> int:
        """Change columns of one row; return how many rows that was."""
        described = TABLES[table]
        sets = ", ".join(f"{name} = ?" for name in values)
        sql = f"UPDATE {table} SET {sets} WHERE id = ?"
        return self.execute(sql, [*(encode(described, n, v) for n, v in values.items()), row_id])

    @contextmanager
    def savepoint(self) -> Generator[None]:
        """What happens inside happens whole or not at all."""
        self._connection.execute("SAVEPOINT field")
        try:
            yield
        except BaseException:
            self._connection.execute("ROLLBACK TO field")
            self._connection.execute("RELEASE field")
            raise
        self._connection.execute("RELEASE field")


def encode(table: Table, column: str, value: Any) -> Any:
    """A value as SQLite stores it."""
    kind = table.all_columns[column]
    if value is None:
        return None
    if kind == JSON:
        return json.dumps(value, separators=(",", ":"))
    return int(value) if kind == BOOL else value


def decode(table: Table, row: Mapping[str, Any]) -> dict[str, Any]:
    """A stored row with JSON and booleans decoded."""
    kinds = table.all_columns
    return {name: decode_value(kinds.get(name, ""), value) for name, value in row.items()}


def decode_value(kind: str, value: Any) -> Any:
    """One stored value of a column of type *kind*."""
    if value is None:
        return None
    if kind == JSON:
        return json.loads(value)
    return bool(value) if kind == BOOL else value


@attrs.define
class Database:
    """One open file. Not thread-safe: one thread at a time."""

    path: Path
    _connection: sqlite3.Connection = attrs.field(init=False)
    _lock: IO[str] = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self._lock = _lock(self.path)
        try:
            self._connection = _open(self.path)
        except BaseException:
            self._lock.close()
            raise

    @contextmanager
    def write(self) -> Generator[Tx]:
        """A transaction: committed at the end, rolled back on any exception."""
        self._connection.execute("BEGIN IMMEDIATE")
        try:
            yield Tx(self._connection)
        except BaseException:
            self._connection.execute("ROLLBACK")
            raise
        self._connection.execute("COMMIT")

    @contextmanager
    def read(self) -> Generator[Tx]:
        """A consistent view; nothing may be changed through it."""
        self._connection.execute("BEGIN")
        try:
            yield Tx(self._connection)
        finally:
            self._connection.execute("ROLLBACK")

    def close(self) -> None:
        """Close the file. May be repeated."""
        self._connection.close()
        self._lock.close()


def _lock(path: Path) -> IO[str]:
    """Hold a lock beside the file for as long as the process lives, so that two servers never share it."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock = Path(f"{path}.lock").open("a", encoding="utf-8")  # noqa: SIM115 - open as long as the process lives
    except OSError as problem:
        raise DatabaseProblem(f"cannot write beside {path}: {problem.strerror}; choose another --database") from problem
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as problem:
        lock.close()
        raise DatabaseProblem(f"another server uses {path}; stop it, or choose another --database") from problem
    return lock


def _open(path: Path) -> sqlite3.Connection:
    try:
        connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False, cached_statements=512)
    except sqlite3.Error as problem:
        raise DatabaseProblem(f"cannot use {path}: {problem}; it was left as it is") from problem
    try:
        _check_ours(connection, path)
        connection.create_function("json_contains", 2, _contains, deterministic=True)
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = NORMAL")
        connection.execute("PRAGMA foreign_keys = ON")
        connection.execute("PRAGMA cache_size = -16000")
        _migrate(connection)
    except BaseException as problem:
        connection.close()
        if isinstance(problem, sqlite3.Error):
            raise DatabaseProblem(f"cannot use {path}: {problem}; it was left as it is") from problem
        raise
    return connection


def _check_ours(connection: sqlite3.Connection, path: Path) -> None:
    """Look before touching: the file is empty, or one that this version can use."""
    version = connection.execute("PRAGMA user_version").fetchone()[0]
    mark = connection.execute("PRAGMA application_id").fetchone()[0]
    is_new = not connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0] and not version
    if not is_new and mark != APPLICATION_ID:
        raise DatabaseProblem(f"{path} is a database of something else; choose another --database")
    if version > SCHEMA_VERSION:
        raise DatabaseProblem(f"{path} was written by a newer prefect-agent (schema {version}); update this one")


def _contains(stored: str | None, wanted: str) -> bool | None:
    """Whether one JSON value holds another one, as PostgreSQL's ``@>`` does."""
    return None if stored is None else _holds(json.loads(stored), json.loads(wanted))


def _holds(value: Any, wanted: Any) -> bool:
    if isinstance(value, dict) and isinstance(wanted, dict):
        return all(name in value and _holds(value[name], wanted[name]) for name in wanted)
    if isinstance(value, list):
        several = wanted if isinstance(wanted, list) else [wanted]
        return all(any(_holds(item, one) for item in value) for one in several)
    return bool(value == wanted)


def _migrate(connection: sqlite3.Connection) -> None:
    if connection.execute("PRAGMA user_version").fetchone()[0] == SCHEMA_VERSION:
        return
    script = "\n".join(table.ddl for table in TABLES.values())
    now = iso(datetime.now(timezone.utc))
    connection.executescript(
        f"BEGIN;\n{script}\nPRAGMA application_id = {APPLICATION_ID};\nPRAGMA user_version = {SCHEMA_VERSION};\n"
        f"INSERT INTO tenant (id, created, updated, name, slug, info, settings) "
        f"VALUES ('{uuid.uuid4()}', '{now}', '{now}', 'default', 'default', '{{}}', '{{}}');\nCOMMIT;"
    )

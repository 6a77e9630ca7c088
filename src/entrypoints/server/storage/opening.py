"""Open the database file: for one process, if this version can use it, readable by its user alone."""

import fcntl
import logging
import os
import sqlite3
from pathlib import Path
from typing import IO, Final

from prefect.agent.entrypoints.server.storage.migrations import SCHEMA_VERSION, migrate
from prefect.agent.entrypoints.server.storage.private_files import (
    PRIVATE_FILE,
    keep_private,
    make_file,
    make_folder,
    planted,
)

APPLICATION_ID: Final = 0x50434C44
"""SQLite's ``application_id`` of the databases of this program."""

LONGEST_LOG: Final = 8_000
"""Pages of SQLite's log, 4 KiB each, from which on a commit itself moves them into the database."""

_LOCK_FLAGS: Final = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC

_log: Final = logging.getLogger(__name__)


class DatabaseProblem(Exception):
    """The file cannot be used, or not now; the message says why and what to do."""


def hold_lock(path: Path) -> IO[str]:
    """Take the lock beside the file; it is released when the returned file is closed, or the process ends.

    Raises:
        DatabaseProblem: Another server holds it, or it cannot be written.
    """
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


def open_file(path: Path) -> sqlite3.Connection:
    """Open the file, make it if it is missing, and migrate it if it is older. The caller holds the lock.

    Raises:
        DatabaseProblem: The file cannot be used; it was left as it is.
    """
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
        connection.execute(f"PRAGMA wal_autocheckpoint = {LONGEST_LOG}")
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
    """Refuse a file with keys or secrets in it that other users can read or replace; warn of one without."""
    problem = keep_private(path)
    if problem is None:
        return
    holds = "SELECT EXISTS (SELECT 1 FROM api_key_hash) OR EXISTS (SELECT 1 FROM secret)"
    if connection.execute(holds).fetchone()[0]:
        raise DatabaseProblem(problem)
    _log.warning("%s", problem)


def _check_writable(connection: sqlite3.Connection) -> None:
    """Write to the file once, so that a read-only file is refused at the start and not at the first change."""
    connection.execute("BEGIN IMMEDIATE")
    connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
    connection.execute("ROLLBACK")


def _check_ours(connection: sqlite3.Connection, path: Path) -> None:
    """Check, before anything is written, that the file is empty or one that this version can use."""
    version = connection.execute("PRAGMA user_version").fetchone()[0]
    mark = connection.execute("PRAGMA application_id").fetchone()[0]
    is_new = not connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0] and not version
    if not is_new and mark != APPLICATION_ID:
        raise DatabaseProblem(f"{path} is a database of something else; choose another --database")
    if version > SCHEMA_VERSION:
        raise DatabaseProblem(f"{path} was written by a newer prefect-agent (schema {version}); update this one")

"""API keys: printed once when they are made, stored as SHA-256, checked in every request.

A key is 32 random bytes, so a plain hash cannot be reversed, and an index finds it.
"""

import hashlib
import secrets
import sqlite3
import uuid
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, Final, Protocol

from prefect.agent.domain.times import iso
from prefect.agent.entrypoints.server.storage.database import APPLICATION_ID, Database, DatabaseProblem
from prefect.agent.entrypoints.server.storage.migrations import SCHEMA_VERSION
from prefect.agent.entrypoints.server.storage.private_files import keep_private
from prefect.agent.entrypoints.server.storage.scopes import ADMIN, ANYONE, Caller
from prefect.agent.entrypoints.settings.local_keys import read_key, write_key

PREFIX: Final = "pak_"
"""The prefix of keys, by which people and secret scanners recognise them."""

BUSY_SECONDS: Final = 10.0
"""Seconds that commands wait for a server that uses the same file."""

_KNOWN: Final = (
    "SELECT k.id, k.scope, k.expires_at, k.made_by FROM api_key_hash h JOIN auth_api_key k "
    "ON k.id = h.auth_api_key_id WHERE h.hash = ? AND (k.expires_at IS NULL OR k.expires_at > ?)"
)

_LOST_MAKER: Final = (
    "WITH RECURSIVE up(id, made_by) AS (SELECT id, made_by FROM auth_api_key WHERE id = ? "
    "UNION SELECT k.id, k.made_by FROM auth_api_key k JOIN up ON k.id = up.made_by) "
    "SELECT made_by FROM up WHERE made_by IS NOT NULL AND made_by NOT IN (SELECT id FROM up)"
)
"""Finds, among the keys through which a key was made, one that is not in the file: revoked, or from ``--api-key``."""

_REVOKE: Final = (
    "DELETE FROM auth_api_key WHERE id IN (WITH RECURSIVE gone(id) AS (SELECT id FROM auth_api_key WHERE id = ? "
    "UNION SELECT k.id FROM auth_api_key k JOIN gone ON k.made_by = gone.id) SELECT id FROM gone)"
)


class Executes(Protocol):
    """A transaction of the server, or a connection of a command."""

    def execute(self, sql: str, params: Sequence[Any] = ..., /) -> object:
        """Run one statement."""


def digest(key: str) -> str:
    """Return the hash of a key, which is stored instead of the key."""
    return hashlib.sha256(key.encode(errors="surrogatepass")).hexdigest()


def caller(database: Database, given: frozenset[str], authorization: str) -> Caller | None:
    """Return who sent a request; None if the Cloud is locked and the key is not accepted.

    Args:
        given: The keys of ``--api-key``; if there are some, every request needs a key.
        authorization: The request's header of that name.
    """
    key = authorization.removeprefix("Bearer ")
    known = _known(database, key, given)
    if known is not None:
        return known
    if given:
        is_given = any(secrets.compare_digest(digest(key), digest(one)) for one in given)
        return Caller(key_id=_id_of_given(key)) if is_given else None
    return None if is_locked(database) else ANYONE


def _known(database: Database, key: str, given: frozenset[str] = frozenset()) -> Caller | None:
    """Return the caller of a stored key; None if it, or a key through which it was made, is expired or revoked."""
    found = database.glance(_KNOWN, [digest(key), iso(datetime.now(timezone.utc))])
    if found is None:
        return None
    key_id, scope, expires_at, made_by = found
    lost = database.glance(_LOST_MAKER, [key_id]) if made_by else None
    if lost is not None and lost[0] not in set(map(_id_of_given, given)):
        return None
    return Caller(scope=scope, key_id=key_id, expires_at=expires_at)


def _id_of_given(key: str) -> str:
    """Return the id of a key of ``--api-key``, for keys that are made through it."""
    return f"given {digest(key)}"


def add_key(
    tx: Executes,
    tenant_id: str,
    name: str,
    *,
    user_id: str | None = None,
    expires_at: str | None = None,
    scope: str = ADMIN,
    made_by: str | None = None,
) -> tuple[str, str]:
    """Make a key and lock the Cloud; return the key's id, and the key, which is not stored.

    Args:
        made_by: The id of the key through which it is made, and with which it is revoked.
    """
    key, row_id, now = f"{PREFIX}{secrets.token_urlsafe(32)}", str(uuid.uuid4()), iso(datetime.now(timezone.utc))
    tx.execute(
        "INSERT INTO auth_api_key (id, created, updated, tenant_id, user_id, name, expires_at, scope, made_by) "
        "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
        [row_id, now, now, tenant_id, user_id, name, expires_at, scope, made_by],
    )
    tx.execute(
        "INSERT INTO api_key_hash (id, created, updated, auth_api_key_id, hash) VALUES (?, ?, ?, ?, ?)",
        [str(uuid.uuid4()), now, now, row_id, digest(key)],
    )
    lock(tx, "a key was made")
    return row_id, key


def revoke(tx: Executes, key_id: str) -> bool:
    """Revoke a key, and all keys made through it; return whether the key existed."""
    done: Any = tx.execute(_REVOKE, [key_id])
    count = done.rowcount if isinstance(done, sqlite3.Cursor) else done
    return bool(count > 0)


def lock(tx: Executes, why: str) -> None:
    """Require a key in every request, even after the last key is revoked. Repeating it changes nothing."""
    now = iso(datetime.now(timezone.utc))
    tx.execute(
        "INSERT INTO cloud_lock (id, created, updated, why) SELECT ?, ?, ?, ? "
        "WHERE NOT EXISTS (SELECT 1 FROM cloud_lock)",
        [str(uuid.uuid4()), now, now, why],
    )


def unlock(tx: Executes) -> None:
    """Stop requiring a key. Existing keys stay."""
    tx.execute("DELETE FROM cloud_lock")


def is_locked(database: Database) -> bool:
    """Return whether every request needs a key."""
    return database.glance("SELECT 1 FROM cloud_lock") is not None


def keep_own_key(database: Database, path: Path, scope: str) -> None:
    """Make sure that the file *path* holds an accepted key of that *scope*; make one if it does not.

    Raises:
        DatabaseProblem: Other users could read the database or replace it.
        ConfigurationError: The file at *path* is not a key file of this user.
        OSError: The file cannot be written.
    """
    check_private(database.path)
    kept = read_key(path)
    known = _known(database, kept) if kept is not None else None
    if known is not None and known.scope == scope:
        return
    with database.write() as tx:
        tenant = tx.row("tenant", "1 ORDER BY created")
        if tenant is None:
            raise DatabaseProblem("there is no tenant to make a key for; create one first")
        _, key = add_key(tx, tenant["id"], f"of {path.name}", scope=scope)
        write_key(path, key)


def check_private(path: Path) -> None:
    """Check that the database *path* is safe for keys, before the first one is made.

    Raises:
        DatabaseProblem: Other users could read the file, or replace it.
    """
    problem = keep_private(path)
    if problem is not None:
        raise DatabaseProblem(problem)


@contextmanager
def opened_beside(path: Path, *, must_exist: bool = False) -> Generator[sqlite3.Connection]:
    """Open a transaction on a file that a running server may be using.

    Args:
        must_exist: Whether to refuse a missing file instead of making it.

    Raises:
        DatabaseProblem: The file is missing, or cannot be used.
    """
    problem: Exception | None = None
    try:
        if must_exist and not path.exists():
            raise DatabaseProblem(f"there is no database at {path}; check --database, or make it with create-key")
        Database(path).close()  # makes or migrates the file, unless a server uses it
    except DatabaseProblem as found:
        problem = found
    try:
        if problem and not _is_ready(path):
            raise problem
        connection = sqlite3.connect(path, isolation_level=None, timeout=BUSY_SECONDS)
        try:
            connection.execute("PRAGMA foreign_keys = ON")
            connection.execute("BEGIN IMMEDIATE")
            yield connection
            connection.execute("COMMIT")
        finally:
            connection.close()
    except PermissionError as found:
        raise DatabaseProblem(f"cannot use {path}: {found.strerror}; choose another --database") from found
    except sqlite3.Error as found:
        raise DatabaseProblem(f"cannot use {path}: {found}; it was left as it is") from found


def _is_ready(path: Path) -> bool:
    """Return whether the file has the present schema, so that a command can use it beside a server."""
    if not path.is_file():
        return False
    connection = sqlite3.connect(path, timeout=BUSY_SECONDS)
    try:
        marks = [connection.execute(f"PRAGMA {name}").fetchone()[0] for name in ("application_id", "user_version")]
    except sqlite3.DatabaseError:
        return False
    finally:
        connection.close()
    return marks == [APPLICATION_ID, SCHEMA_VERSION]

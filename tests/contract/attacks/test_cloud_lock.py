"""Attacks that would open a locked embedded Cloud."""

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from click.testing import CliRunner

from prefect.agent.entrypoints.server.cli.commands import server
from prefect.agent.entrypoints.server.storage.database import Database
from prefect.agent.entrypoints.server.storage.keys import is_locked
from support.embedded import Embedded


def answers(cloud: Embedded, key: str | None = None) -> bool:
    """Whether a request with this key is answered."""
    _, body = cloud.send("{ hello }", None, {"authorization": f"Bearer {key}"} if key else {})
    return "errors" not in body


def made(cloud: Embedded, key: str | None = None) -> tuple[str, str]:
    """Id and text of a new key, made with *key*."""
    headers = {"authorization": f"Bearer {key}"} if key else {}
    found = cloud.change("create_api_key", "id key", headers, name="k")
    return found["id"], found["key"]


def test_revoking_the_last_key_by_itself_leaves_the_cloud_locked(cloud: Embedded) -> None:
    """Attack: a flow's key revokes itself, and the Cloud opens to everyone. Rule: locked is a fact in the file."""
    key_id, key = made(cloud)
    cloud.change("delete_api_key", "success", {"authorization": f"Bearer {key}"}, key_id=key_id)

    assert not answers(cloud)
    assert not answers(cloud, key)


def test_a_restart_does_not_open_it(tmp_path: Path) -> None:
    """Attack: wait for a restart without keys. Rule: the file says locked, not the number of keys."""
    path = tmp_path / "cloud.db"
    first = Embedded(path)
    key_id, key = made(first)
    first.change("delete_api_key", "success", {"authorization": f"Bearer {key}"}, key_id=key_id)
    first.database.close()

    with closing(Database(path)) as again:
        assert is_locked(again)


def test_deleting_what_the_keys_belong_to_does_not_open_it(cloud: Embedded) -> None:
    """Attack: delete the tenant, and its keys with it. Rule: as above."""
    made(cloud)
    with cloud.database.write() as tx:
        tx.execute("DELETE FROM tenant")

    assert not answers(cloud)


def test_only_unlock_opens_it_and_the_next_key_locks_it_again(cloud: Embedded) -> None:
    """Attack: none. Rule: an explicit command opens the Cloud beside a running server; keys stay."""
    _, key = made(cloud)
    command = CliRunner().invoke(server, ["unlock", "--database", str(cloud.path)])

    assert command.exit_code == 0
    assert answers(cloud)
    assert answers(cloud, key)
    made(cloud)
    assert not answers(cloud)


@pytest.mark.parametrize("with_key", [True, False])
def test_a_file_of_before_is_locked_if_it_had_a_key(tmp_path: Path, *, with_key: bool) -> None:
    """Attack: an upgrade opens the Cloud. Rule: the migration locks what asked for a key, and only that."""
    path = tmp_path / "cloud.db"
    before = Embedded(path)
    if with_key:
        made(before)
    before.database.close()
    as_version_4(path)

    with closing(Database(path)) as now:
        assert is_locked(now) is with_key


def as_version_4(path: Path) -> None:
    """Take back what later versions added to the file."""
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript(
            "DROP TABLE cloud_lock; ALTER TABLE auth_api_key DROP COLUMN scope; "
            "ALTER TABLE auth_api_key DROP COLUMN made_by; DROP INDEX flow_run_8; DROP INDEX flow_run_9; "
            "DROP INDEX flow_run_10; PRAGMA user_version = 4;"
        )

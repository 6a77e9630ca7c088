"""API keys: made, hashed, asked for, revoked; and the command that does it."""

import re
import socket
import sqlite3
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from prefect.agent.entrypoints.server.cli.commands import server
from prefect.agent.entrypoints.server.graphql.execution import Executor
from prefect.agent.entrypoints.server.storage.keys import digest, opened_beside
from support.embedded import Embedded

HELLO = {"query": "{ hello }"}


def made(cloud: Embedded, name: str = "k", **given: Any) -> dict[str, str]:
    """The id of a new key, and the key."""
    found: dict[str, str] = cloud.change("create_api_key", "id key", name=name, **given)
    return found


def taken(execute: Executor, key: str | None) -> bool:
    """Whether a request with this key is answered."""
    headers = {} if key is None else {"authorization": f"Bearer {key}"}
    answer = execute(HELLO, headers)
    status, body = answer.status, answer.body
    assert status == 200
    if "errors" in body:
        assert body["errors"][0]["extensions"]["code"] == "UNAUTHENTICATED"
        return False
    return bool(body["data"]["hello"])


def test_without_keys_none_is_asked_for(cloud: Embedded) -> None:
    """Old clients send a token all the same: it does no harm."""
    assert taken(cloud.execute, None)
    assert taken(cloud.execute, "whatever")


def test_the_first_key_locks_the_cloud(cloud: Embedded) -> None:
    """From then on others are refused, also after the last key was revoked."""
    first = made(cloud)

    assert taken(cloud.execute, first["key"])
    for wrong in (None, "", "wrong", first["id"], digest(first["key"]), first["key"] + "x", "\ud800"):
        assert not taken(cloud.execute, wrong)

    headers = {"authorization": f"Bearer {first['key']}"}
    given = {"input": {"key_id": first["id"]}}
    query = "mutation($input: delete_api_key_input!) { delete_api_key(input: $input) { success } }"
    assert cloud.send(query, given, headers)[1] == {"data": {"delete_api_key": {"success": True}}}
    assert not taken(cloud.execute, None)


def test_keys_of_the_command_line_and_of_the_file_both_count(cloud: Embedded) -> None:
    """``--api-key`` adds to those that were made."""
    first = made(cloud)
    both = Executor(cloud.database, frozenset({"given", "other"}))

    assert [taken(both, key) for key in (first["key"], "given", "other", "wrong", None)] == [True] * 3 + [False] * 2
    assert not taken(cloud.execute, "given")


def test_a_key_expires(cloud: Embedded) -> None:
    """And does not open the Cloud by doing so."""
    first = made(cloud, expires_at="2999-01-01T00:00:00Z")
    assert taken(cloud.execute, first["key"])
    with cloud.database.write() as tx:
        tx.execute("UPDATE auth_api_key SET expires_at = '2000-01-01T00:00:00.000000+00:00'")

    assert [taken(cloud.execute, key) for key in (first["key"], None)] == [False, False]


@pytest.mark.parametrize(
    "given",
    [{"name": ""}, {"name": "k", "expires_at": "2000-01-01T00:00:00Z"}],
    ids=["no name", "past"],
)
def test_a_key_that_makes_no_sense(cloud: Embedded, given: dict[str, Any]) -> None:
    """It would lock everybody out."""
    cloud.refused("create_api_key", "key", **given)

    assert taken(cloud.execute, None)


def test_only_a_hash_is_stored_and_nothing_shows_it(cloud: Embedded) -> None:
    """Whoever reads the file, or asks, does not get a key."""
    key = made(cloud, "mine", user_id="11111111-1111-4111-8111-111111111111")["key"]

    with cloud.database.read() as tx:
        stored = repr(tx.all("SELECT * FROM auth_api_key") + tx.all("SELECT * FROM api_key_hash"))
    assert digest(key) in stored
    assert key not in stored
    assert len(key) > 40
    headers = {"authorization": f"Bearer {key}"}
    _, body = cloud.send("{ auth_api_key { id name expires_at user_id } }", None, headers)
    [row] = body["data"]["auth_api_key"]
    assert (row["name"], row["expires_at"]) == ("mine", None)
    for query in ("{ api_key_hash { hash } }", "{ auth_api_key { hash } }"):
        assert cloud.send(query, None, headers)[0] == 400


# --- the command ---


def command(*words: object) -> Result:
    """Run ``prefect server WORDS``."""
    return CliRunner().invoke(server, [str(word) for word in words])


def test_keys_are_made_and_revoked_beside_a_running_server(cloud: Embedded) -> None:
    """The file is in use by *cloud*; it takes notice at once."""
    path = cloud.path
    assert "no API keys" in command("list-keys", "--database", path).stderr

    created = command("create-key", "--database", path, "--name", "laptop", "--expires", "2999-01-01")
    key = created.stdout.strip()
    assert created.exit_code == 0
    assert re.fullmatch(r"pak_[\w-]{43}", key)
    assert [taken(cloud.execute, one) for one in (key, None)] == [True, False]

    listed = command("list-keys", "--database", path).stdout
    assert "laptop" in listed
    assert "expires 2999-01-01T00:00:00" in listed
    assert key not in listed
    row_id = listed.split()[0]

    revoked = command("revoke-key", "--database", path, row_id)
    assert (revoked.exit_code, row_id in revoked.stdout) == (0, True)
    assert not taken(cloud.execute, None)
    assert command("unlock", "--database", path).exit_code == 0
    assert taken(cloud.execute, None)
    again = command("revoke-key", "--database", path, row_id)
    assert (again.exit_code, "list-keys" in again.stderr) == (78, True)


def test_a_key_can_be_made_before_the_first_start(tmp_path: Path) -> None:
    """The file is made with it."""
    path = tmp_path / "new" / "cloud.db"
    key = command("create-key", "--database", path).stdout.strip()

    cloud = Embedded(path)
    assert [taken(cloud.execute, one) for one in (key, None)] == [True, False]
    cloud.database.close()


def test_a_file_of_something_else_gets_no_key(tmp_path: Path) -> None:
    """One sentence, exit 78, and the file is as it was."""
    path = tmp_path / "notes.txt"
    path.write_text("my notes, " * 1000, encoding="ascii")

    for words in (["create-key"], ["list-keys"], ["revoke-key", "x"]):
        refused = command(*words, "--database", path)
        assert (refused.exit_code, refused.stderr.count("\n")) == (78, 1)
    assert path.read_text(encoding="ascii") == "my notes, " * 1000


def test_a_failure_within_leaves_nothing(cloud: Embedded) -> None:
    """What is done beside a server is a transaction as well."""

    def fail_inside() -> None:
        with opened_beside(cloud.path) as connection:
            connection.execute("DELETE FROM tenant")
            raise LookupError

    with pytest.raises(LookupError):
        fail_inside()
    assert cloud.ask("{ tenant { slug } }") == {"tenant": [{"slug": "default"}]}


def test_without_a_tenant_there_is_nobody_to_make_a_key_for(cloud: Embedded) -> None:
    """Said so."""
    connection = sqlite3.connect(cloud.path)
    connection.execute("DELETE FROM tenant")
    connection.commit()
    connection.close()

    refused = command("create-key", "--database", cloud.path)
    assert (refused.exit_code, "no tenant" in refused.stderr) == (78, True)


@pytest.mark.parametrize("host", ["0.0.0.0", "::"])
def test_without_keys_nothing_but_the_loopback_is_served(tmp_path: Path, host: str) -> None:
    """Whoever can reach the address could run code on the agents."""
    refused = command("start", "--host", host, "--port", 0, "--database", tmp_path / "c.db")

    assert refused.exit_code == 78
    assert refused.stderr.count("\n") == 1
    assert "create-key" in refused.stderr or "cannot listen" in refused.stderr  # a machine without IPv6


def test_what_cannot_be_started_is_one_sentence(tmp_path: Path) -> None:
    """A port in use, a file that cannot be, options that contradict each other."""
    with socket.create_server(("127.0.0.1", 0)) as used:
        port = used.getsockname()[1]
        refused = [
            (command("start", "--port", port, "--ephemeral"), "another --port"),
            (command("start", "--port", 0, "--database", "/dev/null/c.db"), "another --database"),
            (command("start", "--ephemeral", "--database", tmp_path / "c.db"), "contradict"),
            (command("start", "--host", "no such host", "--ephemeral"), "cannot listen"),
        ]
    for result, words in refused:
        assert (result.exit_code, result.stderr.count("\n")) == (78, 1)
        assert words in result.stderr
    assert not (tmp_path / "c.db").exists()


@pytest.mark.parametrize("words", [["start"], ["create-key"], ["list-keys"], ["revoke-key", "an-id"], ["unlock"]])
def test_a_database_under_a_home_that_does_not_exist_is_one_sentence(words: list[str]) -> None:
    """A user of a container has none, for example."""
    result = command(*words, "--database", "~nosuchuser/x")

    assert result.exit_code == 78
    assert "--database is '~nosuchuser/x', but there is no such home" in result.stderr

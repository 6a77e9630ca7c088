"""The shape of errors (protocol section 1.4), and the file that everything is in."""

import json
import sqlite3
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from prefect.agent.entrypoints.server.graphql.execution import Executor
from prefect.agent.entrypoints.server.storage.database import Database, DatabaseProblem
from support.embedded import Embedded

# --- errors ---


@pytest.mark.parametrize(
    ("query", "code"),
    [
        ("query { nothing }", "GRAPHQL_VALIDATION_FAILED"),
        ("query { flow { nothing } }", "GRAPHQL_VALIDATION_FAILED"),
        ("query { flow", "GRAPHQL_PARSE_FAILED"),
        ("", "GRAPHQL_PARSE_FAILED"),
        ("query A { hello } query B { hello }", "GRAPHQL_VALIDATION_FAILED"),
        ("fragment F on flow { id }", "GRAPHQL_VALIDATION_FAILED"),
        ("{" * 10_000, "GRAPHQL_PARSE_FAILED"),
        ("{ a " * 60_000, "GRAPHQL_PARSE_FAILED"),
        ('query { flow_by_pk(id: "no-uuid") { id } }', "GRAPHQL_VALIDATION_FAILED"),
        ('query { flow(where: { created: { _gt: "no time" } }) { id } }', "GRAPHQL_VALIDATION_FAILED"),
    ],
    ids=["field", "column", "open", "empty", "two", "fragment", "deep", "long", "uuid", "time"],
)
def test_a_document_that_is_not_valid(cloud: Embedded, query: str, code: str) -> None:
    """400, with the code and a message."""
    status, body = cloud.send(query)

    assert status == 400
    assert body["errors"][0]["extensions"]["code"] == code
    assert body["errors"][0]["message"]


@pytest.mark.parametrize(
    "variables",
    [{}, {"id": None}, {"id": "no-uuid"}, {"id": 3}, [], 3, "[]", "{", "nonsense", "[" * 100_000],
    ids=lambda value: str(value)[:12],
)
def test_variables_that_do_not_fit(cloud: Embedded, variables: object) -> None:
    """400 and BAD_USER_INPUT, whatever came in their place."""
    status, body = cloud.send("query($id: uuid!) { flow_by_pk(id: $id) { id } }", variables)

    assert (status, body["errors"][0]["extensions"]["code"]) == (400, "BAD_USER_INPUT")


@pytest.mark.parametrize("body", [None, [], 3, "x", {}, {"query": None}, {"query": ["{ hello }"]}])
def test_a_body_that_is_no_request(cloud: Embedded, body: object) -> None:
    """400: there is no query in it."""
    found = cloud.execute(body, {})
    status, answer = found.status, found.body

    assert (status, answer["errors"][0]["extensions"]["code"]) == (400, "BAD_USER_INPUT")


@pytest.mark.parametrize("variables", [None, "null", "", " ", {}, "{}"])
def test_no_variables_in_every_spelling(cloud: Embedded, variables: object) -> None:
    """Official clients send the text null (protocol section 1.3)."""
    assert cloud.ask("query { hello }", variables)["hello"]


def test_variables_as_json_within_json(cloud: Embedded) -> None:
    """The double encoding of official clients, and JSON scalars as quoted literals (protocol section 1.3)."""
    text = json.dumps({"input": {"name": "p"}})
    document = "mutation($input: create_project_input!) { create_project(input: $input) { id } }"
    assert cloud.ask(document, text)["create_project"]["id"]

    literal = 'mutation { set_key_value(input: { key: "k", value: "{\\"a\\": [1]}" }) { id } }'
    cloud.ask(literal)
    assert cloud.ask("query { key_value { value } }")["key_value"] == [{"value": {"a": [1]}}]


def test_a_failed_field_has_path_and_place(cloud: Embedded) -> None:
    """200, null in its place, and the error says where."""
    status, body = cloud.send('query { hello secret_value(name: "none") }')

    assert status == 200
    assert (body["data"]["hello"] is None, body["data"]["secret_value"]) == (False, None)
    [error] = body["errors"]
    assert error["path"] == ["secret_value"]
    assert error["locations"]
    assert error["extensions"] == {"code": "REFUSED"}


def test_a_key_is_asked_for_if_there_are_any(cloud: Embedded) -> None:
    """The sign that official clients look for, and nothing is done (protocol section 1.4)."""
    locked = Executor(cloud.database, frozenset({"right"}))
    body = {"query": 'mutation { create_project(input: { name: "p" }) { id } }'}

    for headers in ({}, {"authorization": "Bearer wrong"}, {"authorization": "Bearer "}):
        refused = locked(body, headers)
        status, answer = refused.status, refused.body
        assert status == 200
        assert answer["errors"][0]["extensions"]["code"] == "UNAUTHENTICATED"
        assert not answer.get("data")
    assert cloud.ask("query { project { id } }")["project"] == []
    assert "errors" not in locked(body, {"authorization": "Bearer right"}).body


def test_a_refused_field_leaves_nothing_behind(cloud: Embedded) -> None:
    """What a mutation did before it was refused is undone."""
    project = cloud.project()
    flow = {"name": "f", "tasks": [{"slug": "a"}], "edges": [{"upstream_task": {"slug": "a"}}]}

    cloud.refused("create_flow", "id", project_id=project, serialized_flow=flow)

    data = cloud.ask("query { flow { id } flow_group { id } task { id } }")
    assert data == {"flow": [], "flow_group": [], "task": []}


JSON = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(-5, 5), st.text(max_size=3)),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["name", "slug", "default", "labels", "type", "tasks"]), inner, max_size=3)
    ),
    max_leaves=8,
)
FLOWS = st.fixed_dictionaries(
    {"name": st.just("f")},
    optional=dict.fromkeys(("tasks", "edges", "parameters", "run_config", "storage", "schedule", "description"), JSON),
)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(FLOWS)
def test_a_hostile_flow_does_no_harm(cloud: Embedded, flow: dict[str, Any]) -> None:
    """A flow of any shape is taken or refused as the protocol says; what is taken can be read, run and claimed."""
    with cloud.database.write() as tx:
        tx.execute("DELETE FROM project")
    project = cloud.project()

    status, body = cloud.mutate("create_flow", "id", None, project_id=project, serialized_flow=flow)

    assert status == 200
    if "errors" in body:
        assert body["errors"][0]["path"] == ["create_flow"]
        return
    flow_id = body["data"]["create_flow"]["id"]
    status, made = cloud.mutate("create_flow_run", "id", None, flow_id=flow_id)
    assert status == 200
    if "errors" not in made:
        assert cloud.set_state(made["data"]["create_flow_run"]["id"], "Submitted")["status"] == "SUCCESS"


# --- the file ---


def test_what_was_answered_is_there_after_a_restart(tmp_path: Path) -> None:
    """Everything is in one file."""
    first = Embedded(tmp_path / "cloud.db")
    project = first.project("kept")
    first.database.close()
    first.database.close()

    second = Embedded(tmp_path / "cloud.db")
    assert second.row("project", project, "name") == {"name": "kept"}
    assert len(second.ask("query { tenant { id } }")["tenant"]) == 1
    second.database.close()


def test_two_servers_never_share_a_file(tmp_path: Path) -> None:
    """The second one is refused, until the first one is gone."""
    path = tmp_path / "cloud.db"
    first = Database(path)
    with pytest.raises(DatabaseProblem, match="another server"):
        Database(path)

    first.close()
    Database(path).close()


def test_the_folder_is_made(tmp_path: Path) -> None:
    """A default path must work on a fresh machine; one that cannot be made is said so."""
    Database(tmp_path / "a" / "b" / "cloud.db").close()
    (tmp_path / "file").write_text("", encoding="ascii")

    with pytest.raises(DatabaseProblem, match="--database"):
        Database(tmp_path / "file" / "cloud.db")


def foreign(path: Path, *statements: str) -> bytes:
    """A SQLite file of some other program; its bytes."""
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE theirs (x)")
    for statement in statements:
        connection.execute(statement)
    connection.commit()
    connection.close()
    return path.read_bytes()


@pytest.mark.parametrize("statement", ["SELECT 1", "PRAGMA user_version = 1"], ids=["unmarked", "same version"])
def test_a_foreign_database_is_refused_and_left_alone(tmp_path: Path, statement: str) -> None:
    """A typing error in --database must not change another program's file, whatever version that counts."""
    path = tmp_path / "theirs.db"
    before = foreign(path, statement)

    with pytest.raises(DatabaseProblem, match="something else"):
        Database(path).close()
    assert path.read_bytes() == before


def test_a_file_that_is_no_database_is_refused_and_left_alone(tmp_path: Path) -> None:
    """Whatever it is, it is somebody's."""
    path = tmp_path / "notes.txt"
    path.write_text("my notes, " * 1000, encoding="ascii")

    with pytest.raises(DatabaseProblem, match="left as it is"):
        Database(path).close()
    assert path.read_text(encoding="ascii") == "my notes, " * 1000
    with pytest.raises(DatabaseProblem, match="left as it is"):  # and its lock was let go
        Database(path).close()


def test_a_newer_schema_is_refused(tmp_path: Path) -> None:
    """An old server does not work on the file of a newer one."""
    path = tmp_path / "cloud.db"
    Database(path).close()
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA user_version = 99")
    connection.commit()
    connection.close()

    with pytest.raises(DatabaseProblem, match="newer prefect-agent"):
        Database(path)


def test_a_transaction_is_whole_or_nothing(cloud: Embedded) -> None:
    """An exception takes everything back, to the savepoint or to the beginning."""
    tenant = cloud.ask("query { tenant { id } }")["tenant"][0]["id"]

    def fail_inside(*, outer: bool) -> None:
        with cloud.database.write() as tx:
            tx.insert("project", {"tenant_id": tenant, "name": "outer"})
            try:
                with tx.savepoint():
                    tx.insert("project", {"tenant_id": tenant, "name": "inner"})
                    raise LookupError
            except LookupError:
                if outer:
                    raise

    with pytest.raises(LookupError):
        fail_inside(outer=True)
    assert cloud.ask("query { project { name } }")["project"] == []

    fail_inside(outer=False)
    assert cloud.ask("query { project { name } }")["project"] == [{"name": "outer"}]

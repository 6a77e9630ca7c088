"""What one request may cost, and what happens when something fails that should not."""

import json
import logging
import sqlite3
from contextlib import suppress
from typing import Any

import pytest

from prefect.agent.entrypoints.server.graphql import documents
from prefect.agent.entrypoints.server.graphql.documents import (
    MAX_ALIKE,
    MAX_DEPTH,
    MAX_FIELDS,
    DocumentRefused,
    Documents,
)
from prefect.agent.entrypoints.server.graphql.json_text import read_json
from prefect.agent.entrypoints.server.storage import database, sql_functions
from prefect.agent.entrypoints.server.storage.database import Tx
from support.embedded import Embedded


def nested(levels: int) -> str:
    """A query that selects so many levels below its root field."""
    names = ("flow_runs", "flow")
    inner = "id"
    for level in range(levels - 1, 0, -1):
        inner = f"{names[(level - 1) % 2]} {{ {inner} }}"
    return f"query {{ flow(limit: 1) {{ {inner} }} }}"


def refusal(cloud: Embedded, query: str) -> str:
    """Message of a document that is refused with 400."""
    status, body = cloud.send(query)
    assert status == 400
    return str(body["errors"][0]["message"])


def test_the_depth_of_a_selection(cloud: Embedded) -> None:
    """As deep as real gateways allow (protocol section 1.4), and no deeper."""
    assert cloud.ask(nested(MAX_DEPTH)) == {"flow": []}
    assert "levels deep" in refusal(cloud, nested(MAX_DEPTH + 1))


def test_depth_is_counted_through_fragments(cloud: Embedded) -> None:
    """A fragment is no way around it."""
    parts = " ".join(
        f"fragment F{n} on {'flow' if n % 2 == 0 else 'flow_run'} "
        f"{{ {'flow_runs' if n % 2 == 0 else 'flow'} {{ ...F{n + 1} }} }}"
        for n in range(8)
    )
    assert "levels deep" in refusal(cloud, f"query {{ flow {{ ...F0 }} }} {parts} fragment F8 on flow {{ id }}")
    assert "levels deep" in refusal(cloud, nested(9).replace("id", "... on flow { id }"))


def test_fragments_that_multiply(cloud: Embedded) -> None:
    """A few lines that stand for millions of fields."""
    fields = " ".join(f"a{n}: flow {{ ...G }}" for n in range(50))
    again = " ".join(f"b{n}: flow_runs {{ id }}" for n in range(50))
    assert f"{MAX_FIELDS} fields" in refusal(
        cloud, f"query {{ flow_run {{ {fields} }} }} fragment G on flow {{ {again} }}"
    )


def test_a_fragment_that_holds_itself(cloud: Embedded) -> None:
    """Refused, not followed."""
    assert "itself" in refusal(cloud, "query { flow { ...F } } fragment F on flow { id ...F }")


def test_one_field_again_and_again(cloud: Embedded) -> None:
    """Validation would compare each with each."""
    assert cloud.ask(f"query {{ {'hello ' * MAX_ALIKE} }}")["hello"]
    assert "fields" in refusal(cloud, f"query {{ {'hello ' * 20_000} }}")


def test_a_batch_of_claims_fits(cloud: Embedded) -> None:
    """Some hundred aliased fields are a batch, not an attack."""
    fields = " ".join(f'c{n}: create_project(input: {{ name: "p{n}" }}) {{ id }}' for n in range(300))
    assert len(cloud.ask(f"mutation {{ {fields} }}")) == 300


def test_parsed_documents_are_not_hoarded() -> None:
    """Each document that is kept takes memory; the oldest go."""
    kept = Documents()
    for number in range(200):
        padding = " " * 5_000
        kept.prepare(f"query {{ a{number}: hello }}{padding}")
        kept.prepare(f'query {{ a{number}: secret_value(name: "s") }}{padding}')
    for memory in (kept._texts, kept._outlines):
        assert memory._size <= documents._REMEMBERED
        assert 0 < len(memory._known) < 100
        assert memory._size == sum(map(len, memory._known))


def test_a_document_is_prepared_once() -> None:
    """And one that is refused is not kept."""
    kept = Documents()
    assert kept.prepare("query { hello }") is kept.prepare("query { hello }")
    with pytest.raises(DocumentRefused):
        kept.prepare("query { nothing }")
    assert list(kept._texts._known) == ["query { hello }"]


@pytest.mark.parametrize("text", ["NaN", '{"a": Infinity}', "[-Infinity]"])
def test_json_that_is_none(cloud: Embedded, text: str) -> None:
    """What Python would read and no other client could."""
    with pytest.raises(ValueError, match="is not JSON"):
        read_json(text)
    status, body = cloud.send("query { hello }", text)
    assert (status, body["errors"][0]["extensions"]["code"]) == (400, "BAD_USER_INPUT")


@pytest.mark.parametrize(
    "text", ["'; DROP TABLE flow; --", '" OR 1=1', "a\x00b", "\\", "%_*?[", "é\U0001f600", "x" * 100_000]
)
def test_hostile_names_are_names(cloud: Embedded, text: str) -> None:
    """Kept and found as they are."""
    cloud.project(text)

    query = "query($n: String) { project(where: { name: { _eq: $n } }) { name } }"
    assert cloud.ask(query, {"n": text})["project"] == [{"name": text}]


def test_half_a_surrogate_pair(cloud: Embedded) -> None:
    """No text can hold it: refused with a reason, nothing happened."""
    error = cloud.refused("create_project", "id", name="\ud800")

    assert "surrogate" in error["message"]
    json.dumps(error)
    assert cloud.ask("query { project { id } }")["project"] == []


def test_a_failure_nobody_thought_of(
    cloud: Embedded, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The client hears that, the log says what; the next request is answered."""

    def broken(*_args: Any) -> Any:
        raise KeyError("an inner secret")

    project = cloud.project()
    with monkeypatch.context() as patched, caplog.at_level(logging.ERROR):
        patched.setattr(Tx, "insert", broken)
        refused = cloud.refused("create_project", "id", name="x")
        patched.setattr(Tx, "all", broken)
        status, body = cloud.send("query { project { id } }")

    assert (status, body["data"]) == (200, None)
    for error in (refused, *body["errors"]):
        assert error["extensions"] == {"code": "INTERNAL_SERVER_ERROR"}
        assert "secret" not in error["message"]
    assert "an inner secret" in caplog.text
    assert cloud.ask("query { project { id } }")["project"] == [{"id": project}]


def test_a_statement_that_takes_too_long(cloud: Embedded, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is broken off: everybody else waits for it."""
    endless = "WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c) SELECT count(*) FROM c"
    monkeypatch.setattr(database, "READ_SECONDS", 0.05)
    with pytest.raises(Exception, match="interrupted") as caught, cloud.database.read() as tx:
        tx.all(endless)
    assert database.explain(caught.value) == sql_functions.TOO_SLOW

    monkeypatch.setattr(database, "READ_SECONDS", -1.0)
    status, body = cloud.send("query { project { id } }")
    assert (status, body["data"]) == (200, None)
    assert "too long" in body["errors"][0]["message"]


def test_a_change_that_takes_too_long_is_taken_back(cloud: Embedded, monkeypatch: pytest.MonkeyPatch) -> None:
    """The break-off ends SQLite's transaction from within; nothing is written outside of it."""
    monkeypatch.setattr(database, "WRITE_SECONDS", 0.05)
    endless = "WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c) SELECT max(n) FROM c"
    reached = []

    def change() -> None:
        with cloud.database.write() as tx:
            tx.execute("UPDATE tenant SET name = 'changed'")
            for number in range(2):  # as the executor does: an error of one field is not the end of the others
                with suppress(sqlite3.Error), tx.savepoint():
                    reached.append(number)
                    tx.execute(f"UPDATE tenant SET name = ({endless})")

    with pytest.raises(database.DatabaseProblem, match="too long"):
        change()
    assert reached == [0]
    assert cloud.ask("query { tenant { name } }")["tenant"] == [{"name": "default"}]


def test_an_answer_that_is_too_large(cloud: Embedded) -> None:
    """Answers are made in memory: refused with the way out."""
    flow = cloud.flow(cloud.project())
    for _ in range(4):
        cloud.run(flow)
    with cloud.database.read() as tx:
        tx._left = 3
        assert len(tx.all("SELECT id FROM flow_run LIMIT 3")) == 3
        with pytest.raises(database.DatabaseProblem, match="limit and offset"):
            tx.all("SELECT id FROM flow_run")


@pytest.mark.parametrize(("operand", "found"), [('"3"', 0), ('"{}"', 1), ('"\\"%\\""', 1)])
def test_a_pattern_for_a_column_of_json(cloud: Embedded, operand: str, found: int) -> None:
    """A number where a pattern belongs, which is what ``"3"`` is there; an object; a text that fits everything."""
    query = f"query {{ tenant(where: {{ settings: {{ _like: {operand} }} }}) {{ id }} }}"

    assert len(cloud.ask(query)["tenant"]) == found

"""Attacks with requests that are valid and small, and ask for more than a Cloud can give."""

import json
from typing import Any

import pytest

from prefect.agent.domain.cloud.errors import MAX_MESSAGE
from prefect.agent.entrypoints.server.graphql.json_text import read_json
from support.embedded import Embedded

SET_VALUE = "mutation($i: set_key_value_input!) { set_key_value(input: $i) { id } }"


def code_of(cloud: Embedded, query: str, variables: Any = None) -> str:
    """The code of the one error of a request."""
    _, body = cloud.send(query, variables)
    [error] = body["errors"]
    return str(error["extensions"]["code"])


def negated(times: int) -> dict[str, Any]:
    """A condition behind so many negations."""
    found: dict[str, Any] = {"name": {"_eq": "x"}}
    for _ in range(times):
        found = {"_not": found}
    return found


WHERE = "query($v: flow_run_bool_exp) { flow_run(where: $v) { id } }"
NAMES = "query($v: [String!]) { flow_run(where: { name: { _in: $v } }) { id } }"
ORDER = "query($v: flow_run_order_by) { flow_run(order_by: $v) { id } }"
COUNT = "query($v: [flow_run_select_column!]) { flow_run_aggregate(distinct_on: $v) { aggregate { count } } }"


@pytest.mark.parametrize(
    ("query", "value"),
    [
        (WHERE, {"_or": [{"name": {"_eq": str(n)}} for n in range(2000)]}),
        (WHERE, negated(100)),
        (NAMES, [str(n) for n in range(260_000)]),
        (ORDER, [{"id": "asc"}] * 3000),
        (COUNT, ["id"] * 3000),
    ],
)
def test_more_than_sqlite_takes_is_the_clients_mistake(cloud: Embedded, query: str, value: Any) -> None:
    """Attack: conditions beyond SQLite's limits, each an error in the log. Rule: RESOURCE_EXHAUSTED, not a failure."""
    assert code_of(cloud, query, {"v": value}) == "RESOURCE_EXHAUSTED"
    assert cloud.ask("{ hello }")


def test_a_number_that_cannot_be_stored_is_the_clients_mistake(cloud: Embedded) -> None:
    """Attack: an integer of more than 64 bits. Rule: as above."""
    flow = cloud.flow(cloud.project())
    query = "mutation($i: register_tasks_input!) { register_tasks(input: $i) { success } }"
    task = {"slug": "s", "name": "n", "max_retries": 10**30}

    assert code_of(cloud, query, {"i": {"flow_id": flow, "serialized_tasks": [task]}}) == "BAD_USER_INPUT"


@pytest.mark.parametrize("number", ["1e999", "-1e999", "NaN", "Infinity"])
def test_what_other_clients_cannot_read_is_not_stored(cloud: Embedded, number: str) -> None:
    """Attack: a number that is written as Infinity in every later answer. Rule: JSON as its standard has it."""
    with pytest.raises(ValueError, match="JSON"):
        read_json(f'{{"a": [{number}]}}')
    body = cloud.send(f'mutation {{ set_key_value(input: {{ key: "k", value: "[{number}]" }}) {{ id }} }}')[1]
    stored = cloud.ask("{ key_value { value } }")
    assert body["data"]
    assert json.loads(json.dumps(stored, allow_nan=False)) == {"key_value": [{"value": f"[{number}]"}]}
    if number.endswith("999"):
        literal = f'mutation {{ set_key_value(input: {{ key: "k", value: [{number}] }}) {{ id }} }}'
        assert code_of(cloud, literal) == "GRAPHQL_VALIDATION_FAILED"


def test_a_text_is_not_repeated_a_thousand_times(cloud: Embedded) -> None:
    """Attack: one long text, refused by many aliases: 200 MB of messages. Rule: a message is cut where it is made."""
    query = "mutation($i: create_flow_run_input!) { %s }"
    many = " ".join(f"a{n}: create_flow_run(input: $i) {{ id }}" for n in range(20))
    _, body = cloud.send(query % many, {"i": {"version_group_id": "x" * 100_000}})

    assert [len(error["message"]) for error in body["errors"]] == [MAX_MESSAGE] * 20


def test_names_of_types_count(cloud: Embedded) -> None:
    """Attack: thousands of aliases of __typename for each row. Rule: it is a field like others, in number and size."""
    run = cloud.run(cloud.flow(cloud.project()))
    for _ in range(10):
        cloud.change("write_run_logs", "success", logs=[{"flow_run_id": run, "message": "x"}] * 80)

    def document(count: int) -> str:
        return "{ log { " + " ".join(f"a{n}: __typename" for n in range(count)) + " } }"

    assert code_of(cloud, document(3000)) == "GRAPHQL_VALIDATION_FAILED"
    assert code_of(cloud, document(1900)) == "RESOURCE_EXHAUSTED"
    assert len(cloud.ask(document(3))["log"]) == 800


@pytest.mark.parametrize("kind", ["roots", "fields", "fragments"])
def test_questions_about_the_schema_have_a_bound(cloud: Embedded, kind: str) -> None:
    """Attack: the whole schema, hundreds of times: half a minute. Rule: a bound for fields of the schema."""
    fields = "{ types { fields { name args { name } } } }"
    query = {
        "roots": "{ " + " ".join(f"a{n}: __schema {fields}" for n in range(100)) + " }",
        "fields": "{ __schema { " + " ".join(f"a{n}: types {{ fields {{ name }} }}" for n in range(150)) + " } }",
        "fragments": "{ " + " ".join(f"a{n}: __schema {{ ...f }}" for n in range(100)) + " } "
        "fragment f on __Schema { types { fields { name } } }",
    }[kind]

    assert code_of(cloud, query) == "GRAPHQL_VALIDATION_FAILED"


def test_tools_can_still_draw_the_schema(cloud: Embedded) -> None:
    """No attack: the usual question for the whole schema. Rule: it fits into the bound."""
    from graphql import get_introspection_query  # noqa: PLC0415 - of this test only

    assert cloud.ask(get_introspection_query())["__schema"]["types"]

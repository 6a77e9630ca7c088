"""Order, distinct rows, pages and nested rows of a query (protocol section 12.6), on a real database."""

from typing import Any

import pytest

from prefect.agent.domain.cloud.errors import CloudRefusal
from prefect.agent.entrypoints.server.storage.filters import order_sql
from prefect.agent.entrypoints.server.storage.tables import TABLES
from support.embedded import Embedded


def flows(cloud: Embedded, where: str) -> set[str]:
    """Names of the flows that match."""
    return {row["name"] for row in cloud.ask(f"query {{ flow(where: {where}) {{ name }} }}")["flow"]}


# --- order, distinct, pages ---


def listed(cloud: Embedded, args: str) -> list[str]:
    """Names of flows in the order of the answer."""
    return [row["name"] for row in cloud.ask(f"query {{ flow({args}) {{ name }} }}")["flow"]]


@pytest.mark.parametrize(
    ("order", "found"),
    [
        ("{ name: asc }", ["a1", "a2", "b1", "b_1"]),
        ("{ name: desc }", ["b_1", "b1", "a2", "a1"]),
        ("{ version: asc, name: desc }", ["b_1", "b1", "a2", "a1"]),
        ("[{ version: asc }, { name: desc }]", ["b_1", "b1", "a2", "a1"]),
        ("{ project: { name: desc }, name: asc }", ["a2", "a1", "b1", "b_1"]),
        ("{ description: asc }", ["b1", "a1", "b_1", "a2"]),
        ("{ description: desc }", ["a2", "b_1", "a1", "b1"]),
        ("{ description: asc_nulls_first }", ["a2", "b1", "a1", "b_1"]),
        ("{ description: desc_nulls_last }", ["b_1", "a1", "b1", "a2"]),
        ("{ name: null, version: null, description: asc }", ["b1", "a1", "b_1", "a2"]),
    ],
)
def test_order_by(names: Embedded, order: str, found: list[str]) -> None:
    """Columns and directions, in an object or a list of objects; empty values last, or first when descending."""
    assert listed(names, f"order_by: {order}") == found


def test_the_order_of_keys_matters(names: Embedded) -> None:
    """Sorting by project and name is not sorting by name and project, in literals and in variables."""
    by_project = "{ project: { name: desc }, name: desc }"
    assert listed(names, f"order_by: {by_project}") == ["a2", "b_1", "b1", "a1"]
    assert listed(names, "order_by: { name: desc, project: { name: desc } }") == ["b_1", "b1", "a2", "a1"]

    query = "query($o: flow_order_by) { flow(order_by: $o) { name } }"
    rows = names.ask(query, {"o": {"project": {"name": "desc"}, "name": "desc"}})["flow"]
    assert [row["name"] for row in rows] == ["a2", "b_1", "b1", "a1"]


def test_an_order_through_two_relations(names: Embedded) -> None:
    """A run is sorted by the name of its flow's project."""
    query = "query { flow_run(order_by: { flow: { project: { name: asc } }, name: asc }) { name } }"

    assert [row["name"] for row in names.ask(query)["flow_run"]] == ["r1", "r2", "r3"]


@pytest.mark.parametrize(
    "order", ["x", 3, [3], {"gone": "asc"}, {"name": "up"}, {"tasks": {"name": "asc"}}, {"name": {"x": "asc"}}]
)
def test_an_order_without_sense_is_refused(order: object) -> None:
    """With a sentence; never as SQL."""
    with pytest.raises(CloudRefusal):
        order_sql(TABLES["flow"], order)


def test_distinct_takes_the_first_of_each(names: Embedded) -> None:
    """First row per value, after ordering; then limit and offset (vector T38)."""
    query = "query { flow(order_by: { project_id: asc, name: desc }, distinct_on: project_id) { name } }"
    assert {row["name"] for row in names.ask(query)["flow"]} == {"b_1", "a2"}

    args = "order_by: { version: asc, name: asc }, distinct_on: [version]"
    assert listed(names, args) == ["a1"]
    assert listed(names, "order_by: { name: asc }, distinct_on: [name, version], limit: 2, offset: 1") == ["a2", "b1"]
    assert len(listed(names, "distinct_on: null")) == 4


@pytest.mark.parametrize(
    ("args", "found"),
    [
        ("limit: 2", ["a1", "a2"]),
        ("limit: 2, offset: 3", ["b_1"]),
        ("offset: 3", ["b_1"]),
        ("limit: 0", []),
        ("limit: null, offset: null", ["a1", "a2", "b1", "b_1"]),
    ],
)
def test_pages(names: Embedded, args: str, found: list[str]) -> None:
    """Limit and offset, null being none."""
    assert listed(names, f"order_by: {{ name: asc }}, {args}") == found


# --- trees ---


def test_nested_rows_have_their_own_arguments(names: Embedded) -> None:
    """Filter, order, limit, offset and distinct apply to each row's relatives, not to all of them together."""
    query = """query { project(order_by: { name: asc }) { name
        top: flows(order_by: { name: desc }, limit: 1) { name }
        rest: flows(order_by: { name: desc }, offset: 1) { name project { name } }
        odd: flows(where: { name: { _like: "b%" } }, order_by: { name: asc }) { name }
        one: flows(distinct_on: version, order_by: { name: asc }) { name } } }"""

    rows = names.ask(query)["project"]

    assert rows == [
        {
            "name": "p",
            "top": [{"name": "b_1"}],
            "rest": [{"name": "b1", "project": {"name": "p"}}, {"name": "a1", "project": {"name": "p"}}],
            "odd": [{"name": "b1"}, {"name": "b_1"}],
            "one": [{"name": "a1"}],
        },
        {"name": "q", "top": [{"name": "a2"}], "rest": [], "odd": [], "one": [{"name": "a2"}]},
    ]


def test_history_comes_in_its_order(names: Embedded) -> None:
    """States of a run are listed as they happened, even within one moment."""
    [run] = names.ask('query { flow_run(where: { name: { _eq: "r1" } }) { id } }')["flow_run"]
    for kind in ("Submitted", "Running", "Success"):
        names.set_state(run["id"], kind)

    states = names.row("flow_run", run["id"], "states { version state }")["states"]

    assert [entry["version"] for entry in states] == [1, 2, 3, 4]
    assert states[-1]["state"] == "Success"


def test_counts(names: Embedded) -> None:
    """Of a table and of each row's relatives, filtered and by different values."""
    query = """query {
        flow_aggregate(where: { name: { _like: "a%" } }) { aggregate { count } }
        versions: flow_aggregate(distinct_on: version) { aggregate { count } }
        project(order_by: { name: asc }) {
            flows_aggregate { aggregate { count } }
            some: flows_aggregate(where: { project: { name: { _eq: "p" } }, name: { _neq: "a1" } }) {
                aggregate { count } } } }"""

    data = names.ask(query)

    assert data["flow_aggregate"]["aggregate"]["count"] == 2
    assert data["versions"]["aggregate"]["count"] == 1
    counts = [(p["flows_aggregate"]["aggregate"]["count"], p["some"]["aggregate"]["count"]) for p in data["project"]]
    assert counts == [(3, 2), (1, 0)]


def test_fragments_aliases_and_directives(names: Embedded) -> None:
    """The whole language works at every level."""
    query = """query($no: Boolean!) { flow(where: { name: { _eq: "a1" } }) {
        __typename ...Names label: name description @skip(if: $no)
        tasks(order_by: { slug: asc }) { ... on task { slug } } tasks(order_by: { slug: asc }) { name } } }
        fragment Names on flow { name project { name } project { __typename } }"""

    assert names.ask(query, {"no": True})["flow"] == [
        {
            "__typename": "flow",
            "name": "a1",
            "project": {"name": "p", "__typename": "project"},
            "label": "a1",
            "tasks": [{"slug": "t-0", "name": "t-0"}, {"slug": "t-1", "name": "t-1"}],
        }
    ]


def test_a_row_that_is_not_there_is_null(names: Embedded) -> None:
    """No error: official clients look for null."""
    assert names.row("flow_run", "00000000-0000-4000-8000-000000000099", "id") is None


def test_many_relatives_are_found(cloud: Embedded) -> None:
    """More rows than one statement takes ids."""
    project = cloud.project()
    with cloud.database.write() as tx:
        flow: dict[str, Any] | None = None
        flow_id = cloud_flow(tx, project)
        flow = tx.row("flow", "id = ?", [flow_id])
        assert flow is not None
        rows = [{"flow_id": flow_id, "name": f"r{n}", "state": "Pending"} for n in range(1203)]
        tx.insert_many("flow_run", rows)

    data = cloud.ask("query { flow_run { name flow { name } states { id } } }")["flow_run"]

    assert len({row["name"] for row in data}) == 1203
    assert {row["flow"]["name"] for row in data} == {"many"}


def cloud_flow(tx: Any, project_id: str) -> str:
    """A flow, put straight into the database."""
    return str(tx.insert("flow", {"project_id": project_id, "name": "many", "version": 1}))


def test_secrets_cannot_be_asked_for(cloud: Embedded) -> None:
    """Only their names, and one value by name (protocol section 12.1)."""
    status, body = cloud.send("query { secret { value } }")

    assert status == 400
    assert "Cannot query field 'secret'" in body["errors"][0]["message"]

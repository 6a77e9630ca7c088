"""Hasura's words (protocol section 12.6), executed on a real database."""

from typing import Any

import pytest

from prefect.agent.domain.cloud.errors import CloudRefusal
from prefect.agent.entrypoints.server.storage.filters import order_sql
from prefect.agent.entrypoints.server.storage.tables import TABLES
from support.embedded import Embedded, task_run


@pytest.fixture
def names(cloud: Embedded) -> Embedded:
    """Projects p (flows a1, b1, b_1) and q (flow a2, without description), and runs r1 to r3 of a1."""
    p, q = cloud.project("p"), cloud.project("q")
    a1 = cloud.flow(p, "a1", description="first", tasks=2)
    cloud.flow(p, "b1", description="Second")
    cloud.flow(p, "b_1", description="third")
    cloud.flow(q, "a2")
    for name, when, labels in (("r2", "2020-01-02", ["x"]), ("r1", "2020-01-01", []), ("r3", "2020-01-03", ["x", "y"])):
        cloud.run(a1, flow_run_name=name, scheduled_start_time=f"{when}T00:00:00Z", labels=labels)
    return cloud


def flows(cloud: Embedded, where: str) -> set[str]:
    """Names of the flows that match."""
    return {row["name"] for row in cloud.ask(f"query {{ flow(where: {where}) {{ name }} }}")["flow"]}


ALL = {"a1", "b1", "b_1", "a2"}


@pytest.mark.parametrize(
    ("where", "found"),
    [
        ("{}", ALL),
        ('{ name: { _eq: "a1" } }', {"a1"}),
        ('{ name: { _neq: "a1" } }', ALL - {"a1"}),
        ('{ name: { _lt: "b" } }', {"a1", "a2"}),
        ('{ name: { _gte: "b1" } }', {"b1", "b_1"}),
        ('{ name: { _gt: "a1", _lte: "b1" } }', {"a2", "b1"}),
        ('{ name: { _in: ["a1", "a2", "zz"] } }', {"a1", "a2"}),
        ('{ name: { _in: "a1" } }', {"a1"}),
        ('{ name: { _nin: ["a1", "a2"] } }', {"b1", "b_1"}),
        ("{ name: { _in: [] } }", set()),
        ("{ name: { _nin: [] } }", ALL),
        ("{ description: { _is_null: true } }", {"a2"}),
        ("{ description: { _is_null: false } }", ALL - {"a2"}),
        ('{ name: { _like: "b_1" } }', {"b_1"}),
        ('{ name: { _like: "a%" } }', {"a1", "a2"}),
        ('{ description: { _like: "s%" } }', set()),
        ('{ description: { _ilike: "s%" } }', {"b1"}),
        ('{ description: { _nlike: "S%" } }', {"a1", "b_1"}),
        ('{ description: { _nilike: "s%" } }', {"a1", "b_1"}),
        ('{ description: { _neq: "first" } }', {"b1", "b_1"}),
        ('{ description: { _nin: ["first"] } }', {"b1", "b_1"}),
        ("{ archived: { _eq: false } }", ALL),
        ("{ archived: { _eq: true } }", set()),
        ('{ version: { _eq: 1 }, name: { _eq: "a1" } }', {"a1"}),
    ],
)
def test_operators(names: Embedded, where: str, found: set[str]) -> None:
    """Several operators and columns in one object are joined by AND; rows without a value match no comparison."""
    assert flows(names, where) == found


@pytest.mark.parametrize(
    ("where", "found"),
    [
        ("{ name: { _eq: null } }", ALL),
        ("{ name: null }", ALL),
        ('{ name: { _eq: null, _neq: "a1" } }', ALL - {"a1"}),
        ("{ name: { _in: null } }", ALL),
        ("{ _and: null }", ALL),
        ("{ _or: null }", ALL),
        ("{ project: null }", ALL),
        ("{ project: { name: { _eq: null } } }", ALL),
        ('{ _and: { name: { _eq: null }, version: { _eq: null }, project: { name: { _eq: "q" } } } }', {"a2"}),
        ("null", ALL),
    ],
)
def test_a_comparison_with_null_vanishes(names: Embedded, where: str, found: set[str]) -> None:
    """Official clients leave conditions in with a null value and mean nothing by it (vector T38)."""
    assert flows(names, where) == found


@pytest.mark.parametrize(
    ("where", "found"),
    [
        ("{ _and: [] }", ALL),
        ("{ _or: [] }", set()),
        ("{ _not: {} }", set()),
        ('{ _and: { name: { _eq: "a1" } } }', {"a1"}),
        ('{ _or: { name: { _eq: "a1" } } }', {"a1"}),
        ('{ _or: [{ name: { _eq: "a1" } }, { name: { _eq: "a2" } }] }', {"a1", "a2"}),
        ('{ _and: [{ name: { _lt: "b" } }, { name: { _gt: "a1" } }] }', {"a2"}),
        ('{ _not: { name: { _lt: "b" } } }', {"b1", "b_1"}),
        ('{ _or: [{ _and: [{ name: { _eq: "a1" } }, { name: { _eq: "b1" } }] }, { name: { _eq: "a2" } }] }', {"a2"}),
        ('{ _not: { _or: [{ name: { _eq: "a1" } }, { _not: { name: { _lt: "b" } } }] } }', {"a2"}),
        ('{ _or: [{ name: { _eq: "a1" } }, {}] }', ALL),
        ('{ _or: [{ name: { _eq: "a1" } }, null] }', ALL),
        (
            '{ _or: [{ name: { _in: ["a1", "b1"] }, _not: { name: { _eq: "b1" } } }, { name: { _eq: "a2" } }] }',
            {"a1", "a2"},
        ),
        ('{ _or: [{ name: { _eq: "a1" } }, { name: { _neq: "a1" } }] }', ALL),
        ('{ _or: [{ name: { _eq: "a1" } }, { name: { _in: [] } }] }', {"a1"}),
        ("{ _or: [{ name: { _in: [] } }, { name: { _in: [] } }] }", set()),
        ('{ _or: [{ name: { _eq: "a1", _neq: "a1" } }, { name: { _eq: "a2" } }] }', {"a2"}),
    ],
)
def test_and_or_not(names: Embedded, where: str, found: set[str]) -> None:
    """An object in place of a list is a list of one; nothing in an AND is true, nothing in an OR is false."""
    assert flows(names, where) == found


@pytest.mark.parametrize(
    ("where", "found"),
    [
        ('{ project: { name: { _eq: "p" } } }', {"a1", "b1", "b_1"}),
        ("{ project: {} }", ALL),
        ("{ tasks: {} }", {"a1"}),
        ('{ tasks: { slug: { _eq: "t-1" } } }', {"a1"}),
        ('{ tasks: { slug: { _eq: "gone" } } }', set()),
        ("{ _not: { tasks: {} } }", ALL - {"a1"}),
        ('{ flow_runs: { name: { _eq: "r1" } } }', {"a1"}),
        ('{ project: { flows: { flow_runs: { flow: { name: { _eq: "a1" } } } } } }', {"a1", "b1", "b_1"}),
        ('{ project: { name: { _eq: "p" } }, tasks: { slug: { _eq: "t-0" } }, name: { _eq: "a1" } }', {"a1"}),
    ],
)
def test_relations_in_filters(names: Embedded, where: str, found: set[str]) -> None:
    """A related row exists and matches; of many, at least one."""
    assert flows(names, where) == found


@pytest.mark.parametrize(
    "moment",
    [
        "2020-01-02T00:00:00+00:00",
        "2020-01-02 00:00:00",
        "2020-01-02T00:00:00",
        "2020-01-02T00:00:00.000Z",
        "2020-01-02T02:00:00+02:00",
    ],
)
def test_times_in_filters(names: Embedded, moment: str) -> None:
    """With or without a zone (then UTC), T or space (vector T29)."""
    query = f'query {{ flow_run(where: {{ scheduled_start_time: {{ _lte: "{moment}" }} }}) {{ name }} }}'

    assert {row["name"] for row in names.ask(query)["flow_run"]} == {"r1", "r2"}


def test_labels_can_be_searched(names: Embedded) -> None:
    """_contains asks whether a list or object holds another one, as PostgreSQL's @> does."""
    query = "query($w: flow_run_bool_exp) { flow_run(where: $w) { name } }"

    rows = names.ask(query, {"w": {"labels": {"_contains": ["x"]}}})["flow_run"]

    assert {row["name"] for row in rows} == {"r2", "r3"}


@pytest.mark.parametrize(
    ("labels", "found"),
    [
        ([], {"r1"}),
        (["x"], {"r1", "r2"}),
        (["y", "z", "x"], {"r1", "r2", "r3"}),
        (["z"], {"r1"}),
        (["x" * 2000], {"r1"}),
    ],
)
def test_labels_of_an_agent_can_be_searched(names: Embedded, labels: list[str], found: set[str]) -> None:
    """_contained_in asks whether a list or object is a part of another one, as PostgreSQL's <@ does."""
    query = "query($w: flow_run_bool_exp) { flow_run(where: $w) { name } }"

    rows = names.ask(query, {"w": {"labels": {"_contained_in": labels}}})["flow_run"]

    assert {row["name"] for row in rows} == found


def test_only_json_can_be_a_part_of_something(names: Embedded) -> None:
    """Other columns have no such comparison; what is null is no part of anything."""
    query = "query($w: flow_bool_exp) { flow(where: $w) { name } }"

    assert names.ask(query, {"w": {"schedule": {"_contained_in": []}}}) == {"flow": []}
    status, body = names.send(query, {"w": {"name": {"_contained_in": "a"}}})
    assert (status, "_contained_in" in body["errors"][0]["message"]) == (400, True)


@pytest.fixture
def related(names: Embedded) -> tuple[Embedded, str, str]:
    """A Cloud whose run r1 has an agent, and a Submitted task run; ids of the agent and of the flow run."""
    agent = str(names.change("register_agent", "id", type="LocalAgent", name="a", labels=[])["id"])
    run = next(row["id"] for row in names.ask("{ flow_run { id name } }")["flow_run"] if row["name"] == "r1")
    states = [{"flow_run_id": run, "state": {"type": "Submitted"}}]
    names.change("set_flow_run_states", "states { id }", {"x-prefect-agent-id": agent}, states=states)
    for kind in ("Retrying", "Submitted"):
        states = [{"task_run_id": task_run(names, run, "t-1"), "state": {"type": kind}}]
        names.change("set_task_run_states", "states { id }", states=states)
    return names, agent, run


@pytest.mark.parametrize(
    ("where", "found"),
    [
        ("{ agent: { id: { _eq: AGENT } } }", {"r1"}),
        ('{ agent: { id: { _in: [AGENT, RUN] }, name: { _neq: "a" } } }', set()),
        ("{ _not: { agent: { id: { _eq: AGENT } } } }", {"r2", "r3"}),
        ("{ _not: { agent: { id: { _eq: RUN } } } }", {"r1", "r2", "r3"}),
        ('{ task_runs: { state: { _eq: "Submitted" }, state_timestamp: { _gte: PAST } } }', {"r1"}),
        ('{ task_runs: { state: { _eq: "Submitted" }, state_timestamp: { _gte: FUTURE } } }', set()),
        ('{ _not: { task_runs: { state: { _eq: "Submitted" }, state_timestamp: { _gte: PAST } } } }', {"r2", "r3"}),
        (
            """{ _or: [{ state_timestamp: { _gte: FUTURE } },
              { task_runs: { state: { _eq: "Submitted" }, state_timestamp: { _gte: PAST } } }] }""",
            {"r1"},
        ),
        (
            """{ _or: [{ state: { _eq: "Scheduled" }, state_timestamp: { _gte: PAST } },
              { task_runs: { state: { _in: ["Submitted"] }, state_timestamp: { _lte: PAST } } }] }""",
            {"r2", "r3"},
        ),
        ('{ id: { _eq: RUN }, task_runs: { state: { _eq: "Submitted" }, state_timestamp: { _gte: PAST } } }', {"r1"}),
        ("{ id: { _nin: [RUN] }, state_timestamp: { _gte: PAST } }", {"r2", "r3"}),
        ("{ flow: { project: { id: { _eq: RUN } } } }", set()),
        ("{ task_runs: { task: { flow_id: { _eq: RUN } } } }", set()),
    ],
)
def test_rows_are_the_same_whatever_leads_to_them(
    related: tuple[Embedded, str, str], where: str, found: set[str]
) -> None:
    """Related rows that an index finds lead to their rows, also where a row refers to none; negated, too."""
    cloud, agent, run = related
    for word, value in (("AGENT", agent), ("RUN", run), ("PAST", "2020-01-01"), ("FUTURE", "2999-01-01")):
        where = where.replace(word, f'"{value}"')

    assert {row["name"] for row in cloud.ask(f"{{ flow_run(where: {where}) {{ name }} }}")["flow_run"]} == found


def test_claims_can_be_read_from_the_history(related: tuple[Embedded, str, str]) -> None:
    """The latest Submitted or Scheduled state of each flow run under a name of its own; of task runs by flow run."""
    cloud, _, run = related
    cloud.set_state(run, "Running")
    query = """query($ids: [uuid!]) {
      flow_run(where: { id: { _in: $ids } }) {
        state
        claims: states(
          where: { state: { _in: ["Submitted", "Scheduled"] } }, order_by: { version: desc }, limit: 1
        ) { state version timestamp serialized_state }
      }
      task_run_state(
        where: { state: { _eq: "Submitted" }, task_run: { flow_run_id: { _in: $ids } } }, order_by: { timestamp: desc }
      ) { timestamp serialized_state task_run { flow_run_id } }
    }"""

    found = cloud.ask(query, {"ids": [run]})

    [[claim]] = [row["claims"] for row in found["flow_run"]]
    assert (found["flow_run"][0]["state"], claim["state"], claim["version"]) == ("Running", "Submitted", 2)
    assert claim["serialized_state"]["type"] == "Submitted"
    assert claim["timestamp"]
    assert [row["task_run"]["flow_run_id"] for row in found["task_run_state"]] == [run]


def test_json_columns_are_compared_as_values(names: Embedded) -> None:
    """A list equals the same list."""
    query = "query($w: flow_run_bool_exp) { flow_run(where: $w) { name } }"

    rows = names.ask(query, {"w": {"labels": {"_eq": ["x", "y"]}}})["flow_run"]

    assert [row["name"] for row in rows] == ["r3"]


def test_ids_are_accepted_without_dashes(names: Embedded) -> None:
    """With or without dashes, in upper or lower case; returned dashed and lower case (protocol section 1.7)."""
    [row] = names.ask('query { flow(where: { name: { _eq: "a1" } }) { id } }')["flow"]
    plain = row["id"].replace("-", "").upper()

    assert flows(names, f'{{ id: {{ _eq: "{plain}" }} }}') == {"a1"}
    assert names.row("flow", plain, "id") == row


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

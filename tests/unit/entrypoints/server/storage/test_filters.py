"""Hasura's words (protocol section 12.6), executed on a real database."""

import pytest

from support.embedded import Embedded, task_run


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

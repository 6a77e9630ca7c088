"""Filters, orders and pages in Hasura's words, sent by ``Client.graphql`` (protocol section 12.6)."""

from pathlib import Path
from typing import Any

import pytest

from support.real_prefect import RealPrefect

pytestmark = pytest.mark.real_prefect

HERE = Path(__file__).parent
PROJECTS = {"alpha": "the first", "beta": None, "gamma": "The third 100%", "delta": "a_b"}

WHERE = {
    "nothing asked": ("{}", "alpha beta delta gamma"),
    "_eq": ('{ name: { _eq: "beta" } }', "beta"),
    "_eq null vanishes": ("{ name: { _eq: null } }", "alpha beta delta gamma"),
    "_eq null beside another": ('{ name: { _eq: null, _neq: "beta" } }', "alpha delta gamma"),
    "_eq on a null column": ('{ description: { _eq: "x" } }', ""),
    "_neq skips nulls": ('{ description: { _neq: "a_b" } }', "alpha gamma"),
    "_in": ('{ name: { _in: ["beta", "gamma", "omega"] } }', "beta gamma"),
    "_in nothing": ("{ name: { _in: [] } }", ""),
    "_nin": ('{ name: { _nin: ["beta", "gamma"] } }', "alpha delta"),
    "_nin nothing": ("{ name: { _nin: [] } }", "alpha beta delta gamma"),
    "_lt": ('{ name: { _lt: "beta" } }', "alpha"),
    "_lte": ('{ name: { _lte: "beta" } }', "alpha beta"),
    "_gt": ('{ name: { _gt: "beta" } }', "delta gamma"),
    "_gte": ('{ name: { _gte: "beta" } }', "beta delta gamma"),
    "a range": ('{ name: { _gt: "alpha", _lt: "gamma" } }', "beta delta"),
    "_is_null": ("{ description: { _is_null: true } }", "beta"),
    "_is_null false": ("{ description: { _is_null: false } }", "alpha delta gamma"),
    "_like": ('{ description: { _like: "the%" } }', "alpha"),
    "_like one": ('{ name: { _like: "_eta" } }', "beta"),
    "_nlike": ('{ description: { _nlike: "the%" } }', "delta gamma"),
    "_ilike": ('{ description: { _ilike: "THE%" } }', "alpha gamma"),
    "_nilike": ('{ description: { _nilike: "%THIRD%" } }', "alpha delta"),
    "_ilike escaped": (r'{ description: { _ilike: "a\\_b" } }', "delta"),
    "_and": ('{ _and: [{ name: { _gt: "alpha" } }, { name: { _lt: "gamma" } }] }', "beta delta"),
    "_and of one object": ('{ _and: { name: { _eq: "beta" } } }', "beta"),
    "_and of nothing": ("{ _and: [] }", "alpha beta delta gamma"),
    "_and of empty": ('{ _and: [{ name: { _eq: "beta" } }, {}] }', "beta"),
    "_or": ('{ _or: [{ name: { _eq: "beta" } }, { description: { _eq: "a_b" } }] }', "beta delta"),
    "_or of nothing": ("{ _or: [] }", ""),
    "_not": ('{ _not: { name: { _eq: "beta" } } }', "alpha delta gamma"),
    "_not of _or": ('{ _not: { _or: [{ name: { _eq: "beta" } }, { name: { _eq: "alpha" } }] } }', "delta gamma"),
    "to one": ('{ tenant: { slug: { _eq: "default" } } }', "alpha beta delta gamma"),
    "to one, not": ('{ tenant: { slug: { _neq: "default" } } }', ""),
    "to many, any": ("{ flows: {} }", "alpha"),
    "to many": ('{ flows: { name: { _eq: "retrying" } } }', "alpha"),
    "to many, none": ("{ _not: { flows: {} } }", "beta delta gamma"),
    "deep": ("{ flows: { tasks: { max_retries: { _gt: 1 } } } }", "alpha"),
    "a time with a zone": ('{ created: { _gt: "2020-01-01T02:00:00+02:00" } }', "alpha beta delta gamma"),
    "a time without": ('{ created: { _lt: "2020-01-01T00:00:00" } }', ""),
    "a time with a space": ('{ created: { _gt: "2020-01-01 00:00:00.5" } }', "alpha beta delta gamma"),
}

MORE = {
    "order": ("{ project(order_by: { name: desc }) { name } }", ["gamma", "delta", "beta", "alpha"]),
    "order, nulls last": (
        '{ project(order_by: { description: asc }, where: { name: { _in: ["alpha", "beta"] } }) { name } }',
        ["alpha", "beta"],
    ),
    "order, nulls first": ("{ project(order_by: { description: asc_nulls_first }) { name } }", ["beta"]),
    "order, nulls first of desc": (
        '{ project(order_by: { description: desc }, where: { name: { _in: ["alpha", "beta"] } }) { name } }',
        ["beta", "alpha"],
    ),
    "order by two": (
        "{ project(order_by: [{ tenant_id: asc }, { name: asc }]) { name } }", ["alpha", "beta", "delta", "gamma"],
    ),
    "page": ("{ project(order_by: { name: asc }, limit: 2, offset: 1) { name } }", ["beta", "delta"]),
    "no limit": ("{ project(order_by: { name: asc }, limit: null) { name } }", ["alpha", "beta", "delta", "gamma"]),
    "distinct": ("{ project(order_by: { name: asc }, distinct_on: tenant_id) { name } }", ["alpha"]),
    "distinct by null": (
        "{ project(order_by: { name: asc }, distinct_on: null) { name } }", ["alpha", "beta", "delta", "gamma"],
    ),
}  # fmt: skip

ROOTS = {
    "aggregate": (
        '{ project(where: { name: { _eq: "alpha" } }) { flows_aggregate(distinct_on: name) { aggregate { count } } } }',
        {"project": [{"flows_aggregate": {"aggregate": {"count": 1}}}]},
    ),
    "aggregate with a filter": (
        '{ project_aggregate(where: { name: { _gt: "beta" } }) { aggregate { count } } }',
        {"project_aggregate": {"aggregate": {"count": 2}}},
    ),
    "by a key that is not there": (
        '{ project_by_pk(id: "00000000-0000-4000-8000-000000000000") { name } }', {"project_by_pk": None},
    ),
    "nested rows": (
        ('{ project(where: { name: { _eq: "alpha" } }) { flows(order_by: { version: desc }, limit: 1) '
        '{ name version tasks(where: { name: { _ilike: "THIRD%" } }) { name max_retries flow { name } } } } }'),
        {"project": [{"flows": [{"name": "retrying", "version": 2, "tasks": [
            {"name": "third_time", "max_retries": 2, "flow": {"name": "retrying"}}]}]}]},
    ),
    "booleans": (
        "{ flow(where: { archived: { _eq: false } }) { version archived is_schedule_active } }",
        {"flow": [{"version": 2, "archived": False, "is_schedule_active": False}]},
    ),
    "numbers": ("{ flow(where: { version: { _in: [1] } }) { version } }", {"flow": [{"version": 1}]}),
    "JSON contains": (
        '{ task(where: { tags: { _contains: "[\\"slow\\"]" } }) { name } }', {"task": []},
    ),
    "hello": ("{ hello }", None),
    "api": ("{ api { backend mode core_version } }",
            {"api": {"backend": "SERVER", "mode": "normal", "core_version": "1.4.1"}}),
}  # fmt: skip


@pytest.fixture(scope="module")
def answers(real: RealPrefect) -> dict[str, Any]:
    """Every document sent by one process, by the name of its case."""
    create = "mutation($i: create_project_input!) { create_project(input: $i) { id } }"
    for name, description in PROJECTS.items():
        real.graphql(create, {"i": {"name": name, "description": description}})
    given = {"project": "alpha", "paths": [str(HERE / "flows" / "retrying.py")]}
    for _ in range(2):
        real.program(HERE / "programs" / "register.py", given)
    asked = {name: f"query {{ project(where: {where}) {{ name }} }}" for name, (where, _) in WHERE.items()}
    asked |= {f"more: {name}": f"query {document}" for name, (document, _) in MORE.items()}
    asked |= {f"root: {name}": f"query {document}" for name, (document, _) in ROOTS.items()}
    asked |= {"ids": "query($ids: [uuid!]) { project(where: { id: { _in: $ids } }) { name } }"}
    ids = [row["id"] for row in real.graphql("query { project { id name } }")["project"] if row["name"] > "beta"]
    documents = [(document, {"ids": ids} if name == "ids" else None) for name, document in asked.items()]
    return dict(zip(asked, real.program(HERE / "programs" / "ask.py", documents), strict=True))


@pytest.mark.parametrize("case", WHERE)
def test_filters(answers: dict[str, Any], case: str) -> None:
    """The rows that match, in any order."""
    assert isinstance(answers[case], dict), answers[case]
    assert " ".join(sorted(row["name"] for row in answers[case]["project"])) == WHERE[case][1]


@pytest.mark.parametrize("case", MORE)
def test_orders_and_pages(answers: dict[str, Any], case: str) -> None:
    """The rows in the order that is asked for; nulls where they are asked for."""
    assert isinstance(answers[f"more: {case}"], dict), answers[f"more: {case}"]
    names = [row["name"] for row in answers[f"more: {case}"]["project"]]
    wanted = MORE[case][1]
    assert names[: len(wanted)] == wanted
    assert names == wanted or (case == "order, nulls first" and len(names) == len(PROJECTS))


@pytest.mark.parametrize("case", ROOTS)
def test_other_roots(answers: dict[str, Any], case: str) -> None:
    """Aggregates, single rows, nested rows and the fields that are no tables."""
    assert isinstance(answers[f"root: {case}"], dict), answers[f"root: {case}"]
    wanted = ROOTS[case][1]
    assert answers[f"root: {case}"] == wanted or (wanted is None and answers[f"root: {case}"]["hello"])


def test_variables(answers: dict[str, Any]) -> None:
    """A list of ids in a variable, encoded as JSON twice."""
    assert sorted(row["name"] for row in answers["ids"]["project"]) == ["delta", "gamma"]

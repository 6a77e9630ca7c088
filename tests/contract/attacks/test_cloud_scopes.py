"""Attacks with a key that is meant for flow runs, and with keys that are made through keys."""

from typing import Any

import pytest
from click.testing import CliRunner

from prefect.agent.entrypoints.server.cli.commands import server
from prefect.agent.entrypoints.server.graphql.answers import ApiAnswer
from prefect.agent.entrypoints.server.graphql.execution import Executor
from prefect.agent.entrypoints.server.graphql.resolvers import QUERIES
from prefect.agent.entrypoints.server.mutations import MUTATIONS
from prefect.agent.entrypoints.server.storage import database
from prefect.agent.entrypoints.server.storage.keys import add_key
from prefect.agent.entrypoints.server.storage.scopes import RUNNER_MUTATIONS, RUNNER_QUERIES
from prefect.agent.entrypoints.server.storage.tables import HIDDEN, TABLES
from support.embedded import Embedded

Headers = dict[str, str]


def command(cloud: Embedded, name: str, *words: str) -> str:
    """What ``prefect server NAME`` prints."""
    done = CliRunner().invoke(server, [name, "--database", str(cloud.path), *words])
    assert done.exit_code == 0, done.output
    return done.stdout.strip()


def headers(key: str) -> Headers:
    """Of a request with *key*."""
    return {"authorization": f"Bearer {key}"}


@pytest.fixture
def runner(cloud: Embedded) -> Headers:
    """Headers with a runner's key."""
    return headers(command(cloud, "create-key", "--scope", "runner"))


@pytest.fixture
def admin(cloud: Embedded) -> Headers:
    """Headers with an admin's key."""
    return headers(command(cloud, "create-key"))


def code(answer: ApiAnswer | tuple[int, dict[str, Any]]) -> str | None:
    """The code of the first error; None if there is none."""
    body = answer.body if isinstance(answer, ApiAnswer) else answer[1]
    errors = body.get("errors")
    return errors[0]["extensions"]["code"] if errors else None


def made(cloud: Embedded, with_key: Headers, **given: Any) -> dict[str, str]:
    """A key that was made through another one."""
    found: dict[str, str] = cloud.change("create_api_key", "id key", with_key, name="k", **given)
    return found


def test_no_relation_leads_a_runner_to_what_is_an_admins() -> None:
    """Attack: reach keys or messages through related rows or conditions on them. Rule: no relation leads there."""
    open_ones = {name for name in TABLES if name in RUNNER_QUERIES}
    reached = {relation.table for name in open_ones for relation in TABLES[name].relations.values()}

    assert reached <= open_ones
    assert not open_ones & {"auth_api_key", "api_key_hash", "secret", "cloud_lock", "message", "cloud_hook"}


def test_a_long_chain_of_keys_is_still_a_key(cloud: Embedded) -> None:
    """Attack: keys made through keys, thousands deep. Rule: the clock of the request before does not run on."""
    with cloud.database.write() as tx:
        tenant, maker, key = tx.all("SELECT id FROM tenant")[0]["id"], None, ""
        for _ in range(5000):
            maker, key = add_key(tx, tenant, "k", made_by=maker)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(database, "READ_SECONDS", -1.0)
        patch.setattr(database, "_LOOK_EVERY", 100)
        with cloud.database.read():
            pass

    assert code(cloud.send("{ hello }", None, headers(key))) is None


FORBIDDEN = (
    ("create_api_key", "key", {"name": "mine"}),
    ("set_secret", "success", {"name": "s", "value": 1}),
    ("create_project", "id", {"name": "p"}),
    ("delete_api_key", "success", {"key_id": "00000000-0000-4000-8000-000000000001"}),
    ("delete_flow_run", "success", {"flow_run_id": "00000000-0000-4000-8000-000000000001"}),
    ("createAPIToken", "token", {"name": "mine"}),
    ("deleteAPIToken", "success", {"tokenId": "00000000-0000-4000-8000-000000000001"}),
    ("createProject", "id", {"name": "p"}),
)


@pytest.mark.parametrize(("name", "selection", "given"), FORBIDDEN, ids=[name for name, _, _ in FORBIDDEN])
def test_a_runner_may_not_change_what_lasts(
    cloud: Embedded, runner: Headers, name: str, selection: str, given: dict[str, Any]
) -> None:
    """Attack: a flow takes the key it has and makes keys, secrets, flows. Rule: one table of what a runner may."""
    kind = f"{name}_input" if "_" in name else f"{name}Input"
    planned = f"mutation($i: {kind}!) {{ {name}(input: $i) {{ {selection} }} }}"
    general = f"mutation($i: {kind}!) {{ {name}(input: $i) {{ __typename {selection} }} }}"

    assert [code(cloud.send(text, {"i": given}, runner)) for text in (planned, general)] == ["FORBIDDEN"] * 2


@pytest.mark.parametrize(
    "query", ["secret_names", "auth_api_key { id name }", "auth_api_key_aggregate { aggregate { count } }"]
)
def test_a_runner_does_not_read_what_it_does_not_need(cloud: Embedded, runner: Headers, query: str) -> None:
    """Attack: list all secrets and keys, also under another name. Rule: the same table for questions."""
    assert code(cloud.send(f"{{ {query} }}", None, runner)) == "FORBIDDEN"
    assert code(cloud.send(f"{{ hidden: {query} }}", None, runner)) == "FORBIDDEN"


def test_a_runner_does_what_agents_and_flows_do(cloud: Embedded) -> None:
    """No attack: claim, run, log, read a secret by its name, start another run. Rule: the table has all of it."""
    flow = cloud.flow(cloud.project(), tasks=1)
    cloud.change("set_secret", "success", name="s", value=7)
    key = headers(command(cloud, "create-key", "--scope", "runner"))
    run = cloud.change("create_flow_run", "id", key, flow_id=flow)["id"]
    due = {"before": "2999-01-01T00:00:00Z", "labels": []}

    assert cloud.change("get_runs_in_queue", "flow_run_ids", key, **due)["flow_run_ids"] == [run]
    for kind in ("Submitted", "Running"):
        cloud.change(
            "set_flow_run_states", "states { id }", key, states=[{"flow_run_id": run, "state": {"type": kind}}]
        )
    cloud.change("update_flow_run_heartbeat", "success", key, flow_run_id=run)
    cloud.change("write_run_logs", "success", key, logs=[{"flow_run_id": run, "message": "m"}])
    for query in (
        'secret_value(name: "s")',
        "flow_run { state task_runs { task { slug } } logs { message } }",
        "auth_info { tenant_id }",
    ):
        assert code(cloud.send(f"{{ {query} }}", None, key)) is None


def test_the_table_names_what_there_is() -> None:
    """Attack: a renamed operation falls out of the table, or a new one into it. Rule: the rest is an admin's."""
    shown = {f"{name}{kind}" for name in set(TABLES) - HIDDEN for kind in ("", "_by_pk", "_aggregate")}

    assert set(MUTATIONS) >= RUNNER_MUTATIONS
    assert shown | set(QUERIES) >= RUNNER_QUERIES
    lasting = {
        name
        for name in MUTATIONS
        if any(word in name.lower() for word in ("key", "token", "secret", "tenant", "project"))
    }
    assert lasting & RUNNER_MUTATIONS == {"set_key_value", "delete_key_value"}


def test_a_key_never_outlives_the_one_it_was_made_through(cloud: Embedded) -> None:
    """Attack: make a key that stays when the stolen one expires. Rule: the earlier end counts."""
    until = "2999-01-01T00:00:00.000000+00:00"
    parent = headers(command(cloud, "create-key", "--expires", "2999-01-01"))
    for wanted in ({}, {"expires_at": "3999-01-01T00:00:00Z"}):
        key = made(cloud, parent, **wanted)
        _, body = cloud.send(f'{{ auth_api_key_by_pk(id: "{key["id"]}") {{ expires_at }} }}', None, parent)
        assert body["data"]["auth_api_key_by_pk"]["expires_at"] == until
    sooner = made(cloud, parent, expires_at="2500-01-01T00:00:00Z")
    _, body = cloud.send(f'{{ auth_api_key_by_pk(id: "{sooner["id"]}") {{ expires_at }} }}', None, parent)
    assert body["data"]["auth_api_key_by_pk"]["expires_at"].startswith("2500")


def test_revoking_a_key_revokes_what_was_made_through_it(cloud: Embedded, admin: Headers) -> None:
    """Attack: make keys through keys before the stolen one is revoked. Rule: all of them go with it."""
    first = made(cloud, admin)
    second = made(cloud, headers(first["key"]))
    assert code(cloud.send("{ hello }", None, headers(second["key"]))) is None

    command(cloud, "revoke-key", first["id"])
    for key in (first, second):
        assert code(cloud.send("{ hello }", None, headers(key["key"]))) == "UNAUTHENTICATED"
    assert code(cloud.send("{ hello }", None, admin)) is None


def test_a_key_makes_a_lesser_one_and_no_other(cloud: Embedded, admin: Headers) -> None:
    """Attack: ask for a greater scope, or an unknown one. Rule: never more than the key that makes it."""
    lesser = headers(made(cloud, admin, scope="runner")["key"])

    assert code(cloud.mutate("create_api_key", "key", lesser, name="k", scope="admin")) == "FORBIDDEN"
    assert code(cloud.mutate("create_api_key", "key", admin, name="k", scope="root")) is not None
    old = "mutation($i: createAPITokenInput!) { createAPIToken(input: $i) { token } }"
    _, body = cloud.send(old, {"i": {"name": "k", "role": "RUNNER"}}, admin)
    assert code(cloud.send("{ secret_names }", None, headers(body["data"]["createAPIToken"]["token"]))) == "FORBIDDEN"


def test_a_key_made_through_one_of_the_command_line_ends_with_it(cloud: Embedded) -> None:
    """Attack: the same through --api-key, which no file knows. Rule: accepted as long as the server has that key."""
    given, without = Executor(cloud.database, frozenset({"given"})), Executor(cloud.database, frozenset({"other"}))
    query = 'mutation { create_api_key(input: { name: "k" }) { key } }'
    first = given({"query": query}, headers("given")).body["data"]["create_api_key"]["key"]
    second = given({"query": query}, headers(first)).body["data"]["create_api_key"]["key"]

    for key in (first, second):
        assert code(given({"query": "{ hello }"}, headers(key))) is None
        assert code(without({"query": "{ hello }"}, headers(key))) == "UNAUTHENTICATED"
        assert code(cloud.send("{ hello }", None, headers(key))) == "UNAUTHENTICATED"
    assert code(given({"query": "{ auth_api_key { made_by } }"}, headers("given"))) == "GRAPHQL_VALIDATION_FAILED"


def test_keys_of_before_are_admins(cloud: Embedded) -> None:
    """No attack: an upgrade. Rule: keys that had no scope keep what they could do."""
    key = headers(command(cloud, "create-key"))
    assert "admin" in command(cloud, "list-keys")
    assert code(cloud.send("{ secret_names }", None, key)) is None

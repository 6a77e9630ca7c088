"""Every operation of protocol sections 12.1 and 12.2 is there; those that no other test looks at are tried here."""

from typing import Any

import pytest

from prefect.agent.entrypoints.server.graphql.schema import schema
from prefect.agent.entrypoints.server.mutations import MUTATIONS
from support.embedded import Embedded

CHANGES = (
    "create_tenant", "create_project", "delete_project", "create_flow_from_compressed_string", "create_flow",
    "register_tasks", "register_edges", "set_schedule_active", "create_flow_run", "cancel_flow_run",
    "set_flow_run_name", "set_task_run_name", "set_flow_run_states", "set_task_run_states",
    "get_or_create_task_run_info", "update_flow_run_heartbeat", "write_run_logs", "get_runs_in_queue",
    "register_agent", "create_task_run_artifact", "update_task_run_artifact", "delete_task_run_artifact",
    "set_secret", "update_task_tag_limit", "delete_task_tag_limit", "set_key_value", "delete_key_value",
    "create_api_key", "delete_api_key", "update_flow_concurrency_limit", "delete_flow_concurrency_limit",
    "delete_flow", "archive_flow", "set_schedule_inactive", "set_flow_run_labels", "get_or_create_task_run",
    "update_task_run_heartbeat", "delete_flow_run", "delete_agent", "create_agent_config", "update_agent_config",
    "delete_agent_config",
    "update_flow_project", "enable_flow_heartbeat", "disable_flow_heartbeat", "enable_flow_lazarus_process",
    "disable_flow_lazarus_process", "delete_flow_group", "set_flow_group_description", "set_flow_group_labels",
    "set_flow_group_run_config", "set_flow_group_schedule", "set_flow_group_default_parameters",
    "delete_flow_group_schedule", "update_tenant_name", "update_tenant_slug", "update_tenant_settings",
    "delete_tenant", "set_project_name", "set_project_description",
)  # fmt: skip
OLD = (
    "createProject", "createFlow", "createFlowFromCompressedString", "createFlowRun", "getOrCreateTaskRun",
    "updateFlowRunHeartbeat", "updateTaskRunHeartbeat", "setSecret", "updateTaskTagLimit", "createAPIToken",
    "deleteAPIToken", "writeRunLog", "writeRunLogs", "getRunsInQueue", "setFlowRunStates", "setTaskRunStates",
)  # fmt: skip
TABLES = (
    "tenant", "project", "flow_group", "flow", "task", "edge", "flow_run", "task_run", "flow_run_state",
    "task_run_state", "log", "agent", "agent_config", "task_run_artifact", "cloud_hook", "message", "key_value",
    "task_tag_limit", "flow_concurrency_limit", "auth_api_key",
)  # fmt: skip
RESOLVERS = (
    "hello", "api", "get_task_run_info", "auth_info", "authInfo", "secret_value", "secret_names",
)  # fmt: skip


@pytest.mark.parametrize("name", [*CHANGES, *OLD])
def test_a_mutation_is_served(name: str) -> None:
    """Under its name, with the type of input that clients declare."""
    kind = schema().mutation_type
    assert kind is not None
    argument = kind.fields[name].args["input"].type
    assert str(argument) == (f"{name}_input!" if name in CHANGES else f"{name}Input!")
    assert name in MUTATIONS


@pytest.mark.parametrize("name", RESOLVERS)
def test_a_resolver_is_served(name: str) -> None:
    """Beside the tables."""
    kind = schema().query_type
    assert kind is not None
    assert name in kind.fields


@pytest.mark.parametrize("name", TABLES)
def test_a_table_is_served(cloud: Embedded, name: str) -> None:
    """As a list, by id, and counted."""
    query = f"""query($id: uuid!) {{
        {name}(where: {{ id: {{ _is_null: false }} }}, order_by: {{ created: desc }}, limit: 1, offset: 5) {{ id }}
        {name}_by_pk(id: $id) {{ id created updated }}
        {name}_aggregate(where: {{ id: {{ _eq: $id }} }}) {{ aggregate {{ count }} }}
    }}"""

    data = cloud.ask(query, {"id": "00000000-0000-4000-8000-000000000001"})

    assert data == {name: [], f"{name}_by_pk": None, f"{name}_aggregate": {"aggregate": {"count": 0}}}


@pytest.mark.parametrize("name", ["secret", "api_key_hash"])
def test_what_is_secret_is_not_served(cloud: Embedded, name: str) -> None:
    """Neither as a list nor by id."""
    for query in (f"{{ {name} {{ id }} }}", f'{{ {name}_by_pk(id: "{name}") {{ id }} }}'):
        status, body = cloud.send(query)
        assert (status, body["errors"][0]["extensions"]["code"]) == (400, "GRAPHQL_VALIDATION_FAILED")


def test_secrets_are_reported_by_name(cloud: Embedded) -> None:
    """One at a time; the names can be listed."""
    for name in ("b", "a"):
        cloud.change("set_secret", "success", name=name, value={"of": name})

    data = cloud.ask("query($name: String!) { secret_value(name: $name) secret_names }", {"name": "a"})
    assert data == {"secret_value": {"of": "a"}, "secret_names": ["a", "b"]}

    cloud.change("set_secret", "success", name="a", value=None)
    assert cloud.ask("{ secret_names }") == {"secret_names": ["b"]}
    _, body = cloud.send('{ secret_value(name: "a") }')
    assert "No value found for the requested key" in body["errors"][0]["message"]


def test_auth_info(cloud: Embedded) -> None:
    """What a client of Cloud asks before anything else."""
    tenant = cloud.ask("{ tenant { id } }")["tenant"][0]["id"]

    data = cloud.ask("{ auth_info { tenant_id user_id api_token_scope } }")["auth_info"]

    assert (data["tenant_id"], data["api_token_scope"]) == (tenant, "RUNNER")
    assert data["user_id"]


def test_agent_configs(cloud: Embedded) -> None:
    """Made, changed piece by piece, deleted; the agents stay."""
    settings: dict[str, Any] = {"env": {"A": "1"}}
    config = cloud.change("create_agent_config", "id", name="c", settings=settings)["id"]
    query = f'{{ agent_config(where: {{ id: {{ _eq: "{config}" }} }}) {{ name settings agents {{ name }} }} }}'
    agent = cloud.change("register_agent", "id", type="LocalAgent", name="a", labels=[], agent_config_id=config)["id"]
    assert cloud.ask(query)["agent_config"] == [{"name": "c", "settings": settings, "agents": [{"name": "a"}]}]

    for changes, expected in (
        ({"name": "d"}, ("d", settings)),
        ({"settings": {}}, ("d", {})),
        ({"settings": None}, ("d", {})),
        ({"name": None}, (None, {})),
        ({}, (None, {})),
    ):
        assert cloud.change("update_agent_config", "success", agent_config_id=config, **changes)["success"] is True
        [row] = cloud.ask(query)["agent_config"]
        assert (row["name"], row["settings"]) == expected
    cloud.refused("update_agent_config", "success", agent_config_id=config, settings=[1])
    cloud.refused("create_agent_config", "id", settings="x")

    assert cloud.change("delete_agent_config", "success", agent_config_id=config) == {"success": True}
    assert cloud.change("delete_agent_config", "success", agent_config_id=config) == {"success": False}
    assert cloud.row("agent", agent, "agent_config_id") == {"agent_config_id": None}
    error = cloud.refused("update_agent_config", "success", agent_config_id=config, name="x")
    assert "not found" in error["message"]

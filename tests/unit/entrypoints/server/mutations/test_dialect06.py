"""What clients and agents 0.6 to 0.9 say (protocol section 12.1, vectors T43 to T46)."""

import base64
import gzip
import json
from typing import Any

import pytest
import requests

from prefect.agent.entrypoints.server.http.app import GRAPHQL_PATHS
from prefect.agent.entrypoints.server.mutations import MUTATIONS
from prefect.agent.entrypoints.server.mutations.dialect06 import SAME, camel
from prefect.agent.entrypoints.server.testing import running_server
from support.embedded import LATER, Embedded, task_run


def old(cloud: Embedded, name: str, selection: str, /, **given: Any) -> Any:
    """The answer of an old mutation, in the old words for its input type."""
    document = f"mutation($input: {name}Input!) {{ {name}(input: $input) {{ {selection} }} }}"
    return cloud.ask(document, json.dumps({"input": given}))[name]


@pytest.fixture
def run(cloud: Embedded) -> str:
    """A run of a flow with two tasks."""
    return cloud.run(cloud.flow(cloud.project(), tasks=2))


@pytest.mark.parametrize(
    ("name", "expected"),
    [("flow_run_id", "flowRunId"), ("hello", "hello"), ("get_runs_in_queue", "getRunsInQueue")],
)
def test_spelling(name: str, expected: str) -> None:
    """Today's names in old letters."""
    assert camel(name) == expected


@pytest.mark.parametrize("path", GRAPHQL_PATHS)
def test_t43_the_scope_of_a_token(tmp_path: Any, path: str) -> None:
    """An old agent starts only if it is a runner; it asks at a path of its own, with whatever token it has."""
    with running_server(tmp_path / "cloud.db") as url, requests.Session() as http:
        http.trust_env = False
        body = {"query": "query { authInfo { apiTokenScope } }", "variables": "null"}
        answer = http.post(url + path, json=body, headers={"Authorization": "Bearer TOKEN"}, timeout=60)

    assert answer.json() == {"data": {"authInfo": {"apiTokenScope": "RUNNER"}}}


def test_auth_info_in_both_spellings(cloud: Embedded) -> None:
    """The same facts."""
    data = cloud.ask("{ authInfo { tenantId userId } auth_info { tenant_id user_id } }")

    assert data["authInfo"]["tenantId"] == data["auth_info"]["tenant_id"]
    assert data["authInfo"]["userId"] == data["auth_info"]["user_id"]


def test_t44_t45_an_old_agent_polls(cloud: Embedded, run: str) -> None:
    """Without labels; the details come in words that never changed."""
    tenant = cloud.ask("{ tenant { id } }")["tenant"][0]["id"]

    assert old(cloud, "getRunsInQueue", "flow_run_ids", tenantId=tenant, before=LATER) == {"flow_run_ids": [run]}

    query = """query { flow_run(where: { id: { _in: [%s] }, _or: [{ state: { _eq: "Scheduled" } },
        { state: { _eq: "Running" }, task_runs: { state_start_time: { _lte: "2022-05-04T07:05:26.280439+00:00" } } }] })
        { id version tenant_id state serialized_state parameters flow { environment id storage name }
          task_runs(where: { state_start_time: { _lte: "2022-05-04T07:05:26.280439+00:00" } })
          { version task_id id serialized_state } } }"""
    [row] = cloud.ask(query % f'"{run}"')["flow_run"]
    assert (row["id"], row["version"], row["tenant_id"]) == (run, 1, tenant)
    assert cloud.ask(query % "") == {"flow_run": []}


def test_t46_an_old_agent_claims(cloud: Embedded, run: str) -> None:
    """Old keys around a state whose own keys are today's."""
    state = {
        "context": {},
        "state": {"start_time": "2022-05-04T07:05:20.803234+00:00", "cached_inputs": None, "type": "Scheduled"},
        "message": "Submitted for execution",
        "__version__": "0.6.7",
        "type": "Submitted",
    }
    entries = [{"flowRunId": run, "version": 1, "state": state}]

    assert old(cloud, "setFlowRunStates", "states { id }", states=entries) == {"states": [{"id": run}]}
    row = cloud.row("flow_run", run, "state version serialized_state")
    assert row == {"state": "Submitted", "version": 2, "serialized_state": state}


def test_a_claim_is_lost_in_old_words_too(cloud: Embedded, run: str) -> None:
    """The rules are the same functions."""
    cloud.set_state(run, "Submitted")
    document = "mutation($input: setFlowRunStatesInput!) { setFlowRunStates(input: $input) { states { id } } }"
    entries = [{"flowRunId": run, "version": 1, "state": {"type": "Submitted"}}]

    status, body = cloud.send(document, {"input": {"states": entries}})

    assert (status, body["data"]) == (200, {"setFlowRunStates": None})
    assert "State update failed" in body["errors"][0]["message"]


def test_an_old_client_registers_and_runs(cloud: Embedded) -> None:
    """From a project to a flow run."""
    project = old(cloud, "createProject", "id", name="demo", description=None)["id"]
    flow = {"name": "f", "tasks": [], "edges": [], "environment": {"type": "LocalEnvironment"}, "__version__": "0.6.7"}
    packed = base64.b64encode(gzip.compress(json.dumps(flow).encode())).decode()
    first = old(
        cloud,
        "createFlowFromCompressedString",
        "id",
        projectId=project,
        serializedFlow=packed,
        setScheduleActive=True,
    )["id"]
    second = old(cloud, "createFlow", "id", projectId=project, serializedFlow=flow, setScheduleActive=False)["id"]
    assert first != second

    given = {
        "flowId": second,
        "parameters": {"some_thing": {"flow_run_id": 1}},
        "context": {"k": 1},
        "idempotencyKey": "i",
        "scheduledStartTime": "2020-01-01T00:00:00+00:00",
    }
    made = old(cloud, "createFlowRun", "flow_run { id state }", **given)["flow_run"]
    assert made["state"] == "Scheduled"
    assert old(cloud, "createFlowRun", "flow_run { id }", **given)["flow_run"]["id"] == made["id"]
    row = cloud.row("flow_run", made["id"], "flow_id parameters context scheduled_start_time")
    assert row == {
        "flow_id": second,
        "parameters": {"some_thing": {"flow_run_id": 1}},
        "context": {"k": 1},
        "scheduled_start_time": "2020-01-01T00:00:00.000000+00:00",
    }


def test_an_old_flow_process_reports(cloud: Embedded, run: str) -> None:
    """Arguments in the text, one log at a time, a heartbeat for each task run."""
    cloud.set_state(run, "Running")
    known = task_run(cloud, run)
    task = cloud.row("task_run", known, "task_id")["task_id"]
    query = """mutation { getOrCreateTaskRun(input: { flowRunId: "%s", taskId: "%s", mapIndex: %d })
        { task_run { id version serialized_state task { slug } } } }"""
    found = cloud.ask(query % (run, task, -1))["getOrCreateTaskRun"]["task_run"]
    assert found == {
        "id": known,
        "version": 1,
        "serialized_state": {"type": "Pending", "message": "Task run created"},
        "task": {"slug": "t-0"},
    }
    child = cloud.ask(query % (run, task, 3))["getOrCreateTaskRun"]["task_run"]["id"]
    assert cloud.row("task_run", child, "map_index") == {"map_index": 3}

    entries = [{"taskRunId": known, "version": 1, "state": {"type": "Running", "cached_inputs": {"a_b": 1}}}]
    answer = old(cloud, "setTaskRunStates", "states { id status message }", states=entries)
    assert answer == {"states": [{"id": known, "status": "SUCCESS", "message": None}]}
    assert cloud.row("task_run", known, "serialized_state")["serialized_state"]["cached_inputs"] == {"a_b": 1}

    beat = cloud.ask(f'mutation {{ updateTaskRunHeartbeat(input: {{ taskRunId: "{known}" }}) {{ success }} }}')
    assert beat["updateTaskRunHeartbeat"] == {"success": True}
    assert old(cloud, "updateFlowRunHeartbeat", "success", flowRunId=run) == {"success": True}

    log = {"flowRunId": run, "taskRunId": known, "timestamp": "2022-05-04T07:05:20+00:00", "name": "n", "level": "INFO"}
    assert old(cloud, "writeRunLog", "success", **log, message="one", info={"a_b": 1}) == {"success": True}
    assert old(cloud, "writeRunLogs", "success", logs=[{**log, "message": "two"}]) == {"success": True}
    rows = cloud.ask("{ log(order_by: { created: asc }) { message task_run_id info flow_run { id } } }")["log"]
    assert rows == [
        {"message": "one", "task_run_id": known, "info": {"a_b": 1}, "flow_run": {"id": run}},
        {"message": "two", "task_run_id": known, "info": None, "flow_run": {"id": run}},
    ]


def test_what_an_old_client_keeps(cloud: Embedded) -> None:
    """Secrets, limits, tokens."""
    assert old(cloud, "setSecret", "success", name="s", value={"a_b": 1}) == {"success": True}
    assert cloud.ask('{ secret_value(name: "s") }') == {"secret_value": {"a_b": 1}}
    assert old(cloud, "updateTaskTagLimit", "id", tag="t", limit=2)["id"]
    assert cloud.ask("{ task_tag_limit { tag limit } }") == {"task_tag_limit": [{"tag": "t", "limit": 2}]}

    made = old(cloud, "createAPIToken", "id token", name="agent", role="TENANT_ADMIN")
    assert cloud.execute({"query": "{ hello }"}, {}).body["errors"][0]["extensions"]["code"] == "UNAUTHENTICATED"
    headers = {"authorization": f"Bearer {made['token']}"}
    token_id = made["id"]
    text = f'mutation {{ deleteAPIToken(input: {{ tokenId: "{token_id}" }}) {{ success }} }}'
    assert cloud.send(text, None, headers)[1] == {"data": {"deleteAPIToken": {"success": True}}}
    assert cloud.send("{ hello }", None, headers)[1]["errors"][0]["extensions"]["code"] == "UNAUTHENTICATED"


@pytest.mark.parametrize("name", SAME)
def test_every_old_mutation_takes_what_todays_takes(cloud: Embedded, name: str) -> None:
    """Field for field, in the schema that is served."""

    def fields(type_name: str) -> list[tuple[str, str]]:
        query = """query($n: String!) { __type(name: $n) { inputFields { name type { kind } } } }"""
        found = cloud.ask(query, {"n": type_name})["__type"]["inputFields"]
        return [(field["name"], field["type"]["kind"]) for field in found]

    today = fields(MUTATIONS[name].input_type)
    assert fields(f"{camel(name)}Input") == [(camel(field), kind) for field, kind in today]
    assert today


def test_words_of_two_eras_do_not_mix(cloud: Embedded, run: str) -> None:
    """An old mutation with a new key is a mistake, and said so."""
    status, body = cloud.send(f'mutation {{ updateFlowRunHeartbeat(input: {{ flow_run_id: "{run}" }}) {{ success }} }}')

    assert (status, body["errors"][0]["extensions"]["code"]) == (400, "GRAPHQL_VALIDATION_FAILED")

"""What official clients send, and what they accept as an answer: vectors of protocol section 15."""

from collections.abc import Mapping
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest

from prefect.agent.domain.cloud.logs import LEVELS
from prefect.agent.domain.times import iso, read_time
from support.embedded import Embedded, task_run

GONE = "00000000-0000-4000-8000-000000000099"
"""The id of no run."""

NO_RESULT = {"__version__": "1.4.1", "type": "NoResultType"}


def claim(version: int | None, waiting: Mapping[str, Any]) -> dict[str, Any]:
    """The Submitted state of vector T08, around the state that the run waits in."""
    common = {"cached_inputs": {}, "_result": NO_RESULT, "context": {}, "__version__": "1.4.1"}
    state = {"message": "Submitted for execution", "state": dict(waiting), "type": "Submitted", **common}
    return {"state": state, "version": version}


@pytest.fixture
def flow(cloud: Embedded) -> str:
    """A flow with two tasks."""
    return cloud.flow(cloud.project(), tasks=2)


@pytest.fixture
def run(cloud: Embedded, flow: str) -> str:
    """A run of it, due now."""
    return cloud.run(flow)


def test_t01_t02_t03_who_is_there(cloud: Embedded) -> None:
    """Default tenant, the tenant of a key, and a sign of life."""
    tenant = cloud.ask("query { tenant { id } }")["tenant"][0]["id"]

    assert cloud.ask("query { auth_info { tenant_id } }")["auth_info"]["tenant_id"] == tenant
    assert cloud.ask("query { hello }")["hello"]
    assert cloud.ask("query { api { backend mode } }")["api"] == {"backend": "SERVER", "mode": "normal"}


def test_t04_an_agent_is_registered_once(cloud: Embedded) -> None:
    """The same agent gets the same id; another name, type, label or version is another agent."""
    one = {"type": "LocalAgent", "name": "myagent", "labels": ["a", "extra"], "agent_config_id": None}

    def register(version: str = "1.4.1", **changes: Any) -> str:
        headers = {"x-prefect-core-version": version}
        return str(cloud.change("register_agent", "id", headers, **{**one, **changes})["id"])

    first = register()
    assert register() == register(labels=["extra", "a"]) == first
    assert len({first, register(name="b"), register(type="DockerAgent"), register(labels=[]), register("0.15")}) == 5


def test_t05_t06_the_queue(cloud: Embedded, flow: str) -> None:
    """Due runs, oldest first; nothing that is claimed, finished or later than ``before``."""
    second = cloud.run(flow, scheduled_start_time="2022-05-04T06:48:31+00:00")
    first = cloud.run(flow, scheduled_start_time="2022-05-04T06:48:30+00:00")
    late = cloud.run(flow, scheduled_start_time="2022-05-04T07:00:00+00:00")
    cloud.set_state(cloud.run(flow, scheduled_start_time="2022-05-04T06:48:29+00:00"), "Submitted")

    assert cloud.queue(before="2022-05-04T06:49:03.176728+00:00") == [first, second]
    assert cloud.queue(before="2022-05-04T06:48:00") == []
    assert cloud.queue() == [first, second, late]


def test_t06_labels_come_before_the_limit(cloud: Embedded, flow: str) -> None:
    """Runs for other agents do not fill the answer (protocol section 3.2)."""
    for _ in range(30):
        cloud.run(flow, labels=["other"])
    mine = cloud.run(flow, labels=["a", "extra"])

    assert cloud.queue("a", "extra", "host1") == [mine]
    assert cloud.queue("a") == []
    assert len(cloud.queue("other")) == 25
    assert cloud.queue() == []


def test_t06_asking_is_noted(cloud: Embedded) -> None:
    """The agent's last query is known by its header."""
    agent = cloud.change("register_agent", "id", type="LocalAgent", name="n")["id"]
    before = cloud.row("agent", agent, "last_queried")["last_queried"]

    cloud.change("get_runs_in_queue", "flow_run_ids", {"x-prefect-agent-id": agent}, before=None, labels=None)

    assert cloud.row("agent", agent, "last_queried")["last_queried"] > before


def test_t07_metadata_of_ready_runs(cloud: Embedded, flow: str, run: str) -> None:
    """The query of 1.4.1, as it stands, finds everything that starting a run needs."""
    now = iso(datetime.now(timezone.utc))
    query = f"""query {{ flow_run(where: {{ id: {{ _in: ["{run}"] }}, _or: [{{ state: {{ _eq: "Scheduled" }} }},
        {{ state: {{ _eq: "Running" }}, task_runs: {{ state_start_time: {{ _lte: "{now}" }} }} }}] }})
        {{ id version state serialized_state parameters scheduled_start_time run_config name
        flow {{ core_version environment name id storage version }}
        task_runs(where: {{ state_start_time: {{ _lte: "{now}" }} }}) {{ task_id version serialized_state id }} }} }}"""

    [row] = cloud.ask(query)["flow_run"]

    assert (row["id"], row["version"], row["state"], row["task_runs"]) == (run, 1, "Scheduled", [])
    assert row["serialized_state"]["message"] == "Flow run scheduled."
    assert read_time(row["serialized_state"]["start_time"]) == read_time(row["scheduled_start_time"])
    assert row["flow"] == {
        "core_version": "1.4.1",
        "environment": None,
        "name": "flow",
        "id": flow,
        "storage": {"type": "Local"},
        "version": 1,
    }


def test_t08_t09_a_claim_is_won_once(cloud: Embedded, run: str) -> None:
    """The second claim is refused in the words that official agents look for, and changes nothing."""
    waiting = cloud.row("flow_run", run, "serialized_state")["serialized_state"]
    entry = {"flow_run_id": run, **claim(1, waiting)}

    [answer] = cloud.change("set_flow_run_states", "states { id status message }", states=[entry])["states"]
    assert answer == {"id": run, "status": "SUCCESS", "message": None}

    error = cloud.refused("set_flow_run_states", "states { id }", states=[entry])
    assert "State update failed" in error["message"]
    row = cloud.row("flow_run", run, "version state serialized_state states { version }")
    assert (row["version"], row["state"], len(row["states"])) == (2, "Submitted", 2)
    assert row["serialized_state"]["state"] == waiting


def test_t08_a_claim_remembers_the_agent(cloud: Embedded, run: str) -> None:
    """By its header; an agent that was never registered is not invented."""
    agent = cloud.change("register_agent", "id", type="LocalAgent")["id"]
    other = cloud.run(cloud.row("flow_run", run, "flow_id")["flow_id"])
    for run_id, header in ((run, agent), (other, "33333333-3333-4333-8333-333333333333")):
        states = [{"flow_run_id": run_id, **claim(1, {"type": "Scheduled"})}]
        cloud.change("set_flow_run_states", "states { id }", {"x-prefect-agent-id": header}, states=states)

    assert cloud.row("flow_run", run, "agent { id }") == {"agent": {"id": agent}}
    assert cloud.row("flow_run", other, "agent_id agent { id }") == {"agent_id": None, "agent": None}


def test_t09_a_claim_at_an_old_version_is_refused(cloud: Embedded, run: str) -> None:
    """A compare-and-set: the run moved on since it was read."""
    cloud.set_state(run, "Scheduled", start_time="2022-05-04T06:48:30+00:00")

    assert "State update failed" in cloud.refused_state(run, "Submitted", version=1)["message"]
    assert cloud.set_state(run, "Submitted", version=2)["status"] == "SUCCESS"


def test_t10_t20_version_locking(cloud: Embedded, flow: str, run: str) -> None:
    """Only where it is switched on, only for Running, with the code that ends a second process silently."""
    cloud.set_state(run, "Submitted")
    cloud.set_state(run, "Running", version=77)
    group = cloud.row("flow", flow, "flow_group { id settings }")["flow_group"]
    with cloud.database.write() as tx:
        tx.update("flow_group", group["id"], {"settings": {**group["settings"], "version_locking_enabled": True}})

    error = cloud.refused_state(run, "Running", version=1)

    assert error["extensions"]["code"] == "VERSION_LOCKING_ERROR"
    assert cloud.set_state(run, "Running", version=3)["status"] == "SUCCESS"
    assert cloud.set_state(run, "Failed", version=1)["status"] == "SUCCESS"


@pytest.mark.parametrize("logs", [[{}], {}], ids=["list", "object"])
def test_t11_t12_t30_logs(cloud: Embedded, run: str, logs: object) -> None:
    """A list, or one object in its place."""
    entry = {"flow_run_id": run, "name": "myagent", "message": "Submitted for execution: PID: 4242", "level": "INFO"}
    given = [entry] if isinstance(logs, list) else entry

    assert cloud.change("write_run_logs", "success", logs=given) == {"success": True}

    [line] = cloud.row("flow_run", run, "logs { name message level timestamp }")["logs"]
    assert (line["name"], line["level"]) == ("myagent", "INFO")
    assert read_time(line["timestamp"]) <= datetime.now(timezone.utc)


@pytest.mark.parametrize("kind", ["flow run", "task run"])
def test_a_log_line_of_an_unknown_run_fails_the_batch(cloud: Embedded, run: str, kind: str) -> None:
    """The database has a foreign key: one deleted run, and no line of the batch is written."""
    wrong = {"flow_run_id": GONE} if kind == "flow run" else {"flow_run_id": run, "task_run_id": GONE}
    lines = [{"flow_run_id": run, "message": "m"}, {**wrong, "message": "m"}]

    error = cloud.refused("write_run_logs", "success", logs=lines)

    assert f"{kind} {GONE}" in error["message"]
    assert cloud.ask("query { log { message } }")["log"] == []


@pytest.mark.parametrize("bad", [{"message": "a\0b"}, {"name": "\0"}, {"info": {"a": [{"b\0": 1}]}}])
def test_a_log_line_with_a_nul_character_fails_the_batch(cloud: Embedded, run: str, bad: dict[str, Any]) -> None:
    """Wherever it stands."""
    lines = [{"flow_run_id": run, "message": "m"}, {"flow_run_id": run, **bad}]

    assert "NUL" in cloud.refused("write_run_logs", "success", logs=lines)["message"]
    assert cloud.ask("query { log { message } }")["log"] == []


def test_an_unknown_level_makes_the_request_invalid(cloud: Embedded, run: str) -> None:
    """Levels are an enum: the request fails as a whole, with status 400 and no path, as a literal too."""
    line = {"flow_run_id": run, "message": "m", "level": "TRACE"}
    text = f'mutation {{ write_run_logs(input: {{ logs: [{{ flow_run_id: "{run}", level: TRACE }}] }}) {{ success }} }}'

    for status, body in (cloud.mutate("write_run_logs", "success", logs=[line]), cloud.send(text)):
        assert status == 400
        assert "TRACE" in body["errors"][0]["message"]
        assert "path" not in body["errors"][0]
        assert body["errors"][0]["extensions"]["code"] in {"BAD_USER_INPUT", "GRAPHQL_VALIDATION_FAILED"}
    for level in (*LEVELS, None):
        cloud.change("write_run_logs", "success", logs=[{**line, "level": level}])
    assert {row["level"] for row in cloud.ask("query { log { level } }")["log"]} == set(LEVELS)


def test_t13_a_stale_failed_is_accepted(cloud: Embedded, run: str) -> None:
    """The agent reports a failed deployment with the version from before its own claim (protocol section 4.3)."""
    cloud.set_state(run, "Submitted", version=1)

    assert cloud.set_state(run, "Failed", version=1)["status"] == "SUCCESS"
    assert cloud.state(run) == "Failed"


def set_task(cloud: Embedded, task_run_id: str, kind: str, version: int | None = None, **payload: Any) -> Any:
    """Update a task run; it must succeed."""
    entry = {"task_run_id": task_run_id, "version": version, "state": {"type": kind, **payload}}
    return cloud.change("set_task_run_states", "states { id status message }", states=[entry])["states"]


def test_t14_t15_a_running_run_with_a_due_retry(cloud: Embedded, run: str) -> None:
    """It is given out for its task run's sake; the task run is claimed once, the flow run stays Running."""
    cloud.set_state(run, "Submitted")
    cloud.set_state(run, "Running")
    assert cloud.queue() == []
    task = task_run(cloud, run)
    set_task(cloud, task, "Running")
    set_task(cloud, task, "Retrying", start_time="2022-05-04T07:03:32.042985+00:00", run_count=1)
    assert cloud.queue() == [run]

    version = cloud.row("task_run", task, "version")["version"]
    [answer] = set_task(cloud, task, "Submitted", version, state={"type": "Retrying"})
    assert (answer["id"], answer["status"]) == (task, "SUCCESS")

    assert cloud.queue() == []
    assert cloud.state(run) == "Running"
    entry = {"task_run_id": task, "version": version, "state": {"type": "Submitted"}}
    assert "State update failed" in cloud.refused("set_task_run_states", "states { id }", states=[entry])["message"]


def test_t16_t17_the_flow_process_loads_its_run(cloud: Embedded, flow: str, run: str) -> None:
    """What to load, parameters, task runs and project, in the queries of 1.4.1."""
    query = (
        f'query {{ flow_run(where: {{ id: {{ _eq: "{run}" }} }}) {{ flow {{ name storage run_config }} version }} }}'
    )
    [row] = cloud.ask(query)["flow_run"]
    assert (row["flow"]["name"], row["version"]) == ("flow", 1)

    row = cloud.row(
        "flow_run",
        run,
        """id name flow_id parameters context version scheduled_start_time serialized_state
        task_runs(where: { map_index: { _eq: -1 } }) { id task { id slug } version serialized_state }
        flow { project { name id } }""",
    )
    assert (row["flow_id"], row["parameters"], row["context"]) == (flow, {}, {})
    assert row["flow"]["project"]["name"] == "demo"
    assert {t["task"]["slug"] for t in row["task_runs"]} == {"t-0", "t-1"}
    assert {t["serialized_state"]["type"] for t in row["task_runs"]} == {"Pending"}


def test_t18_running_and_success(cloud: Embedded, run: str) -> None:
    """Start and end times follow the states."""
    cloud.set_state(run, "Submitted", version=1)
    cloud.set_state(run, "Running", version=2)
    cloud.set_state(run, "Success", version=None)

    row = cloud.row("flow_run", run, "version start_time end_time state_message heartbeat")
    assert row["version"] == 4
    assert row["start_time"] <= row["end_time"]
    assert row["heartbeat"] == row["start_time"]
    assert row["state_message"] == "Success."


def test_t21_t22_heartbeats(cloud: Embedded, run: str) -> None:
    """As literals in the document; the setting is an object."""
    query = f'mutation {{ update_flow_run_heartbeat(input: {{ flow_run_id: "{run}" }}) {{ success }} }}'
    assert cloud.ask(query) == {"update_flow_run_heartbeat": {"success": True}}
    assert cloud.row("flow_run", run, "heartbeat")["heartbeat"]
    assert isinstance(cloud.row("flow_run", run, "flow { settings }")["flow"]["settings"], dict)


def test_t23_task_runs_are_found_or_made(cloud: Embedded, run: str) -> None:
    """The static one is the one there is; a mapped child is made on first sight, at its true version."""
    row = cloud.row("flow_run", run, 'task_runs(where: { task: { slug: { _eq: "t-0" } } }) { id task_id version }')
    [static] = row["task_runs"]

    def info(index: int | None) -> Any:
        index_text = "" if index is None else f", map_index: {index}"
        query = f"""mutation {{ get_or_create_task_run_info(input: {{ flow_run_id: "{run}",
            task_id: "{static["task_id"]}"{index_text} }}) {{ id version serialized_state }} }}"""
        return cloud.ask(query)["get_or_create_task_run_info"]

    assert info(-1) == info(None)
    assert (info(-1)["id"], info(-1)["version"]) == (static["id"], static["version"])
    child = info(3)
    assert child["id"] != static["id"]
    assert info(3) == child
    assert child["version"] == cloud.row("task_run", child["id"], "version")["version"]
    assert child["serialized_state"]["type"] == "Pending"


def test_t24_a_task_needs_a_running_flow_run(cloud: Embedded, run: str) -> None:
    """Refused until the flow run is Running; then it starts."""
    task = task_run(cloud, run)
    entry = {"task_run_id": task, "version": 0, "state": {"type": "Running"}}

    assert "State update failed" in cloud.refused("set_task_run_states", "states { id }", states=[entry])["message"]

    cloud.set_state(run, "Running")
    assert set_task(cloud, task, "Running")[0]["status"] == "SUCCESS"


@pytest.mark.parametrize(
    ("kind", "payload"),
    [
        ("Success", {"_result": {"location": "1", "type": "PrefectResult"}}),
        ("Retrying", {"start_time": "2022-05-04T06:52:27.837757+00:00", "run_count": 1}),
        ("Mapped", {"n_map_states": 2}),
        ("Cached", {"hashed_inputs": {}, "cached_result_expiration": "2022-05-04T07:52:29.498778+00:00"}),
        ("Skipped", {}),
        ("TriggerFailed", {}),
    ],
)
def test_t25_to_t28_states_of_tasks(cloud: Embedded, run: str, kind: str, payload: dict[str, Any]) -> None:
    """Payloads come back as they were sent."""
    cloud.set_state(run, "Running")
    task = task_run(cloud, run)
    sent = {"message": "m", "context": {"tags": []}, **payload}

    set_task(cloud, task, kind, **sent)

    row = cloud.row("task_run", task, "state serialized_state state_result state_start_time")
    assert row["state"] == kind
    assert {"type": kind, **sent}.items() <= row["serialized_state"].items()
    assert row["state_result"] == payload.get("_result")
    assert row["state_start_time"] == payload.get("start_time")


def test_t29_the_cache_is_searched_by_time(cloud: Embedded, run: str) -> None:
    """A time without a zone is UTC: what was cached just now is found, what is older than asked for is not."""
    cloud.set_state(run, "Running")
    task = task_run(cloud, run)
    set_task(cloud, task, "Cached", message="kept")
    task_id = cloud.row("task_run", task, "task_id")["task_id"]

    def cached_since(moment: datetime) -> list[Any]:
        text = moment.replace(tzinfo=None).isoformat()
        query = f"""query {{ task_run(where: {{ state: {{ _eq: "Cached" }}, state_timestamp: {{ _gte: "{text}" }},
            task_id: {{ _eq: "{task_id}" }} }}, order_by: {{ state_timestamp: desc }}, limit: 100)
            {{ serialized_state }} }}"""
        found: list[Any] = cloud.ask(query)["task_run"]
        return found

    now = datetime.now(timezone.utc)
    assert [row["serialized_state"]["message"] for row in cached_since(now - timedelta(hours=1))] == ["kept"]
    assert cached_since(now + timedelta(hours=1)) == []


@pytest.mark.parametrize(
    ("before", "after"),
    [("Scheduled", "Cancelled"), ("Submitted", "Cancelled"), ("Running", "Cancelling"), ("Success", "Success")],
)
def test_t31_cancelling(cloud: Embedded, run: str, before: str, after: str) -> None:
    """Cancelling where a process may execute, Cancelled where none does; a finished run stays as it is."""
    if before != "Scheduled":
        cloud.set_state(run, before)

    answer = cloud.change("cancel_flow_run", "state", flow_run_id=run)

    assert answer == {"state": after}
    said = {"Cancelling": "Flow run is cancelling", "Cancelled": "Flow run is cancelled", "Success": "Success."}
    assert cloud.row("flow_run", run, "state state_message") == {"state": after, "state_message": said[after]}


@pytest.mark.parametrize(
    ("name", "selection", "given", "message"),
    [
        ("cancel_flow_run", "state", {"flow_run_id": GONE}, f"Invalid flow run ID: {GONE}"),
        ("update_flow_run_heartbeat", "success", {"flow_run_id": GONE}, f"Invalid flow run ID: {GONE}"),
        ("update_task_run_heartbeat", "success", {"task_run_id": GONE}, f"Invalid task run ID: {GONE}"),
        (
            "set_flow_run_states",
            "states { id }",
            {"states": [{"flow_run_id": GONE, "state": {"type": "Failed"}}]},
            f"State update failed for flow run ID {GONE}",
        ),
        (
            "set_task_run_states",
            "states { id }",
            {"states": [{"task_run_id": GONE, "state": {"type": "Failed"}}]},
            f"State update failed for task run ID {GONE}",
        ),
    ],
)
def test_an_unknown_run_is_named_in_the_words_of_prefect_server(
    cloud: Embedded, name: str, selection: str, given: Mapping[str, Any], message: str
) -> None:
    """Clients look for these texts."""
    assert cloud.refused(name, selection, **given)["message"] == message


def test_cancelling_answers_the_state_only(cloud: Embedded, run: str) -> None:
    """Prefect Server knows no other field of this answer."""
    status, body = cloud.mutate("cancel_flow_run", "id state", flow_run_id=run)

    assert (status, body["errors"][0]["extensions"]["code"]) == (400, "GRAPHQL_VALIDATION_FAILED")


def test_t32_cancelled_takes_open_task_runs_along(cloud: Embedded, run: str) -> None:
    """Finished ones stay."""
    cloud.set_state(run, "Running")
    set_task(cloud, task_run(cloud, run, "t-0"), "Success")
    cloud.set_state(run, "Cancelling")
    cloud.set_state(run, "Cancelled")

    rows = cloud.row("flow_run", run, "end_time task_runs { state task { slug } states { state } }")
    assert {t["task"]["slug"]: t["state"] for t in rows["task_runs"]} == {"t-0": "Success", "t-1": "Cancelled"}
    assert rows["end_time"]

"""What official clients send, and what they accept as an answer: vectors of protocol section 15."""

from collections.abc import Mapping
from datetime import datetime, timezone
from typing import Any

import pytest

from prefect.agent.domain.cloud.logs import LEVELS
from prefect.agent.domain.times import iso, read_time
from support.embedded import Embedded

GONE = "00000000-0000-4000-8000-000000000099"
"""The id of no run."""

NO_RESULT = {"__version__": "1.4.1", "type": "NoResultType"}


def claim(version: int | None, waiting: Mapping[str, Any]) -> dict[str, Any]:
    """The Submitted state of vector T08, around the state that the run waits in."""
    common = {"cached_inputs": {}, "_result": NO_RESULT, "context": {}, "__version__": "1.4.1"}
    state = {"message": "Submitted for execution", "state": dict(waiting), "type": "Submitted", **common}
    return {"state": state, "version": version}


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

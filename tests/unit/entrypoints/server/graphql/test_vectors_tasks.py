"""Task runs of the embedded Cloud, by the vectors of the protocol."""

from collections.abc import Mapping
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest

from support.embedded import Embedded, task_run

GONE = "00000000-0000-4000-8000-000000000099"
"""The id of no run."""


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

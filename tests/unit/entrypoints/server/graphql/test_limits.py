"""Concurrency limits of the embedded Cloud (protocol section 13.2), and what clients are told."""

from typing import Any

import pytest

from prefect.agent.entrypoints.server.mutations.limits import _FLOW_RUNS, _TASK_RUNS
from support.embedded import Embedded, task_run

TAGGED: dict[str, Any] = {
    "name": "tagged",
    "tasks": [
        {"slug": "t-0", "name": "t", "tags": ["db", "other"]},
        {"slug": "t-1", "name": "t", "tags": ["db"]},
        {"slug": "t-2", "name": "t", "tags": "odd"},
        {"slug": "t-3", "name": "t", "tags": []},
    ],
    "edges": [],
}


def limit(cloud: Embedded, label: str, number: int) -> str:
    """The id of a limit of flow runs."""
    return str(cloud.change("update_flow_concurrency_limit", "id", label=label, limit=number)["id"])


def tag_limit(cloud: Embedded, tag: str, number: int) -> str:
    """The id of a limit of task runs."""
    return str(cloud.change("update_task_tag_limit", "id", tag=tag, limit=number)["id"])


@pytest.fixture
def flow(cloud: Embedded) -> str:
    """A flow whose tasks have tags."""
    return str(cloud.change("create_flow", "id", project_id=cloud.project(), serialized_flow=TAGGED)["id"])


def running(cloud: Embedded, flow: str, *labels: str) -> str:
    """A flow run that is running."""
    run = cloud.run(flow, labels=list(labels))
    assert cloud.set_state(run, "Running")["status"] == "SUCCESS"
    return run


def set_task(cloud: Embedded, task_run_id: str, kind: str) -> dict[str, Any]:
    """Update a task run."""
    entry = {"task_run_id": task_run_id, "state": {"type": kind}}
    [answer] = cloud.change("set_task_run_states", "states { id status message }", states=[entry])["states"]
    found: dict[str, Any] = answer
    return found


# --- flow runs ---


def test_the_second_run_waits_until_the_first_ends(cloud: Embedded, flow: str) -> None:
    """Status QUEUED and a message; the row says the same; afterwards there is room."""
    limit(cloud, "slow", 1)
    first, second = running(cloud, flow, "slow"), cloud.run(flow, labels=["slow"])
    cloud.set_state(second, "Submitted", state={"type": "Scheduled", "message": "inner"})

    answer = cloud.set_state(second, "Running", version=2)

    message = "Queued by flow run label concurrency limit: slow"
    assert answer == {"id": second, "status": "QUEUED", "message": message}
    row = cloud.row("flow_run", second, "state version start_time state_message serialized_state heartbeat")
    assert (row["state"], row["version"], row["start_time"], row["state_message"]) == ("Queued", 3, None, message)
    assert row["serialized_state"]["state"] == {"type": "Scheduled", "message": "inner"}

    cloud.set_state(first, "Success")
    assert cloud.set_state(second, "Running", version=3)["status"] == "SUCCESS"
    history = [state["state"] for state in cloud.row("flow_run", second, "states { state }")["states"]]
    assert history == ["Scheduled", "Submitted", "Queued", "Running"]


@pytest.mark.parametrize(
    ("limits", "labels", "status"),
    [
        ({}, ["a"], "SUCCESS"),
        ({"a": 1}, [], "SUCCESS"),
        ({"a": 1}, ["b"], "SUCCESS"),
        ({"a": 1}, ["a"], "QUEUED"),
        ({"a": 2}, ["a"], "SUCCESS"),
        ({"a": 2, "b": 0}, ["a", "b"], "QUEUED"),
        ({"a": 2, "b": 1}, ["a", "b"], "SUCCESS"),
        ({"a": 1, "b": 1}, ["a", "b"], "QUEUED"),
    ],
)
def test_all_labels_must_have_room(
    cloud: Embedded, flow: str, limits: dict[str, int], labels: list[str], status: str
) -> None:
    """One run with the label ``a`` is running already."""
    running(cloud, flow, "a")
    for label, number in limits.items():
        limit(cloud, label, number)

    assert cloud.set_state(cloud.run(flow, labels=labels), "Running")["status"] == status


@pytest.mark.parametrize("kind", ["Success", "Failed", "Cancelled", "Scheduled"])
def test_room_is_freed_by_whatever_ends_a_run(cloud: Embedded, flow: str, kind: str) -> None:
    """Nothing is counted: who runs takes a place."""
    limit(cloud, "a", 1)
    first, second = running(cloud, flow, "a"), cloud.run(flow, labels=["a"])

    cloud.set_state(first, kind)

    assert cloud.set_state(second, "Running")["status"] == "SUCCESS"


def test_a_run_that_is_being_cancelled_keeps_its_place(cloud: Embedded, flow: str) -> None:
    """Its process is there still."""
    limit(cloud, "a", 1)
    first, second = running(cloud, flow, "a"), cloud.run(flow, labels=["a"])
    cloud.change("cancel_flow_run", "state", flow_run_id=first)

    assert cloud.state(first) == "Cancelling"
    assert cloud.set_state(second, "Running")["status"] == "QUEUED"


def test_a_run_never_waits_for_itself(cloud: Embedded, flow: str) -> None:
    """A process that says Running again has its place, also when the limit was lowered since."""
    first = running(cloud, flow, "a")
    limit(cloud, "a", 0)

    assert cloud.set_state(first, "Running")["status"] == "SUCCESS"


def test_a_deleted_run_takes_no_place(cloud: Embedded, flow: str) -> None:
    """Nor does a limit that was lifted hold anybody."""
    limit_id = limit(cloud, "a", 1)
    first, second, third = running(cloud, flow, "a"), cloud.run(flow, labels=["a"]), cloud.run(flow, labels=["a"])
    cloud.change("delete_flow_run", "success", flow_run_id=first)
    assert cloud.set_state(second, "Running")["status"] == "SUCCESS"
    assert cloud.set_state(third, "Running")["status"] == "QUEUED"

    assert cloud.change("delete_flow_concurrency_limit", "success", limit_id=limit_id) == {"success": True}
    assert cloud.change("delete_flow_concurrency_limit", "success", limit_id=limit_id) == {"success": False}
    assert cloud.set_state(third, "Running")["status"] == "SUCCESS"


def test_one_request_cannot_slip_through(cloud: Embedded, flow: str) -> None:
    """Of several updates in one request each sees the ones before it."""
    limit(cloud, "a", 2)
    runs = [cloud.run(flow, labels=["a"]) for _ in range(4)]
    entries = [{"flow_run_id": run, "state": {"type": "Running"}} for run in runs]

    states = cloud.change("set_flow_run_states", "states { status }", states=entries)["states"]

    assert [state["status"] for state in states] == ["SUCCESS", "SUCCESS", "QUEUED", "QUEUED"]


def test_a_queued_run_can_be_cancelled(cloud: Embedded, flow: str) -> None:
    """It has no process to wait for."""
    limit(cloud, "a", 0)
    run = cloud.run(flow, labels=["a"])
    cloud.set_state(run, "Running")

    assert cloud.change("cancel_flow_run", "state", flow_run_id=run) == {"state": "Cancelled"}


def test_a_wrong_version_is_refused_rather_than_queued(cloud: Embedded, flow: str) -> None:
    """The rules of states come first."""
    limit(cloud, "a", 0)
    run = cloud.run(flow, labels=["a"])
    with cloud.database.write() as tx:
        tx.execute("""UPDATE flow_group SET settings = '{"version_locking_enabled": true}'""")

    assert cloud.refused_state(run, "Running", 7)["extensions"]["code"] == "VERSION_LOCKING_ERROR"
    assert cloud.state(run) == "Scheduled"


# --- task runs ---


def test_a_task_run_waits_for_its_tag(cloud: Embedded, flow: str) -> None:
    """In the same flow run and in others; its flow run goes on running."""
    tag_limit(cloud, "db", 1)
    one, two = running(cloud, flow), running(cloud, flow)
    first = task_run(cloud, one)
    assert set_task(cloud, first, "Running")["status"] == "SUCCESS"

    for other in (task_run(cloud, one, "t-1"), task_run(cloud, two)):
        answer = set_task(cloud, other, "Running")
        assert answer == {
            "id": other,
            "status": "QUEUED",
            "message": "Queued by task run tag concurrency limit: db",
        }
        row = cloud.row("task_run", other, "state start_time serialized_state")
        assert (row["state"], row["start_time"]) == ("Queued", None)
        assert row["serialized_state"]["state"]["type"] == "Pending"
    assert [cloud.state(run) for run in (one, two)] == ["Running", "Running"]

    set_task(cloud, first, "Success")
    assert set_task(cloud, task_run(cloud, two), "Running")["status"] == "SUCCESS"


@pytest.mark.parametrize("slug", ["t-2", "t-3"])
def test_tasks_without_the_tag_do_not_wait(cloud: Embedded, flow: str, slug: str) -> None:
    """Neither those without tags nor those whose tags are not a list."""
    tag_limit(cloud, "db", 0)
    tag_limit(cloud, "odd", 0)
    run = running(cloud, flow)

    assert set_task(cloud, task_run(cloud, run, slug), "Running")["status"] == "SUCCESS"
    assert set_task(cloud, task_run(cloud, run, "t-1"), "Running")["status"] == "QUEUED"


def test_task_runs_of_a_flow_run_that_ended_take_no_place(cloud: Embedded, flow: str) -> None:
    """Their process died without a word; the flow run was failed by somebody else."""
    tag_limit(cloud, "db", 1)
    one, two = running(cloud, flow), running(cloud, flow)
    set_task(cloud, task_run(cloud, one), "Running")
    assert set_task(cloud, task_run(cloud, two), "Running")["status"] == "QUEUED"

    cloud.set_state(one, "Failed")

    assert cloud.row("task_run", task_run(cloud, one), "state") == {"state": "Running"}
    assert set_task(cloud, task_run(cloud, two), "Running")["status"] == "SUCCESS"


def test_the_flow_run_must_run_first(cloud: Embedded, flow: str) -> None:
    """Waiting is no way around the rules."""
    tag_limit(cloud, "db", 0)
    waiting = task_run(cloud, cloud.run(flow))

    entry = {"task_run_id": waiting, "state": {"type": "Running"}}
    assert "not Running" in cloud.refused("set_task_run_states", "states { id }", states=[entry])["message"]


# --- the limits themselves ---


def test_limits_can_be_asked_for_like_tables(cloud: Embedded) -> None:
    """What the client and people ask, with filters, order and all."""
    a, b = tag_limit(cloud, "a", 3), tag_limit(cloud, "b", 5)
    assert tag_limit(cloud, "b", 4) == b

    assert cloud.ask('{ task_tag_limit(where: { tag: { _eq: "b" } }) { limit } }') == {"task_tag_limit": [{"limit": 4}]}
    query = """{
        all: task_tag_limit(order_by: { limit: desc }) { id tag limit created }
        some: task_tag_limit(where: { _or: [{ limit: { _lt: 4 } }, { _not: { limit: { _gte: 0 } } }] }) { tag }
        limited: task_tag_limit(order_by: [{ tag: asc }], limit: 1, offset: 1, distinct_on: [limit]) { tag }
        task_tag_limit_aggregate(where: { tag: { _in: ["a", "limit"] } }) { aggregate { count } }
    }"""
    data = cloud.ask(query)
    assert [(row["id"], row["tag"], row["limit"]) for row in data["all"]] == [(b, "b", 4), (a, "a", 3)]
    assert all(row["created"] for row in data["all"])
    assert (data["some"], data["limited"]) == ([{"tag": "a"}], [{"tag": "b"}])
    assert data["task_tag_limit_aggregate"] == {"aggregate": {"count": 1}}
    assert cloud.ask(f'{{ task_tag_limit_by_pk(id: "{a}") {{ tag limit }} }}')["task_tag_limit_by_pk"] == {
        "tag": "a",
        "limit": 3,
    }
    assert cloud.change("delete_task_tag_limit", "success", limit_id=a) == {"success": True}
    assert cloud.ask(f'{{ task_tag_limit_by_pk(id: "{a}") {{ tag }} }}') == {"task_tag_limit_by_pk": None}


def test_limits_of_flow_runs_can_be_asked_for(cloud: Embedded) -> None:
    """Their name is the label."""
    row = limit(cloud, "gpu", 2)

    data = cloud.ask('{ flow_concurrency_limit(where: { name: { _eq: "gpu" } }) { id name limit } }')
    assert data == {"flow_concurrency_limit": [{"id": row, "name": "gpu", "limit": 2}]}


@pytest.mark.parametrize(
    ("name", "given"),
    [
        ("update_task_tag_limit", {"tag": "", "limit": 1}),
        ("update_task_tag_limit", {"tag": "a", "limit": -1}),
        ("update_flow_concurrency_limit", {"label": " ", "limit": 1}),
        ("update_flow_concurrency_limit", {"label": "a", "limit": -1}),
    ],
)
def test_a_limit_that_makes_no_sense(cloud: Embedded, name: str, given: dict[str, Any]) -> None:
    """Nothing is kept."""
    cloud.refused(name, "id", **given)

    assert cloud.ask("{ task_tag_limit { id } flow_concurrency_limit { id } }") == {
        "task_tag_limit": [],
        "flow_concurrency_limit": [],
    }


@pytest.mark.parametrize("sql", [_FLOW_RUNS, _TASK_RUNS], ids=["flow runs", "task runs"])
def test_places_are_counted_by_index(cloud: Embedded, sql: str) -> None:
    """Runs that ended, however many, are not looked at."""
    with cloud.database.read() as tx:
        plan = [row["detail"] for row in tx.all(f"EXPLAIN QUERY PLAN {sql}", ["", ""])]

    tables = [step for step in plan if not step.startswith(("SCAN label", "SCAN tag", "USE TEMP"))]
    assert tables
    assert all(step.startswith("SEARCH ") for step in tables), plan
    assert "state=?" in tables[0]

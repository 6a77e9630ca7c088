"""What official clients send when they register, run and keep things: vectors T33 to T38 and other mutations."""

import base64
import gzip
import json
from typing import Any

import pytest

from support.embedded import Embedded, task_run


def test_t33_a_project_that_exists(cloud: Embedded) -> None:
    """The exact text by which clients know it (protocol section 1.4)."""
    cloud.project("demo")

    error = cloud.refused("create_project", "id", name="demo", description=None)

    assert error["message"] == "Uniqueness violation."
    assert error["extensions"]["code"] == "REFUSED"


def packed(flow: object) -> str:
    """A flow as the command line compresses it."""
    return base64.b64encode(gzip.compress(json.dumps(flow).encode())).decode()


def test_t34_t35_versions_of_a_flow(cloud: Embedded) -> None:
    """A new version archives the old one; an equal idempotency key gives the same id."""
    project = cloud.project()
    query = """query($p: uuid) { flow(where: { _and: { name: { _eq: "f" }, project: { id: { _eq: $p } } } },
        order_by: { version: desc }, limit: 1) { version id archived } }"""
    assert cloud.ask(query, {"p": project})["flow"] == []

    def create(key: str) -> str:
        text = packed({"name": "f", "tasks": [], "edges": [], "__version__": "1.4.1"})
        given = {"project_id": project, "serialized_flow": text, "set_schedule_active": True, "idempotency_key": key}
        return str(cloud.change("create_flow_from_compressed_string", "id", **given)["id"])

    first = create("k1")
    assert create("k1") == first
    second = create("k2")
    assert second != first
    assert cloud.ask(query, {"p": project})["flow"] == [{"version": 2, "id": second, "archived": False}]
    assert cloud.row("flow", first, "archived version_group_id")["archived"] is True


def test_t35_an_archived_version_gives_up_its_runs(cloud: Embedded) -> None:
    """What people planned with it is cancelled, and nothing new is planned."""
    project = cloud.project()
    old = cloud.flow(project)
    waiting = cloud.run(old)
    new = cloud.flow(project)

    assert cloud.state(waiting) == "Cancelled"
    assert "archived" in cloud.refused("create_flow_run", "id", flow_id=old)["message"]
    group = cloud.row("flow", new, "version_group_id")["version_group_id"]
    run = cloud.change("create_flow_run", "id", version_group_id=group)["id"]
    assert cloud.row("flow_run", run, "flow_id")["flow_id"] == new


def test_t36_tasks_and_edges_in_batches(cloud: Embedded) -> None:
    """Client.register sends them after the flow, by slug, and may repeat itself."""
    flow = cloud.flow(cloud.project())
    tasks = [{"slug": slug, "name": slug, "__version__": "1.4.1"} for slug in ("named-1", "cached-1")]
    edges = [{"key": "x", "downstream_task": {"slug": "named-1"}, "upstream_task": {"slug": "cached-1"}}]
    for _ in range(2):
        assert cloud.change("register_tasks", "success", flow_id=flow, serialized_tasks=tasks)["success"]
        assert cloud.change("register_edges", "success", flow_id=flow, serialized_edges=edges)["success"]

    row = cloud.row("flow", flow, "tasks { slug is_root_task is_terminal_task } edges { key upstream_task { slug } }")
    assert row["edges"] == [{"key": "x", "upstream_task": {"slug": "cached-1"}}]
    found = {t["slug"]: (t["is_root_task"], t["is_terminal_task"]) for t in row["tasks"]}
    assert found == {"cached-1": (True, False), "named-1": (False, True)}

    wrong = [{"downstream_task": {"slug": "gone"}, "upstream_task": {"slug": "named-1"}}]
    assert "gone" in cloud.refused("register_edges", "success", flow_id=flow, serialized_edges=wrong)["message"]


def test_t37_a_run_with_all_inputs(cloud: Embedded, flow: str) -> None:
    """Everything that is given is kept; the same key gives the same run and changes nothing."""
    config: dict[str, Any] = {
        "env": {"B": "2"},
        "labels": [],
        "working_dir": None,
        "__version__": "1.4.1",
        "type": "LocalRun",
    }
    given: dict[str, Any] = {
        "idempotency_key": "idem",
        "parameters": {"zz": 1},
        "run_config": config,
        "labels": ["l"],
        "context": {"k": 1},
        "scheduled_start_time": "2020-01-01T00:00:00+00:00",
        "flow_run_name": "r1",
    }

    run = cloud.run(flow, **given)

    assert cloud.run(flow, **{**given, "flow_run_name": "r2"}) == run
    row = cloud.row("flow_run", run, "name labels parameters context run_config scheduled_start_time state_start_time")
    assert (row["name"], row["labels"], row["parameters"], row["context"]) == ("r1", ["l"], {"zz": 1}, {"k": 1})
    assert row["run_config"] == config
    assert row["scheduled_start_time"] == row["state_start_time"] == "2020-01-01T00:00:00.000000+00:00"


def test_t37_defaults_of_a_run(cloud: Embedded) -> None:
    """Labels and run config of the flow, parameters' defaults, a generated name, now."""
    config: dict[str, Any] = {"type": "UniversalRun", "labels": ["b", "a"]}
    declared = [{"name": "x", "default": 5, "required": False}, {"name": "y", "required": True}]
    flow = cloud.flow(cloud.project(), run_config=config, parameters=declared)

    row = cloud.row("flow_run", cloud.run(flow, parameters={"y": 1}), "name labels parameters run_config")

    assert row["labels"] == ["a", "b"]
    assert row["parameters"] == {"x": 5, "y": 1}
    assert row["run_config"] == config
    assert "-" in row["name"]
    assert "y" in cloud.refused("create_flow_run", "id", flow_id=flow)["message"]


def test_t38_a_comparison_with_null(cloud: Embedded, flow: str) -> None:
    """The query of ``prefect get flows``, as it stands."""
    query = """query { flow(where: { _and: { name: { _eq: null }, version: { _eq: null },
        project: { name: { _eq: null } } } }, order_by: { name: asc, version: desc }, distinct_on: name, limit: 10)
        { name version created id project { name } } }"""

    [row] = cloud.ask(query)["flow"]

    assert (row["id"], row["version"], row["project"]["name"]) == (flow, 1, "demo")


# --- other mutations ---


def test_an_update_of_many_is_all_or_nothing(cloud: Embedded, flow: str) -> None:
    """Within one field; fields of one document are independent (protocol section 4.2)."""
    one, two, three = (cloud.run(flow) for _ in range(3))
    cloud.set_state(two, "Submitted")
    states = [{"flow_run_id": run, "state": {"type": "Submitted"}} for run in (one, two)]
    document = """mutation($a: set_flow_run_states_input!, $b: set_flow_run_states_input!) {
        a: set_flow_run_states(input: $a) { states { id } } b: set_flow_run_states(input: $b) { states { id } } }"""

    status, body = cloud.send(
        document, {"a": {"states": states}, "b": {"states": [{"flow_run_id": three, "state": {"type": "Submitted"}}]}}
    )

    assert status == 200
    assert body["data"] == {"a": None, "b": {"states": [{"id": three}]}}
    assert [error["path"] for error in body["errors"]] == [["a"]]
    assert [cloud.state(run) for run in (one, two, three)] == ["Scheduled", "Submitted", "Submitted"]


@pytest.mark.parametrize(
    ("name", "selection", "given", "words"),
    [
        ("set_flow_run_states", "states { id }", {"flow_run_id": "?", "state": {"type": "Failed"}}, "flow run ID"),
        ("set_task_run_states", "states { id }", {"task_run_id": "?", "state": {"type": "Failed"}}, "task run ID"),
    ],
)
def test_an_update_of_nobody(cloud: Embedded, name: str, selection: str, given: dict[str, Any], words: str) -> None:
    """The text begins as official clients expect (protocol section 13.2)."""
    gone = "00000000-0000-4000-8000-000000000099"
    entry = {key: gone if value == "?" else value for key, value in given.items()}

    error = cloud.refused(name, selection, states=[entry])

    assert error["message"].startswith(f"State update failed for {words} {gone}")


def test_keys_and_values(cloud: Embedded) -> None:
    """Set, replaced, listed, deleted; too large is refused (protocol section 12.1)."""
    first = cloud.change("set_key_value", "id", key="k", value={"a": 1})["id"]
    assert cloud.change("set_key_value", "id", key="k", value=[2])["id"] == first
    assert cloud.ask("query { key_value { key value } }")["key_value"] == [{"key": "k", "value": [2]}]
    assert "larger than" in cloud.refused("set_key_value", "id", key="k", value="x" * 10_001)["message"]
    assert cloud.change("delete_key_value", "success", key_value_id=first)["success"] is True
    assert cloud.change("delete_key_value", "success", key_value_id=first)["success"] is False


def test_secrets(cloud: Embedded) -> None:
    """Kept, read by name, deleted by null; an unknown one is told in the words that clients look for."""
    cloud.change("set_secret", "success", name="s", value={"a": 1})
    assert cloud.ask('query { secret_value(name: "s") secret_names }') == {
        "secret_value": {"a": 1},
        "secret_names": ["s"],
    }

    cloud.change("set_secret", "success", name="s", value=None)
    _, body = cloud.send('query { secret_value(name: "s") }')
    assert "No value found for the requested key" in body["errors"][0]["message"]


def test_artifacts(cloud: Embedded, run: str) -> None:
    """Made, changed and removed with a task run; one for nobody is ``not found``, on which clients try again."""
    task = task_run(cloud, run)
    made = cloud.change("create_task_run_artifact", "id", task_run_id=task, kind="link", data={"a": 1})["id"]
    assert cloud.change("update_task_run_artifact", "success", task_run_artifact_id=made, data={"a": 2})["success"]
    assert cloud.ask("query { task_run_artifact { kind data } }")["task_run_artifact"] == [
        {"kind": "link", "data": {"a": 2}}
    ]
    assert cloud.change("delete_task_run_artifact", "success", task_run_artifact_id=made)["success"]

    gone = "00000000-0000-4000-8000-000000000099"
    error = cloud.refused("create_task_run_artifact", "id", task_run_id=gone, kind="link")
    assert "not found" in error["message"]


def test_deleting_takes_everything_along(cloud: Embedded, flow: str, run: str) -> None:
    """A project's flows, runs, task runs and logs go with it."""
    cloud.change("write_run_logs", "success", logs=[{"flow_run_id": run, "message": "m"}])
    project = cloud.row("flow", flow, "project_id")["project_id"]

    assert cloud.change("delete_project", "success", project_id=project)["success"] is True

    counts = cloud.ask("query { flow { id } task { id } edge { id } flow_run { id } task_run { id } log { id } }")
    assert not any(counts.values())
    assert cloud.change("delete_flow_run", "success", flow_run_id=run)["success"] is False


def test_schedules(cloud: Embedded) -> None:
    """A schedule is switched on with the flow that has one; one that has none says so."""
    project = cloud.project()
    clock = {"type": "Schedule", "clocks": [{"type": "CronClock", "cron": "0 6 * * *"}]}
    with_one, without = cloud.flow(project, "a", schedule=clock), cloud.flow(project, "b")

    assert cloud.row("flow", with_one, "is_schedule_active schedule") == {
        "is_schedule_active": True,
        "schedule": clock,
    }
    assert cloud.change("set_schedule_active", "success", flow_id=without)["success"] is False
    assert cloud.change("set_schedule_inactive", "success", flow_id=with_one)["success"] is True
    assert cloud.row("flow", with_one, "is_schedule_active")["is_schedule_active"] is False


def test_names_and_labels_can_be_changed(cloud: Embedded, run: str) -> None:
    """Of a flow run; an empty name is none."""
    cloud.change("set_flow_run_name", "success", flow_run_id=run, name="new")
    cloud.change("set_flow_run_labels", "success", flow_run_id=run, labels=["b", "a", "b"])

    assert cloud.row("flow_run", run, "name labels") == {"name": "new", "labels": ["a", "b"]}
    assert "must not be empty" in cloud.refused("set_flow_run_name", "success", flow_run_id=run, name=" ")["message"]


def test_tenants(cloud: Embedded) -> None:
    """A slug is a slug, and unique."""
    tenant = cloud.change("create_tenant", "id", name="T", slug="t-1")["id"]
    project = cloud.change("create_project", "id", name="p", tenant_id=tenant)["id"]

    assert cloud.row("project", project, "tenant { slug }") == {"tenant": {"slug": "t-1"}}
    assert cloud.refused("create_tenant", "id", name="T", slug="t-1")["message"] == "Uniqueness violation."
    assert "slugified" in cloud.refused("create_tenant", "id", name="T", slug="T 1")["message"]

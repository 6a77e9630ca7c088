"""Everything a person does with the Python client, an agent at work; print what came of each."""
# ruff: noqa: BLE001, D103 - a program for the environment of the real client; a failure is an answer

import contextlib
import json
import runpy
import sys
import time
from datetime import timedelta

import pendulum

from prefect import Client
from prefect.backend import FlowRunView, FlowView, TaskRunView
from prefect.engine.signals import PrefectStateSignal
from prefect.engine.state import Cancelled, Failed, Running, Scheduled
from prefect.run_configs import LocalRun, UniversalRun
from prefect.tasks.prefect import StartFlowRun, create_flow_run, get_task_run_result, wait_for_flow_run

given = json.load(sys.stdin)
client = Client()
mapping = runpy.run_path(given["mapping"])["flow"]
telling = runpy.run_path(given["telling"])["flow"]
made = {}


def projects():
    first = client.create_project("clients", project_description="of the tests")
    return {"same": client.create_project("clients") == first, "id": first}


def registering():
    key = mapping.serialized_hash()
    first = mapping.register("clients", labels=[], no_url=True, idempotency_key=key)
    again = mapping.register("clients", labels=[], no_url=True, idempotency_key=key)
    newer = mapping.register("clients", labels=[], no_url=True)
    made["flow"], made["telling"] = newer, telling.register("clients", labels=[], no_url=True)
    views = [FlowView.from_flow_id(flow_id) for flow_id in (first, newer)]
    return {
        "same": again == first,
        "newer": newer != first,
        "archived": [view.archived for view in views],
        "by name": FlowView.from_flow_name("mapping").flow_id == newer,
        "by name and project": FlowView.from_flow_name("mapping", project_name="clients").flow_id == newer,
        "by id": FlowView.from_id(newer).name,
        "project": views[1].project_name,
        "core": views[1].core_version,
        "loaded": views[1].flow.name,
        "link": client.get_cloud_url("flow", newer),
    }


def all_logs(view):
    """Once the agent and the flow process have sent what they had to say, which may be after the run's end."""
    deadline = time.monotonic() + 300
    while True:
        logs = view.get_logs()
        missing = {"Submitted for execution", "Flow run SUCCESS"} - {log.message.split(":")[0] for log in logs}
        if not missing or time.monotonic() > deadline:
            return logs
        time.sleep(0.1)


def running():
    at = {"flow_id": made["flow"], "parameters": {"n": 2}, "run_name": "two", "labels": [], "idempotency_key": "one"}
    run_id = client.create_flow_run(**at, context={"mood": "good"}, run_config=LocalRun(env={"E": "1"}))
    made["run"] = run_id
    again = client.create_flow_run(**at)
    ended = wait_for_flow_run.run(run_id)
    view = FlowRunView.from_flow_run_id(run_id)
    logs = all_logs(view)
    return {
        "same": again == run_id,
        "state": [type(view.state).__name__, ended.flow_run_id == run_id],
        "name": view.name,
        "labels": sorted(view.labels),
        "parameters": view.parameters,
        "context": view.context,
        "run_config": [view.run_config.env, type(view.run_config).__name__],
        "states": [type(state).__name__ for state in view.states],
        "logs": [log.message.split(":")[0] for log in logs].count("Submitted for execution"),
        "ordered": sorted(log.timestamp for log in logs) == [log.timestamp for log in logs],
        "flow": view.get_flow_metadata().flow_id == made["flow"],
        "latest": view.get_latest().state.is_successful(),
        "result": get_task_run_result.run(run_id, "total-1"),
        "mapped": get_task_run_result.run(run_id, "add-1"),
        "child": get_task_run_result.run(run_id, "add-1", map_index=1),
    }


def task_views():
    view = FlowRunView.from_flow_run_id(made["run"])
    rows = view.get_all_task_runs()
    parent = TaskRunView.from_task_slug("add-2", made["run"])
    child = view.get_task_run("add-2", map_index=3)
    one = TaskRunView.from_task_run_id(child.task_run_id)
    return {
        "all": len(rows),
        "ids": sorted(view.get_task_run_ids()) == sorted(row.task_run_id for row in rows),
        "parent": [parent.state.is_mapped(), parent.map_index],
        "children": [[row.map_index, row.get_result()] for row in parent.iter_mapped()],
        "one": [one.task_slug, one.map_index, one == child, one.get_result(), one.state.is_successful()],
        "latest": one.get_latest().task_run_id == child.task_run_id,
        "name": view.get_task_run("total-1").name,
    }


def nested():
    by_task = create_flow_run.run(flow_name="mapping", project_name="clients", parameters={"n": 1}, run_name="by task")
    older = StartFlowRun(flow_name="mapping", project_name="clients", wait=True, poll_interval=timedelta(seconds=3))
    try:
        older.run(parameters={"n": 0}, run_name="by class")
    except PrefectStateSignal as raised:  # the client's way of telling how the other run ended
        ended = raised
    done = wait_for_flow_run.run(by_task)
    names = [FlowRunView.from_flow_run_id(by_task).name, type(ended).__name__, done.state.is_successful()]
    return {"outcomes": names, "states": [type(state).__name__ for state in done.states][-1]}


def planning():
    later = pendulum.now("utc").add(days=1)
    run_id = client.create_flow_run(flow_id=made["flow"], scheduled_start_time=later, labels=["b", "a"])
    named = client.set_flow_run_name(run_id, "tomorrow")
    info = client.get_flow_run_info(run_id)
    found = {
        "named": [named, info.name],
        "when": abs((info.scheduled_start_time - later).total_seconds()) < 1,
        "state": [type(info.state).__name__, abs((info.state.start_time - later).total_seconds()) < 1],
        "labels": FlowRunView.from_flow_run_id(run_id).labels,
        "default parameters": FlowRunView.from_flow_run_id(run_id).parameters,
        "version": info.version,
        "tasks": sorted(row.task_slug for row in info.task_runs),
        "project": info.project.name,
        "cancelled": client.cancel_flow_run(run_id),
    }
    run = FlowRunView.from_flow_run_id(run_id)
    return {
        **found,
        "after": [type(run.state).__name__, sorted({type(t.state).__name__ for t in run.get_all_task_runs()})],
    }


def states():
    run_id = client.create_flow_run(flow_id=made["flow"], labels=["nobody"], run_config=UniversalRun(labels=["other"]))
    info = client.get_flow_run_info(run_id)
    task = info.task_runs[0]
    order = [type(client.set_flow_run_state(run_id, Running(), version=info.version)).__name__]
    order.append(type(client.get_flow_run_state(run_id)).__name__)
    order.append(type(client.set_task_run_state(task.id, Running(), version=task.version)).__name__)
    order.append(type(client.get_task_run_state(task.id)).__name__)
    client.set_task_run_name(task.id, "renamed")
    client.update_flow_run_heartbeat(run_id)
    when = pendulum.now("utc").add(hours=1)
    client.set_task_run_state(task.id, Scheduled(start_time=when, message="again"))
    read = client.get_task_run_state(task.id)
    fetched = client.get_task_run_info(run_id, task.task_id)
    child = client.get_task_run_info(run_id, task.task_id, map_index=7)
    client.set_flow_run_state(run_id, Failed("by hand"))
    final = client.get_flow_run_state(run_id)
    client.set_flow_run_state(run_id, Cancelled("at last"))
    after = type(client.get_task_run_info(run_id, task.task_id).state).__name__
    return {
        "order": order,
        "kept time": [type(read).__name__, read.start_time == when, read.message],
        "fetched": [fetched.id == task.id, fetched.version],
        "child": [TaskRunView.from_task_run_id(child.id).map_index, child.version, child.id != task.id],
        "final": [type(final).__name__, final.message],
        "task after": after,
        "name": TaskRunView.from_task_run_id(task.id).name,
    }


def refusals():
    asked = {
        "missing parameter": lambda: client.create_flow_run(flow_id=made["telling"]),
        "no such flow": lambda: client.create_flow_run(flow_id="00000000-0000-4000-8000-000000000000"),
        "no such project": lambda: mapping.register("nowhere"),
        "no such run": lambda: FlowRunView.from_flow_run_id("00000000-0000-4000-8000-000000000000"),
        "no such task run": lambda: client.set_task_run_state("00000000-0000-4000-8000-000000000000", Running()),
        "task of a waiting run": lambda: client.set_task_run_state(made["waiting"], Running(), version=1),
        "unknown field": lambda: client.graphql("query { flow { colour } }"),
        "not GraphQL": lambda: client.graphql("query { flow { "),
    }
    run_id = client.create_flow_run(flow_id=made["flow"], labels=["nobody"])
    made["waiting"] = client.get_flow_run_info(run_id).task_runs[0].id
    return {name: _failure(ask) for name, ask in asked.items()}


def artifacts_and_logs():
    task = TaskRunView.from_task_slug("total-1", made["run"]).task_run_id
    one = client.create_task_run_artifact(task_run_id=task, kind="markdown", data={"markdown": "# one"})
    two = client.create_task_run_artifact(task_run_id=task, kind="link", data={"link": "https://example.org"})
    client.update_task_run_artifact(task_run_artifact_id=one, data={"markdown": "# changed"})
    client.delete_task_run_artifact(task_run_artifact_id=two)
    rows = client.graphql(
        "query($id: uuid) { task_run_artifact(where: { task_run_id: { _eq: $id } }) { id data kind } }",
        variables={"id": task},
    )
    log = {"flow_run_id": made["run"], "name": "tests", "message": "written by hand", "level": "CRITICAL"}
    client.write_run_logs([{**log, "timestamp": pendulum.now("utc").isoformat(), "info": {"a": [1]}}])
    logs = client.graphql('query { log(where: { name: { _eq: "tests" } }) { message level info } }').data.log
    return {
        "left": [row.id == one and row.data.to_dict() for row in rows.data.task_run_artifact],
        "logs": [[log.level, log.message, log.info.to_dict()] for log in logs],
    }


def deleting():
    client.create_project("short-lived")
    return {"deleted": client.delete_project("short-lived"), "again": _failure(lambda: client.delete_project("x"))}


def _failure(ask):
    try:
        return f"no failure: {ask()!r}"
    except Exception as failure:
        return f"{type(failure).__name__}: {failure}"


answers = {}
with contextlib.redirect_stdout(sys.stderr):
    for part in (
        projects, registering, running, task_views, nested, planning, states, refusals, artifacts_and_logs, deleting,
    ):  # fmt: skip
        try:
            answers[part.__name__] = part()
        except Exception as failure:
            answers[part.__name__] = {"failure": f"{type(failure).__name__}: {failure}"}
print(json.dumps(answers))

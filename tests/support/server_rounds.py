"""Services that work when a test says so, and runs that were last heard of a while ago."""

from datetime import datetime, timedelta, timezone
from typing import Any

from prefect.agent.entrypoints.server.services import Services
from support.embedded import Embedded, Json, task_run

LATER = datetime(2050, 1, 1, 12, tzinfo=timezone.utc)
"""Within the schedules below: none of their runs is near the real time."""


def services(cloud: Embedded, now: datetime = LATER) -> Services:
    """Services of a Cloud that has listened for long."""
    return Services(cloud.database, now=lambda: now, since=now - timedelta(days=1))


def a_silent_run(cloud: Embedded, *, minutes: int = 11, **task: Any) -> tuple[str, str]:
    """Ids of a Running flow run, last heard of so long ago, and of its Running task run."""
    tasks = [{"slug": "t-0", "name": "t", **task}]
    run = cloud.run(_flow(cloud, tasks))
    cloud.set_state(run, "Submitted")
    cloud.set_state(run, "Running")
    task_id = task_run(cloud, run)
    put_task(cloud, task_id, "Running")
    silence(cloud, run, minutes)
    return run, task_id


def _flow(cloud: Embedded, tasks: list[Json]) -> str:
    flow = {"name": "flow", "tasks": tasks, "edges": [], "__version__": "1.4.1"}
    return str(cloud.change("create_flow", "id", project_id=cloud.project(), serialized_flow=flow)["id"])


def put_task(cloud: Embedded, task_id: str, kind: str) -> None:
    """Update a task run."""
    entry = {"task_run_id": task_id, "state": {"type": kind, "message": kind}}
    cloud.change("set_task_run_states", "states { status }", states=[entry])


def silence(cloud: Embedded, run: str, minutes: int = 11) -> None:
    """Move a flow run's heartbeat into the past."""
    with cloud.database.write() as tx:
        tx.update(
            "flow_run", run, {"heartbeat": (LATER - timedelta(minutes=minutes)).isoformat(timespec="microseconds")}
        )


def states(cloud: Embedded, run: str, task_id: str) -> tuple[str, str]:
    """Of both."""
    return cloud.state(run), str(cloud.row("task_run", task_id, "state")["state"])


def logs(cloud: Embedded, run: str) -> list[str]:
    """Who wrote into the log."""
    found = cloud.row("flow_run", run, "logs { name level message }")["logs"]
    assert all(log["message"] and log["level"] in {"INFO", "ERROR"} for log in found)
    return [str(log["name"]) for log in found]

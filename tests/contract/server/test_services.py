"""What the embedded Cloud does on its own (protocol section 13.5)."""

import asyncio
from collections.abc import Generator
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
import requests

from prefect.agent.entrypoints.server.services import BATCH, SERVICES, Routine, Services
from prefect.agent.entrypoints.server.storage.database import Database
from prefect.agent.entrypoints.server.testing import running_server
from support.embedded import Embedded, Json
from support.server_rounds import LATER, services
from support.waiting import wait_until

DAY = 86_400_000_000

NEVER = {
    "type": "RRuleClock",
    "rrule_obj": {"type": "rrule", "rr": "RRULE:FREQ=MINUTELY;BYSETPOS=5", "_dtstart": "2020-01-01T00:00:00"},
}
"""A clock that would be looked at for ever."""


@pytest.fixture
def cloud(tmp_path: Path) -> Generator[Embedded]:
    """An empty Cloud."""
    embedded = Embedded(tmp_path / "cloud.db")
    yield embedded
    embedded.database.close()


def daily(**more: Any) -> Json:
    """A schedule with a run a day, from 2050 on."""
    clock = {"type": "IntervalClock", "interval": DAY, "start_date": {"dt": "2050-01-01T00:00:00", "tz": "UTC"}, **more}
    return {"clocks": [clock], "filters": [], "or_filters": [], "not_filters": [], "adjustments": []}


def planned(cloud: Embedded, flow: str) -> list[str]:
    """Start times of the runs that a schedule has planned and that still wait."""
    where = f'flow_id: {{ _eq: "{flow}" }}, auto_scheduled: {{ _eq: true }}, state: {{ _eq: "Scheduled" }}'
    order = "order_by: { scheduled_start_time: asc }"
    query = f"query {{ flow_run(where: {{ {where} }}, {order}) {{ scheduled_start_time }} }}"
    return [str(run["scheduled_start_time"])[:10] for run in cloud.ask(query)["flow_run"]]


def days(first: int, count: int = 10) -> list[str]:
    """Days of January 2050."""
    return [f"2050-01-{day:02}" for day in range(first, first + count)]


def schedule(cloud: Embedded, now: datetime = LATER) -> int:
    """One round of the scheduler; how many runs it made."""
    return sum(services(cloud, now).schedule())


def group_of(cloud: Embedded, flow: str) -> str:
    """The id of the flow group."""
    return str(cloud.row("flow", flow, "flow_group_id")["flow_group_id"])


# --- scheduler ---


def test_the_next_runs_are_planned_at_registration(cloud: Embedded) -> None:
    """Ten of them, as Scheduled runs with all that the clock says."""
    clock = daily(parameter_defaults={"x": 1}, labels=["b", "a"])
    flow = cloud.flow(cloud.project(), schedule=clock, tasks=2, parameters=[{"name": "x", "required": True}])

    assert planned(cloud, flow) == days(1)
    columns = "parameters labels state_start_time idempotency_key version task_runs { state }"
    run = cloud.ask(f"query {{ flow_run(order_by: {{ scheduled_start_time: asc }}, limit: 1) {{ {columns} }} }}")
    [found] = run["flow_run"]
    assert found["idempotency_key"].startswith("auto-scheduled:2050-01-01T00:00:00+00:00:")
    assert (found["parameters"], found["labels"], found["version"]) == ({"x": 1}, ["a", "b"], 1)
    assert found["state_start_time"].startswith("2050-01-01T00:00:00")
    assert [task_run["state"] for task_run in found["task_runs"]] == ["Pending", "Pending"]


def test_a_run_is_never_planned_twice(cloud: Embedded) -> None:
    """Not by the next round, not by switching on again, and not after a restart."""
    flow = cloud.flow(cloud.project(), schedule=daily())
    [first] = cloud.queue(before="2050-01-01T00:00:00Z")
    cloud.set_state(first, "Running")
    cloud.change("set_schedule_active", "success", flow_id=flow)
    assert (schedule(cloud, LATER - timedelta(days=1)), planned(cloud, flow)) == (0, days(2, 9))

    cloud.database.close()
    again = Embedded(cloud.path)
    try:
        assert (schedule(again, LATER - timedelta(days=1)), planned(again, flow)) == (0, days(2, 9))
        assert (schedule(again), planned(again, flow)) == (1, days(2, 10))
        assert (schedule(again), planned(again, flow)) == (0, days(2, 10))
        assert again.state(first) == "Running"
    finally:
        again.database.close()


def test_a_deleted_or_cancelled_run_is_not_planned_again(cloud: Embedded) -> None:
    """The others stay."""
    flow = cloud.flow(cloud.project(), schedule=daily())
    first, second, *_ = cloud.queue(before="2050-01-03T00:00:00Z")
    cloud.change("delete_flow_run", "success", flow_run_id=first)
    cloud.change("cancel_flow_run", "state", flow_run_id=second)

    assert (schedule(cloud, LATER - timedelta(days=2)), planned(cloud, flow)) == (0, days(3, 8))


def test_switching_off_drops_what_nobody_has_taken(cloud: Embedded) -> None:
    """Runs of people and runs that were taken stay; switching on again plans anew."""
    flow = cloud.flow(cloud.project(), schedule=daily())
    own = cloud.run(flow, scheduled_start_time="2050-01-01T00:00:00Z")
    taken = next(run for run in cloud.queue(before="2050-01-01T00:00:00Z") if run != own)
    cloud.set_state(taken, "Submitted")
    assert cloud.change("set_schedule_inactive", "success", flow_id=flow)["success"]

    assert (planned(cloud, flow), schedule(cloud)) == ([], 0)
    assert (cloud.state(own), cloud.state(taken)) == ("Scheduled", "Submitted")
    assert cloud.change("set_schedule_active", "success", flow_id=flow)["success"]
    assert planned(cloud, flow) == days(2, 9)


def test_a_new_version_takes_over(cloud: Embedded) -> None:
    """The runs that the schedule of the old one planned are gone."""
    project = cloud.project()
    old, new = cloud.flow(project, schedule=daily()), cloud.flow(project, schedule=daily(labels=["new"]))

    assert (planned(cloud, old), planned(cloud, new)) == ([], days(1))
    assert not cloud.row("flow", old, "is_schedule_active")["is_schedule_active"]


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({}, "no schedule"),
        ({"schedule": daily(), "parameters": [{"name": "x", "required": True}]}, "x"),
        ({"schedule": {**daily(), "filters": [{"fn": "my.module.full_moon", "kwargs": {}}]}}, "my.module.full_moon"),
        ({"schedule": {"clocks": [{"type": "Sundial"}]}}, "Sundial"),
        ({"schedule": {"clocks": [NEVER]}}, "steps"),
    ],
)
def test_a_schedule_that_cannot_be_kept_stays_inactive(cloud: Embedded, more: Json, said: str) -> None:
    """The answer says why; the flow is registered all the same (protocol section 13.4)."""
    flow = cloud.flow(cloud.project(), **more)
    answer = cloud.change("set_schedule_active", "success error", flow_id=flow)

    assert answer["success"] is False
    assert said in answer["error"]
    assert cloud.row("flow", flow, "is_schedule_active") == {"is_schedule_active": False}
    assert schedule(cloud) == 0


def test_default_parameters_of_the_group_cover_what_is_required(cloud: Embedded) -> None:
    """And reach the runs."""
    flow = cloud.flow(cloud.project(), schedule=daily(), parameters=[{"name": "x", "required": True}])
    group = group_of(cloud, flow)
    cloud.change("set_flow_group_default_parameters", "success", flow_group_id=group, parameters={"x": 7})

    assert cloud.change("set_schedule_active", "success", flow_id=flow)["success"]
    assert cloud.ask("query { flow_run(limit: 1) { parameters } }") == {"flow_run": [{"parameters": {"x": 7}}]}


def test_the_schedule_of_the_group_wins(cloud: Embedded) -> None:
    """Set, the runs of the flow's own are dropped and its own come; deleted, it is the other way around."""
    flow = cloud.flow(cloud.project(), schedule=daily())
    group = group_of(cloud, flow)
    clocks = [{"cron": "0 5 1 1 *", "parameter_defaults": {"from": "group"}}]
    cloud.change("set_flow_group_schedule", "success", flow_group_id=group, cron_clocks=clocks, timezone="Asia/Tokyo")

    found = planned(cloud, flow)
    assert len(found) == 10
    assert all(day.endswith("12-31") for day in found)
    assert schedule(cloud, datetime.now(timezone.utc)) == 0
    assert cloud.change("delete_flow_group_schedule", "success", flow_group_id=group)["success"]
    assert planned(cloud, flow) == days(1)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({}, "clocks"),
        ({"cron_clocks": [{"cron": "61 * * * *"}]}, "61"),
        ({"interval_clocks": [{"interval": 59}]}, "one minute"),
        ({"interval_clocks": [{"interval": 60}], "timezone": "Mars"}, "Mars"),
    ],
)
def test_a_schedule_of_a_group_that_makes_no_sense_is_refused(cloud: Embedded, given: Json, said: str) -> None:
    """Nothing that was planned is touched."""
    flow = cloud.flow(cloud.project(), schedule=daily())
    error = cloud.refused("set_flow_group_schedule", "success", flow_group_id=group_of(cloud, flow), **given)

    assert said in error["message"]
    assert planned(cloud, flow) == days(1)


def test_a_large_flow_is_planned_in_small_steps(cloud: Embedded) -> None:
    """Requests are answered between them; one flow that cannot be planned does not keep the others from it."""
    project = cloud.project()
    flows = [cloud.flow(project, name, schedule=daily(), tasks=200) for name in ("a", "b")]
    with cloud.database.write() as tx:
        tx.execute("DELETE FROM flow_run")
        broken = {"schedule": {"clocks": [{"type": "Sundial"}]}, "is_schedule_active": True}
        tx.update("flow", flows[0], broken)
    steps = list(services(cloud).schedule())

    assert (sum(steps), max(steps)) == (10, 1)
    assert (planned(cloud, flows[0]), planned(cloud, flows[1])) == ([], days(2))


def test_more_flows_than_a_step_looks_at(cloud: Embedded) -> None:
    """All get their runs."""
    project = cloud.project()
    flows = [cloud.flow(project, f"f{number}", schedule=daily()) for number in range(BATCH + 2)]
    with cloud.database.write() as tx:
        tx.execute("DELETE FROM flow_run")

    assert schedule(cloud) == 10 * len(flows)


# --- at work ---


def test_a_server_plans_when_it_starts(cloud: Embedded) -> None:
    """What became due to be planned while it was away; and it answers meanwhile."""
    flow = cloud.flow(cloud.project(), schedule=daily())
    with cloud.database.write() as tx:
        tx.execute("DELETE FROM flow_run")
    cloud.database.close()
    query = f'query {{ flow_run(where: {{ flow_id: {{ _eq: "{flow}" }} }}) {{ auto_scheduled }} }}'

    with running_server(cloud.path) as url, requests.Session() as http:
        http.trust_env = False

        def runs() -> list[Json]:
            found: list[Json] = http.post(url, json={"query": query}, timeout=60).json()["data"]["flow_run"]
            return found

        wait_until(lambda: len(runs()) == 10)
    cloud.database = Database(cloud.path)
    with cloud.database.read() as tx:
        assert len(tx.all("SELECT id FROM flow_run WHERE auto_scheduled")) == 10


def test_services_that_are_not_wanted_do_nothing(cloud: Embedded) -> None:
    """Without any, there is nothing to wait for."""
    asyncio.run(asyncio.wait_for(Services(cloud.database, Routine(enabled=())).run(), 30))
    assert sorted(SERVICES) == ["lazarus", "scheduler", "zombie-killer"]

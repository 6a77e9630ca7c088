"""Schedules of flows that the real client registers: their runs are made ahead, once, and begin in time."""

import json
from datetime import datetime, timedelta, timezone
from itertools import pairwise
from pathlib import Path
from typing import Any

import attrs
import pytest

from support.real_prefect import RealPrefect, found
from support.waiting import wait_until

pytestmark = pytest.mark.real_prefect

HERE = Path(__file__).parent
RUNS = (
    "query($id: uuid!) { flow_run(where: { flow_id: { _eq: $id } }, order_by: { scheduled_start_time: asc }) { id name "
    "state auto_scheduled scheduled_start_time parameters labels idempotency_key } }"
)


UNANSWERED = """
import datetime, json
from prefect import Flow, Parameter
from prefect.schedules import IntervalSchedule
with Flow("unanswered", schedule=IntervalSchedule(interval=datetime.timedelta(hours=1))) as flow:
    Parameter("what")()
print(json.dumps(flow.serialize(build=False)))
"""


@attrs.frozen
class Ticking:
    """The flows of flows/ticking.py, registered."""

    real: RealPrefect
    ids: dict[str, str]

    def runs(self, name: str) -> list[dict[str, Any]]:
        """All runs of a flow, by time."""
        rows: list[dict[str, Any]] = self.real.graphql(RUNS, {"id": self.ids[name]})["flow_run"]
        return rows

    def times(self, name: str) -> list[datetime]:
        """When its runs are due."""
        return [datetime.fromisoformat(run["scheduled_start_time"]) for run in self.runs(name)]


@pytest.fixture(scope="module")
def ticking(real: RealPrefect) -> Ticking:
    """Registered with ``Flow.register``."""
    given = {"project": "schedules", "paths": [str(HERE / "flows" / "ticking.py")]}
    return Ticking(real, real.program(HERE / "programs" / "register.py", given))


def test_ten_runs_are_made_ahead(ticking: Ticking) -> None:
    """At registration, at the times of the schedule, each with a key of its own."""
    runs = ticking.runs("hourly")
    assert len(runs) == 10
    times = ticking.times("hourly")
    assert {b - a for a, b in pairwise(times)} == {timedelta(hours=1)}
    assert {run["state"] for run in runs} == {"Scheduled"}
    assert all(run["auto_scheduled"] for run in runs)
    assert all(run["idempotency_key"].startswith("auto-scheduled:") for run in runs)
    assert [run["parameters"] for run in runs] == [{"what": "tick"}] * 10


def test_cron_minds_the_time_zone(ticking: Ticking) -> None:
    """Six o'clock in Berlin, a day apart or an hour more or less when the clocks change."""
    times = ticking.times("at six")
    assert len(times) == 10
    assert {time.hour for time in times} <= {4, 5}
    assert {time.minute for time in times} == {0}


OWN_TIMES = """
import json, sys, pendulum
from prefect.backend import FlowView
if not hasattr(pendulum.tz, "_Timezone"):  # the client asserts its type, by a name that pendulum 3 does not have
    pendulum.tz._Timezone = pendulum.tz.Timezone
flows = {name: FlowView.from_flow_id(id).flow for name, id in json.loads(sys.argv[1]).items()}
print(json.dumps({name: [str(when) for when in flow.schedule.next(10)] for name, flow in flows.items()}))
"""


def test_recurrence_rules_are_kept(ticking: Ticking, tmp_path: Path) -> None:
    """A rule, and a set of rules with dates and exclusions: the times that the client itself reads out of them."""
    program = tmp_path / "times.py"
    program.write_text(OWN_TIMES.replace("sys.argv[1]", repr(json.dumps(ticking.ids))), encoding="utf-8")
    expected = ticking.real.program(program)

    for name in ("last fridays", "ruled", "hourly", "at six"):
        own, planned = [datetime.fromisoformat(when) for when in expected[name]], ticking.times(name)
        missed = [when for when in planned if when < own[0]]  # a time that came between both questions
        assert all(when <= datetime.now(timezone.utc) for when in missed)
        still = planned[len(missed) :][:10]
        assert len(still) >= 9
        assert still == own[: len(still)]
    assert {json.dumps(run["parameters"]) for run in ticking.runs("ruled")} == {'{"what": "rule"}'}


def test_a_schedule_that_cannot_give_a_parameter_stays_off(ticking: Ticking) -> None:
    """Nobody gives the parameter, so nothing is scheduled. The client refuses such a flow, so it is sent by hand."""
    serialized = ticking.real.script(UNANSWERED)
    create = "mutation($i: create_flow_input!) { create_flow(input: $i) { id } }"
    project = ticking.real.graphql("query { project { id } }")["project"][0]["id"]
    given = {"i": {"project_id": project, "serialized_flow": json.loads(serialized), "set_schedule_active": True}}
    flow_id = ticking.real.graphql(create, given)["create_flow"]["id"]
    query = "query($id: uuid!) { flow_by_pk(id: $id) { is_schedule_active schedule } }"
    row = ticking.real.graphql(query, {"id": flow_id})["flow_by_pk"]
    assert (row["is_schedule_active"], row["schedule"]["clocks"][0]["type"]) == (False, "IntervalClock")
    assert ticking.real.graphql(RUNS, {"id": flow_id})["flow_run"] == []


def test_a_schedule_is_switched_off_and_on(ticking: Ticking) -> None:
    """Off takes the planned runs away, on makes them again, twice on makes none twice."""
    flow = {"i": {"flow_id": ticking.ids["at six"]}}
    off = "mutation($i: set_schedule_inactive_input!) { set_schedule_inactive(input: $i) { success } }"
    on = "mutation($i: set_schedule_active_input!) { set_schedule_active(input: $i) { success } }"
    before = ticking.times("at six")
    assert len(before) == 10
    assert ticking.real.graphql(off, flow) == {"set_schedule_inactive": {"success": True}}
    assert ticking.runs("at six") == []
    for _ in range(2):
        assert ticking.real.graphql(on, flow) == {"set_schedule_active": {"success": True}}
    assert ticking.times("at six") == before


def test_a_new_version_takes_the_schedule_over(ticking: Ticking) -> None:
    """`prefect register` with --no-schedule leaves it off; the old version's planned runs are gone either way."""
    real, path = ticking.real, str(HERE / "flows" / "ticking.py")
    words = ("register", "--project", "schedules", "-p", path, "-n", "hourly", "--force")
    old = ticking.ids["hourly"]
    off = found(r"ID: (\S+)", real.cli(*words, "--no-schedule"))
    assert real.graphql(RUNS, {"id": old})["flow_run"] == []
    assert real.graphql(RUNS, {"id": off})["flow_run"] == []
    on = found(r"ID: (\S+)", real.cli(*words, "--schedule"))
    assert len(real.graphql(RUNS, {"id": on})["flow_run"]) == 10


def test_a_dated_run_begins_in_time_with_its_clocks_parameters(ticking: Ticking) -> None:
    """An agent with the clock's label starts the run that the schedule made. The last test: that run takes its time."""
    real = ticking.real
    first, second = ticking.runs("dated")
    assert (first["parameters"], first["labels"], first["auto_scheduled"]) == ({"what": "tock"}, ["clock"], True)
    words = ("start", "process", "--interpreter", str(real.python), "--label", "clock")
    with real.agent(*words, "--env", "PREFECT__CLOUD__HEARTBEAT_MODE=thread"):
        wait_until(lambda: real.states([first["id"]]) == ["Success"], 300, "Success")
    assert real.states([second["id"]]) == ["Scheduled"]
    query = "query($id: uuid!) { flow_run_by_pk(id: $id) { start_time scheduled_start_time } }"
    row = real.graphql(query, {"id": first["id"]})["flow_run_by_pk"]
    assert row["start_time"] >= row["scheduled_start_time"]

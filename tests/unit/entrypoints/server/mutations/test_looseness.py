"""The embedded Cloud in its mode as loose as Prefect Server, and what its strict mode does with a takeover."""

from collections.abc import Generator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from prefect.agent.adapters.fakes import ManualClock
from prefect.agent.domain.cloud.rescue import LOST
from prefect.agent.domain.cloud.selection import LIMIT
from prefect.agent.domain.cloud.strictness import LOOSE
from prefect.agent.domain.times import iso
from prefect.agent.entrypoints.server.services import Services
from support.embedded import Embedded, Json, task_run

GONE = "00000000-0000-4000-8000-000000000099"
"""The id of no run and of no tenant."""


@pytest.fixture
def clock() -> ManualClock:
    """The time of both Clouds."""
    return ManualClock()


@pytest.fixture
def loose(tmp_path: Path, clock: ManualClock) -> Generator[Embedded]:
    """A Cloud as loose as Prefect Server."""
    cloud = Embedded(tmp_path / "loose.db", LOOSE, clock.now)
    yield cloud
    cloud.database.close()


@pytest.fixture
def strict(tmp_path: Path, clock: ManualClock) -> Generator[Embedded]:
    """The embedded Cloud as it is if nothing else is asked for."""
    cloud = Embedded(tmp_path / "strict.db", now=clock.now)
    yield cloud
    cloud.database.close()


def entry(run: str, kind: str, **more: Any) -> Json:
    """One state of a mutation."""
    return {"flow_run_id": run, "state": {"type": kind, "message": kind}, **more}


@pytest.mark.parametrize("before", ["Scheduled", "Submitted", "Running", "Cancelling", "Success", "Failed"])
@pytest.mark.parametrize("version", [None, 0, 7])
def test_a_claim_is_accepted_from_any_state(
    loose: Embedded, clock: ManualClock, before: str, version: int | None
) -> None:
    """At whatever version: nothing is compared."""
    run = loose.run(loose.flow(loose.project()))
    loose.set_state(run, before)
    clock.advance(30)

    assert loose.set_state(run, "Submitted", version=version)["status"] == "SUCCESS"
    assert loose.row("flow_run", run, "state version") == {"state": "Submitted", "version": 3}


@pytest.mark.parametrize("between", [None, "Running", "Scheduled", "Success"])
def test_within_30_seconds_of_a_claim_there_is_no_other(
    loose: Embedded, clock: ManualClock, between: str | None
) -> None:
    """Whatever happened to the run since; the lock is its own only, and is over in time."""
    flow = loose.flow(loose.project())
    run, other = loose.run(flow), loose.run(flow)
    loose.set_state(run, "Submitted", version=1)
    if between:
        loose.set_state(run, between)
    clock.advance(29.9)

    assert "already been submitted" in loose.refused_state(run, "Submitted", 1)["message"]
    loose.set_state(other, "Submitted", version=1)
    clock.advance(0.1)
    loose.set_state(run, "Submitted", version=1)


def test_the_lock_is_in_the_memory_of_one_process(loose: Embedded) -> None:
    """Another replica on the same data knows nothing of it."""
    run = loose.run(loose.flow(loose.project()))
    loose.set_state(run, "Submitted")

    path = loose.path
    loose.database.close()
    again = Embedded(path, LOOSE, loose.now)
    again.set_state(run, "Submitted")
    again.database.close()


def test_a_task_run_can_be_claimed_at_any_time(loose: Embedded) -> None:
    """Its claims are not locked either."""
    run = loose.run(loose.flow(loose.project(), tasks=1))
    task = task_run(loose, run)
    for _ in range(2):
        states = [{"task_run_id": task, "version": 9, "state": {"type": "Submitted"}}]
        loose.change("set_task_run_states", "states { id }", states=states)

    assert loose.row("task_run", task, "state version") == {"state": "Submitted", "version": 3}


def test_of_several_states_those_that_can_be_set_stay_set(loose: Embedded) -> None:
    """All are attempted, in order; one that is refused fails the whole field, in its words."""
    flow = loose.flow(loose.project())
    first, taken, last = (loose.run(flow) for _ in range(3))
    loose.set_state(taken, "Submitted")
    states = [entry(run, "Submitted") for run in (first, taken, GONE, last)]

    error = loose.refused("set_flow_run_states", "states { id }", states=states)

    assert "already been submitted" in error["message"]
    assert [loose.state(run) for run in (first, taken, last)] == ["Submitted"] * 3
    assert loose.row("flow_run", taken, "version") == {"version": 2}
    loose.set_state(first, "Running")  # the next request finds everything in order


def test_a_state_is_set_whole_or_not_at_all(loose: Embedded) -> None:
    """What is refused leaves no history behind, though the others stay."""
    run = loose.run(loose.flow(loose.project(), tasks=1))
    task = task_run(loose, run)
    states = [{"task_run_id": task, "state": {"type": kind}} for kind in ("Running", "Failed")]

    error = loose.refused("set_task_run_states", "states { id }", states=states)

    assert "not Running" in error["message"]
    found = loose.row("task_run", task, "state states(order_by: { version: asc }) { state }")
    assert found == {"state": "Failed", "states": [{"state": "Pending"}, {"state": "Failed"}]}


@pytest.mark.parametrize(("foreign", "is_found"), [(74, True), (75, False)])
def test_runs_for_others_at_the_head_hide_the_rest(loose: Embedded, foreign: int, is_found: bool) -> None:
    """75 due runs are read, then labels are looked at."""
    flow = loose.flow(loose.project())
    for number in range(foreign):
        loose.run(flow, labels=[f"other-{number % 3}"], scheduled_start_time="2020-01-01T00:00:00Z")
    mine = loose.run(flow, labels=["mine"], scheduled_start_time="2020-01-02T00:00:00Z")

    assert loose.queue("mine") == [mine] * is_found


def test_the_queue_is_cut_last(loose: Embedded) -> None:
    """At most 25 ids, oldest first."""
    flow = loose.flow(loose.project())
    runs = [loose.run(flow, scheduled_start_time=f"2020-01-01T00:00:{second:02}Z") for second in range(30, 0, -1)]

    assert loose.queue() == runs[::-1][:LIMIT]


def test_an_unknown_tenant_has_no_runs(loose: Embedded, strict: Embedded) -> None:
    """A list without runs where nothing is compared, an error where the tenant must exist."""
    for cloud in (loose, strict):
        cloud.run(cloud.flow(cloud.project()))

    assert loose.change("get_runs_in_queue", "flow_run_ids", tenant_id=GONE) == {"flow_run_ids": []}
    assert GONE in strict.refused("get_runs_in_queue", "flow_run_ids", tenant_id=GONE)["message"]


def test_version_locking_does_nothing(loose: Embedded) -> None:
    """Prefect Server takes the switch and ignores it."""
    flow = loose.flow(loose.project())
    run = loose.run(flow)
    loose.change("enable_flow_version_lock", "success", flow_id=flow)

    assert loose.set_state(run, "Running", version=17)["status"] == "SUCCESS"


# --- the strict mode ---


def test_a_takeover_is_a_claim(strict: Embedded, clock: ManualClock) -> None:
    """At its version a Submitted run gets a new claimant: not due, heard of now, its agent the one that asks."""
    flow = strict.flow(strict.project())
    run = strict.run(flow)
    agents = [
        strict.change("register_agent", "id", type="LocalAgent", name=name, labels=[])["id"] for name in ("a", "b")
    ]
    for version, agent in zip((1, 2), agents, strict=True):
        clock.advance(60)
        headers = {"x-prefect-agent-id": agent}
        strict.change(
            "set_flow_run_states", "states { id }", headers, states=[entry(run, "Submitted", version=version)]
        )

    row = strict.row("flow_run", run, "state version heartbeat agent_id state_start_time")
    assert row == {
        "state": "Submitted",
        "version": 3,
        "heartbeat": iso(clock.now()),
        "agent_id": agents[1],
        "state_start_time": None,
    }
    assert strict.queue() == []
    assert strict.database.glance("SELECT due FROM flow_run") == (None,)


@pytest.mark.parametrize("version", [None, 1, 3])
def test_a_takeover_needs_the_version_of_the_claim(strict: Embedded, version: int | None) -> None:
    """Of two agents that take over the same claim, one does."""
    run = strict.run(strict.flow(strict.project()))
    strict.set_state(run, "Submitted", version=1)

    assert "State update failed" in strict.refused_state(run, "Submitted", version)["message"]
    strict.set_state(run, "Submitted", version=2)
    assert "State update failed" in strict.refused_state(run, "Submitted", 2)["message"]


def test_of_several_claims_all_or_none_is_made(strict: Embedded) -> None:
    """One that is refused takes the others back."""
    flow = strict.flow(strict.project())
    first, taken = strict.run(flow), strict.run(flow)
    strict.set_state(taken, "Submitted")

    strict.refused("set_flow_run_states", "states { id }", states=[entry(run, "Submitted") for run in (first, taken)])

    assert strict.state(first) == "Scheduled"


def test_lazarus_waits_for_the_new_claimant(strict: Embedded, clock: ManualClock) -> None:
    """A claim that was taken over has its whole time again, then the run is scheduled again."""
    run = strict.run(strict.flow(strict.project()))
    lazarus = Services(strict.database, now=clock.now, since=clock.now() - timedelta(days=1))
    strict.set_state(run, "Submitted", version=1)
    clock.advance(LOST.total_seconds() - 1)
    strict.set_state(run, "Submitted", version=2)
    clock.advance(LOST.total_seconds() - 1)

    assert sum(lazarus.resurrect()) == 0
    clock.advance(2)
    assert sum(lazarus.resurrect()) == 1
    assert strict.row("flow_run", run, "state version") == {"state": "Scheduled", "version": 4}
    assert strict.queue() == [run]


def test_a_takeover_of_a_task_run_is_a_sign_of_life(strict: Embedded, clock: ManualClock) -> None:
    """Lazarus lets the new claimant of a Running run start it, and the run is not offered meanwhile."""
    run = strict.run(strict.flow(strict.project(), tasks=1))
    task = task_run(strict, run)
    lazarus = Services(strict.database, now=clock.now, since=clock.now() - timedelta(days=1))
    strict.set_state(run, "Running")
    for version, kind in ((1, "Retrying"), (2, "Submitted"), (3, "Submitted")):
        states = [{"task_run_id": task, "version": version, "state": {"type": kind}}]
        strict.change("set_task_run_states", "states { id }", states=states)
        clock.advance(LOST.total_seconds() - 1)

    assert strict.row("flow_run", run, "heartbeat") == {"heartbeat": iso(clock.now() - LOST + timedelta(seconds=1))}
    assert (sum(lazarus.resurrect()), strict.queue()) == (0, [])
    clock.advance(2)
    assert sum(lazarus.resurrect()) == 1

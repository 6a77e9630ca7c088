"""Lazarus and the zombie killer of the embedded Cloud (protocol section 13.5)."""

from collections.abc import Generator
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest

from prefect.agent.domain.times import read_time
from prefect.agent.entrypoints.server.services import BATCH, PERIODS, Routine, Services
from support.embedded import Embedded
from support.server_rounds import LATER, a_silent_run, logs, put_task, services, silence, states


@pytest.fixture
def cloud(tmp_path: Path) -> Generator[Embedded]:
    """An empty Cloud."""
    embedded = Embedded(tmp_path / "cloud.db")
    yield embedded
    embedded.database.close()


def test_a_zombie_is_buried_and_its_flow_run_rises(cloud: Embedded) -> None:
    """The task is Failed; then Lazarus schedules the flow run for an agent, three times, and gives up."""
    run, task_id = a_silent_run(cloud)
    assert sum(services(cloud).resurrect()) == 0
    assert sum(services(cloud).bury()) == 1
    assert states(cloud, run, task_id) == ("Running", "Failed")

    for times in (1, 2, 3):
        assert sum(services(cloud).resurrect()) == 1
        assert cloud.row("flow_run", run, "state times_resurrected") == {
            "state": "Scheduled",
            "times_resurrected": times,
        }
        assert cloud.queue() == [run]
        cloud.set_state(run, "Submitted")
        cloud.set_state(run, "Running")
        assert sum(services(cloud, datetime.now(timezone.utc)).resurrect()) == 0
        silence(cloud, run)
    assert sum(services(cloud).resurrect()) == 1
    assert cloud.state(run) == "Failed"
    assert sorted(logs(cloud, run)) == ["prefect-agent.Lazarus"] * 4 + ["prefect-agent.ZombieKiller"]


def test_a_zombie_with_retries_left_is_tried_again(cloud: Embedded) -> None:
    """After its delay an agent is given the flow run; Lazarus keeps away meanwhile."""
    run, task_id = a_silent_run(cloud, max_retries=1, retry_delay=60)
    assert sum(services(cloud).bury()) == 1

    assert states(cloud, run, task_id) == ("Running", "Retrying")
    row = cloud.row("task_run", task_id, "state_start_time serialized_state")
    assert read_time(row["state_start_time"]) == LATER + timedelta(seconds=60)
    assert row["serialized_state"]["run_count"] == 1
    assert sum(services(cloud).resurrect()) == 0
    assert cloud.queue(before=LATER.isoformat()) == []
    assert cloud.queue() == [run]
    put_task(cloud, task_id, "Running")
    silence(cloud, run)
    assert sum(services(cloud).bury()) == 1
    assert states(cloud, run, task_id) == ("Running", "Failed")


def test_a_cancellation_that_nobody_finishes_is_finished(cloud: Embedded) -> None:
    """Both the task run and the flow run are Failed."""
    run, task_id = a_silent_run(cloud)
    cloud.change("cancel_flow_run", "state", flow_run_id=run)
    silence(cloud, run)

    assert sum(services(cloud).bury()) == 2
    assert states(cloud, run, task_id) == ("Failed", "Failed")


@pytest.mark.parametrize("switch", ["disable_flow_heartbeat", "disable_flow_lazarus_process"])
def test_flows_can_opt_out(cloud: Embedded, switch: str) -> None:
    """And back in; flow processes learn of it from the settings of their flow."""
    run, task_id = a_silent_run(cloud)
    put_task(cloud, task_id, "Success")
    flow = cloud.row("flow_run", run, "flow_id")["flow_id"]
    silence(cloud, run)
    assert cloud.change(switch, "success", flow_id=flow)["success"]
    expected = {"heartbeat_enabled": False} if switch == "disable_flow_heartbeat" else {}
    assert cloud.row("flow", flow, "settings") == {"settings": expected}

    assert sum(services(cloud).resurrect()) == 0
    assert cloud.change(switch.replace("disable", "enable"), "success", flow_id=flow)["success"]
    assert sum(services(cloud).resurrect()) == 1


def test_a_claim_of_a_task_run_is_a_sign_of_life(cloud: Embedded) -> None:
    """A flow run that was silent while its task waited is not taken up by Lazarus when an agent has just claimed it."""
    run, task_id = a_silent_run(cloud, minutes=60)
    put_task(cloud, task_id, "Retrying")
    put_task(cloud, task_id, "Submitted")
    assert sum(services(cloud, datetime.now(timezone.utc)).resurrect()) == 0

    silence(cloud, run)
    assert sum(services(cloud).resurrect()) == 1


def test_a_queued_run_whose_process_died_is_scheduled_again(cloud: Embedded) -> None:
    """When nobody has asked for a place for long: agents do not start Queued runs."""
    cloud.change("update_flow_concurrency_limit", "id", label="narrow", limit=0)
    run = cloud.run(cloud.flow(cloud.project()), labels=["narrow"])
    cloud.set_state(run, "Submitted")
    assert cloud.set_state(run, "Running")["status"] == "QUEUED"
    silence(cloud, run)
    assert sum(services(cloud, datetime.now(timezone.utc) + timedelta(minutes=11)).resurrect()) == 0

    assert sum(services(cloud).resurrect()) == 1
    assert cloud.state(run) == "Scheduled"
    assert logs(cloud, run) == ["prefect-agent.Lazarus"]


def test_who_is_heard_is_left_alone(cloud: Embedded) -> None:
    """So is everybody in the first ten minutes after a restart."""
    run, task_id = a_silent_run(cloud, minutes=9)
    assert (sum(services(cloud).bury()), sum(services(cloud).resurrect())) == (0, 0)
    silence(cloud, run)
    started = Services(cloud.database, now=lambda: LATER, since=LATER - timedelta(minutes=9))
    assert (sum(started.bury()), sum(started.resurrect())) == (0, 0)
    assert states(cloud, run, task_id) == ("Running", "Running")


def test_more_dead_runs_than_a_step_looks_at(cloud: Embedded) -> None:
    """All are found, and each once, also behind those that are left alone."""
    flow = cloud.flow(cloud.project())
    runs = [cloud.run(flow) for _ in range(2 * BATCH + 1)]
    for run in runs:
        cloud.set_state(run, "Running")
        silence(cloud, run)

    assert sum(services(cloud).resurrect()) == len(runs)
    assert {cloud.state(run) for run in runs} == {"Scheduled"}


def test_a_routine_says_what_works_and_when(cloud: Embedded) -> None:
    """What it does not name stays as usual; how long a silence may be is the Cloud's to say."""
    routine = Routine(periods={"lazarus": 1}, lost=timedelta(seconds=30))
    assert routine.periods == {**PERIODS, "lazarus": 1}
    run, _ = a_silent_run(cloud, minutes=1)
    patient = Services(cloud.database, Routine(), now=lambda: LATER, since=LATER - timedelta(days=1))
    strict = Services(cloud.database, routine, now=lambda: LATER, since=LATER - timedelta(seconds=30))

    assert (sum(patient.bury()), sum(strict.bury()), sum(strict.resurrect())) == (0, 1, 1)
    assert cloud.state(run) == "Scheduled"

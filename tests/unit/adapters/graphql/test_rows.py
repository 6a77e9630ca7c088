"""Rows as real backends send them become flow runs."""

import json
from collections.abc import Mapping
from datetime import datetime, timedelta, timezone
from typing import Any

import attrs
import pytest

from prefect.agent.adapters.graphql import records, wire
from prefect.agent.domain.model.ends import HANDED_BACK_FOR
from prefect.agent.domain.model.flow_runs import ClaimRecord, Flow, FlowRun, TaskRunId
from prefect.agent.domain.model.run_configs import Storage, UniversalRun
from support.builders import NOW, a_record, an_id

LATE = datetime(2030, 1, 1, tzinfo=timezone.utc)
"""After everything in the vectors was due."""

# --- rows as real backends send them ---

T07 = json.loads("""{
  "id": "00000000-0000-4000-8000-000000000001", "version": 1, "state": "Scheduled",
  "serialized_state": {"type": "Scheduled", "message": "Flow run scheduled.",
    "start_time": "2022-05-04T06:48:30.056652+00:00", "__version__": "1.4.1"},
  "parameters": {}, "scheduled_start_time": "2022-05-04T06:48:30.056652+00:00",
  "run_config": {"labels": ["a", "extra", "host1"], "env": null, "__version__": "1.4.1", "type": "UniversalRun"},
  "name": "amber-fox",
  "flow": {"core_version": "1.4.1", "environment": null, "name": "agentflow",
    "id": "00000000-0000-4000-8000-000000000002",
    "storage": {"secrets": [], "stored_as_script": true, "directory": "/home/u/.prefect/flows",
      "path": "/flows/demo.py", "flows": {"agentflow": "/flows/demo.py"}, "__version__": "1.4.1", "type": "Local"},
    "version": 1},
  "task_runs": []}""")

T14 = json.loads("""{
  "id": "00000000-0000-4000-8000-000000000004", "version": 2, "state": "Running",
  "serialized_state": {"message": "Running flow.", "context": {}, "type": "Running"},
  "run_config": {"env": null, "labels": ["host1"], "__version__": "1.4.1", "type": "UniversalRun"},
  "name": "amber-fox",
  "flow": {"name": "longretry", "core_version": "1.4.1", "id": "00000000-0000-4000-8000-000000000005",
    "storage": {"type": "Local"}},
  "task_runs": [{"version": 4, "id": "00000000-0000-4000-8000-000000000007",
    "task_id": "00000000-0000-4000-8000-000000000006",
    "serialized_state": {"start_time": "2022-05-04T07:03:32.042985+00:00", "run_count": 1, "context": {},
      "message": "r", "__version__": "1.4.1", "type": "Retrying"}}]}""")


def read(row: Mapping[str, Any]) -> FlowRun:
    """A run that can be read."""
    run = wire.read_flow_run(row, LATE)
    assert run is not None
    return run


def test_t07_a_scheduled_run() -> None:
    """Id, version, due time, flow and run config of a run as a real backend sends it."""
    run = read(T07)

    assert (run.id, str(run.attempt), run.name) == (an_id(1), "1", "amber-fox")
    assert run.due == datetime(2022, 5, 4, 6, 48, 30, 56652, tzinfo=timezone.utc)
    assert run.flow == Flow(id=an_id(2), name="agentflow", core_version="1.4.1", storage=Storage(type="Local"))
    assert run.run_config == UniversalRun()
    assert (run.due_task_runs, run.claim) == ((), None)
    assert run.source == T07


def test_t08_a_claim_wraps_the_state_it_moves_on_from() -> None:
    """The flow process unwraps Submitted to find the state, and its start time, below it."""
    run = read(T07)
    record = a_record(run)

    state = records.submitted_state(T07["serialized_state"], record)

    assert (state["type"], state["message"]) == ("Submitted", "Submitted for execution")
    assert state["state"] == T07["serialized_state"]
    assert {"context", "cached_inputs", "_result", "__version__"} <= set(state)


def test_a_claim_can_be_read_back() -> None:
    """The record that went into the Submitted state comes out of it again (promise P2)."""
    record = a_record(read(T07))
    sent = json.loads(json.dumps(records.submitted_state(T07["serialized_state"], record)))

    run = read({**T07, "state": "Submitted", "version": 2, "serialized_state": sent})

    assert run.claim == record


def test_every_field_of_a_record_can_be_read_back() -> None:
    """Lease times travel as texts, with their microseconds."""
    until = datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=timezone.utc)
    record = attrs.evolve(
        a_record(read(T07)), place="m:1", fingerprint="f", claimed_at=NOW, create_until=until, recoveries=3
    )
    sent = json.loads(json.dumps(records.submitted_state(T07["serialized_state"], record)))

    assert records.read_record(sent) == record
    assert sent["context"][records.RECORD_KEY]["create_until"] == "2026-01-02T03:04:05.678901+00:00"


OLD: dict[str, Any] = {"claimant": "c", "platform": "p", "unit": "u", "attempt": "1", "agent_name": "a"}


@pytest.mark.parametrize(
    "more",
    [
        {},
        {"claimed_at": 7, "create_until": "soon", "recoveries": "3", "place": [], "fingerprint": None},
        {"claimed_at": "9999-12-31T23:59:59-23:59", "recoveries": True},
        {"recoveries": -5},
    ],
    ids=["older agent", "wrong types", "out of range", "negative"],
)
def test_a_record_without_a_lease(more: dict[str, Any]) -> None:
    """Records of older agents are read; what else is in a record is read if it makes sense."""
    record = records.read_record({"context": {records.RECORD_KEY: {**OLD, **more}}})

    assert record == ClaimRecord(**OLD)


def test_recoveries_are_bounded() -> None:
    """A number without end in a record can be counted on."""
    record = records.read_record({"context": {records.RECORD_KEY: {**OLD, "recoveries": 10**40}}})

    assert record is not None
    assert record.recoveries == records.MAX_RECOVERIES


def claims(*states: tuple[str, str, str]) -> list[dict[str, Any]]:
    """History rows of type, time and unit."""
    return [
        {
            "state": kind,
            "version": 9,
            "timestamp": f"2026-01-01T00:0{minute}:00Z",
            "serialized_state": {"type": kind, "context": {records.RECORD_KEY: {**OLD, "unit": unit}}},
        }
        for kind, minute, unit in states
    ]


@pytest.mark.parametrize(
    ("of_run", "of_tasks", "unit"),
    [
        ([("Submitted", "1", "x")], [], "x"),
        ([("Scheduled", "1", "x")], [], None),
        ([], [("Submitted", "1", "y")], "y"),
        ([("Submitted", "1", "x")], [("Submitted", "2", "y")], "y"),
        ([("Submitted", "3", "x")], [("Submitted", "2", "y")], "x"),
        ([("Scheduled", "3", "x")], [("Submitted", "2", "y")], None),
        ([("Submitted", "1", "x")], [("Submitted", "2", "y"), ("Submitted", "4", "z")], "z"),
    ],
)
def test_a_run_belongs_to_its_latest_claim(of_run: Any, of_tasks: Any, unit: str | None) -> None:
    """The later claim counts, whether of the run or of a task run of it; being scheduled again ends them all."""
    claimed = [{"claims": [state]} for state in claims(*of_tasks)]
    run = read({**T14, "task_runs": [], "claims": claims(*of_run), "claimed": claimed})

    assert (run.claim and run.claim.unit) == unit


def test_a_claim_of_another_product_is_the_latest_too() -> None:
    """A later Submitted state without our record: the run is not ours any more."""
    latest = {**claims(("Submitted", "3", "x"))[0], "serialized_state": {"type": "Submitted"}}
    claimed = [{"claims": claims(("Submitted", "2", "y"))}]

    assert read({**T14, "claims": [latest], "claimed": claimed}).claim is None


def test_a_claim_over_wraps_the_state_that_waited() -> None:
    """However often a run is claimed over, its Submitted state wraps the state that waited first."""
    first = records.submitted_state(T07["serialized_state"], a_record(read(T07)))
    second = records.submitted_state(first, a_record(read(T07), claimant="agent-2"))

    assert second["state"] == T07["serialized_state"]
    assert second["context"][records.RECORD_KEY]["claimant"] == "agent-2"


@pytest.mark.parametrize(
    ("waited", "start"),
    [
        (T07["serialized_state"], NOW),
        ({"type": "Retrying", "run_count": 2, "start_time": "2030-01-01T00:00:00Z", "context": {"a": 1}}, LATE),
        ({"type": "Retrying", "start_time": "soon"}, NOW),
        ({"type": "Failed"}, NOW),
        (None, NOW),
        (7, NOW),
    ],
)
def test_a_run_is_handed_back_as_it_waited(waited: Any, start: datetime) -> None:
    """The wrapped state comes back, type and all, with its own time or a minute from now, whichever is later."""
    state = records.handed_back_state(
        {"type": "Submitted", "state": waited}, "no\x00 place", now=NOW - HANDED_BACK_FOR, recoveries=2
    )

    kept: dict[str, Any] = waited if isinstance(waited, dict) and waited["type"] != "Failed" else {"type": "Scheduled"}
    assert state["type"] == kept["type"]
    assert state.get("run_count") == kept.get("run_count")
    assert datetime.fromisoformat(state["start_time"]) == start
    assert state["context"] == {**kept.get("context", {}), records.RECORD_KEY: {"recoveries": 2}}
    assert state["message"] == "no\ufffd place"
    assert records.read_recoveries(state) == 2


@pytest.mark.parametrize("context", [None, [], {}, {records.RECORD_KEY: {}}, {records.RECORD_KEY: {"unit": 3}}])
def test_a_claim_of_another_product_has_no_record(context: object) -> None:
    """Official agents leave no record: their claims are not ours to recover."""
    run = read({**T07, "state": "Submitted", "serialized_state": {"type": "Submitted", "context": context}})

    assert run.claim is None


def test_t14_a_running_run_with_a_due_retry() -> None:
    """The task run that waits is what is claimed; its state has no say about when the run is due."""
    run = read(T14)

    [task_run] = run.due_task_runs
    assert (task_run.id, str(task_run.attempt), task_run.state.name) == (TaskRunId(an_id(7)), "4", "Retrying")
    assert run.due is None
    assert str(run.attempt).startswith("2-")


def test_a_task_run_that_waits_for_later_is_not_due() -> None:
    """It is not claimed before its time, but it is known to wait: the run's ended unit is no failure."""
    before = datetime(2022, 5, 4, 7, 3, 32, 42984, tzinfo=timezone.utc)

    run = wire.read_flow_run(T14, before)

    assert run is not None
    assert (run.due_task_runs, run.tasks_wait, str(run.attempt)) == ((), True, "2")
    assert wire.read_flow_run(T14, before + timedelta(microseconds=1)) == read(T14)


def test_every_retry_of_a_task_is_a_new_attempt() -> None:
    """A Running run keeps its version while tasks wait again and again: the unit's name must differ all the same."""
    later = json.loads(json.dumps(T14))
    later["task_runs"][0]["version"] = 6

    assert read(T14).attempt != read(later).attempt


def test_t15_the_record_of_a_claimed_task_run() -> None:
    """A claim of task runs is found again on the Running run."""
    record = a_record(read(T14))
    task = T14["task_runs"][0]
    sent = records.submitted_state(task["serialized_state"], record)

    run = read({**T14, "task_runs": [{**task, "version": 5, "state": "Submitted", "serialized_state": sent}]})

    assert run.claim == record
    assert run.due_task_runs == ()


@pytest.mark.parametrize(
    "row",
    [
        None,
        [],
        {},
        {**T07, "id": None},
        {**T07, "id": ""},
        {**T07, "version": "1"},
        {**T07, "version": True},
        {**T07, "state": None, "serialized_state": None},
    ],
)
def test_a_run_that_cannot_be_named_is_left_out(row: object) -> None:
    """Without id, version or state there is nothing that could be claimed or failed."""
    assert wire.read_flow_run(row, LATE) is None


def test_an_ended_state_has_a_bounded_message() -> None:
    """Container output as a reason must not exceed what backends take."""
    state = records.ended_state("Failed", "x" * 1_000_000)

    assert state["type"] == "Failed"
    assert len(json.dumps(state)) < 20_000

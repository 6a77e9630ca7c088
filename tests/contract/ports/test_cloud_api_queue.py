"""A queue whose head is full of runs that an agent skips hides none behind it."""

import json
from typing import Any

import attrs
import pytest

from prefect.agent.adapters.system import SystemClock
from prefect.agent.domain.model.flow_runs import FlowRunId
from prefect.agent.ports.cloud_api import CloudApi
from support.stub_cloud import ROW, Asked, Reply, Stub, says

# --- the queue ---


@attrs.define
class Queue:
    """A backend whose queue gives the first 25 of its runs, and whose table can be asked."""

    rows: list[dict[str, Any]]
    knows_contained_in: bool = True
    tables: list[Asked] = attrs.field(factory=list)

    def __call__(self, asked: Asked) -> Reply:
        """Answer."""
        if "get_runs_in_queue" in asked.query:
            return says(data={"get_runs_in_queue": {"flow_run_ids": [row["id"] for row in self.rows[:25]]}})
        if "_nin" not in asked.query:
            return says(data={"flow_run": [row for row in self.rows if f'"{row["id"]}"' in asked.query]})
        self.tables.append(asked)
        if "_contained_in" in asked.query and not self.knows_contained_in:
            return says(400, errors=[{"message": "no such field", "extensions": {"code": "GRAPHQL_VALIDATION_FAILED"}}])
        return says(data={"flow_run": [row for row in self.rows if f'"{row["id"]}"' not in asked.query]})


def queued(count: int, labels: Any = ()) -> list[dict[str, Any]]:
    """Rows of runs that wait."""
    return [{**ROW, "id": f"{'-'.join(labels) or 'none'}-{n:02}", "labels": list(labels)} for n in range(count)]


@pytest.mark.parametrize("knows_contained_in", [True, False])
def test_a_queue_full_of_skipped_runs_is_passed_by(cloud: CloudApi, stub: Stub, *, knows_contained_in: bool) -> None:
    """The table is asked by the queue's rules: labels that fit, and no run without labels for an agent with labels."""
    rows = [*queued(30, ["a"]), *queued(2, ["b"]), *queued(2), *queued(4, ["a", "c"])]
    stub.script = queue = Queue(rows, knows_contained_in)
    skip = [FlowRunId(row["id"]) for row in rows[:30]]

    def offered(limit: int) -> list[str]:
        found = cloud.ready_flow_runs(labels=["c", "a"], before=SystemClock().now(), limit=limit, skip=skip)
        return [run.id for run in found]

    assert offered(3) == ["a-c-00", "a-c-01", "a-c-02"]
    assert offered(9) == ["a-c-00", "a-c-01", "a-c-02", "a-c-03"]
    assert queue.tables[0].variables == {"labels": ["a", "c"]}
    assert len(queue.tables) == (2 if knows_contained_in else 3)


def test_the_table_is_not_asked_without_need(cloud: CloudApi, stub: Stub) -> None:
    """A queue that is not full, or offers something, is enough."""
    for rows, skipped in ((queued(24), 24), (queued(30), 24)):
        stub.script = queue = Queue(rows)
        skip = [FlowRunId(row["id"]) for row in rows[:skipped]]
        found = cloud.ready_flow_runs(labels=(), before=SystemClock().now(), limit=5, skip=skip)
        assert [run.id for run in found] == [row["id"] for row in rows[skipped:25]]
        assert queue.tables == []


def test_runs_that_wait_for_something_else_hide_none(cloud: CloudApi, stub: Stub) -> None:
    """A queue that also names runs that no agent can start, few or many: those behind them are offered."""
    for count in (3, 25):
        queue = Queue([*queued(count, ["q"]), *queued(4)])
        paused = {row["id"] for row in queue.rows[:count]}

        def answer(asked: Asked, queue: Queue = queue, paused: set[str] = paused) -> Reply:
            found = queue(asked)
            if "flow {" not in asked.query:
                return found
            rows = json.loads(found.body)["data"]["flow_run"]
            return says(data={"flow_run": [row for row in rows if row["id"] not in paused]})

        stub.script = answer
        found = cloud.ready_flow_runs(labels=(), before=SystemClock().now(), limit=2)
        assert [run.id for run in found] == ["none-00", "none-01"]

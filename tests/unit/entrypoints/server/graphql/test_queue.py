"""What agents are given is what the rules say of the rows as they are, after whatever happened to them."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from prefect.agent.domain.cloud.selection import LIMIT, READY_TYPES, STARTED, is_ready
from prefect.agent.domain.labels import labels_match
from prefect.agent.domain.times import read_time
from support.embedded import LATER, Embedded, task_run

STATES = (*READY_TYPES, "Running", "Submitted", "Success", "Failed", "Cancelling", "Cancelled")
TIMES = ("2020-01-01T00:00:00+00:00", "2021-01-01T00:00:00+00:00", "2998-01-01T00:00:00+00:00")
SETS: tuple[list[str], ...] = ([], ["a"], ["b"], ["a", "b"], ['"', "é"])


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Embedded]:
    """A Cloud for all examples: each adds runs of its own."""
    embedded = Embedded(tmp_path_factory.mktemp("queue") / "cloud.db")
    embedded.flow(embedded.project(), tasks=2)
    yield embedded
    embedded.database.close()


def expected(cloud: Embedded, agent: list[str], before: str) -> list[str]:
    """The queue worked out from all rows, by the rules."""
    with cloud.database.read() as tx:
        runs, tasks = tx.rows("flow_run", "1"), tx.rows("task_run", "1")
    found = []
    for run in runs:
        own = [task for task in tasks if task["flow_run_id"] == run["id"]]
        if labels_match(run["labels"], agent) and is_ready(run, own, read_time(before)):
            waiting = own if run["state"] == "Running" else [run]
            starts = [row["state_start_time"] for row in waiting if row["state"] in READY_TYPES]
            found.append((run["state"] not in STARTED, min(start for start in starts if start), run["id"]))
    return [run_id for _, _, run_id in sorted(found)[:LIMIT]]


change = st.tuples(st.sampled_from(["flow", "t-0", "t-1", "labels"]), st.sampled_from(STATES), st.sampled_from(TIMES))


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(changes=st.lists(st.tuples(st.integers(0, 2), change, st.sampled_from(SETS)), max_size=12))
def test_the_queue_follows_every_change(cloud: Embedded, changes: list[tuple[int, Any, list[str]]]) -> None:
    """Flow runs, their task runs and labels change in any order; the queue is as if it were worked out anew."""
    flow = cloud.ask("query { flow { id } }")["flow"][0]["id"]
    cloud.database._connection.execute("DELETE FROM flow_run")
    runs = [cloud.run(flow, labels=labels) for labels in SETS[:3]]
    for number, (what, state, start), labels in changes:
        payload = {"type": state, "message": "", "start_time": start}
        if what == "flow":
            given: Any = {"states": [{"flow_run_id": runs[number], "state": payload}]}
            cloud.mutate("set_flow_run_states", "states { id }", None, **given)  # a second claim is refused
        elif what == "labels":
            cloud.change("set_flow_run_labels", "success", flow_run_id=runs[number], labels=labels)
        else:
            given = {"states": [{"task_run_id": task_run(cloud, runs[number], what), "state": payload}]}
            cloud.mutate("set_task_run_states", "states { id }", None, **given)

    for agent in SETS:
        for before in (LATER, "2020-06-01T00:00:00+00:00"):
            assert cloud.queue(*agent, before=before) == expected(cloud, agent, before)


def test_a_run_with_labels_of_nobody_hides_no_other(cloud: Embedded) -> None:
    """Labels first, limit afterwards (protocol section 3.2)."""
    flow = cloud.ask("query { flow { id } }")["flow"][0]["id"]
    cloud.database._connection.execute("DELETE FROM flow_run")
    for number in range(LIMIT + 5):
        cloud.run(flow, labels=[f"nobody-{number}"], scheduled_start_time=TIMES[0])
    mine = [cloud.run(flow, labels=labels, scheduled_start_time=TIMES[1]) for labels in (["mine"], [])]

    assert cloud.queue("mine", before="2022-01-01T00:00:00+00:00") == mine[:1]
    assert cloud.queue(before="2022-01-01T00:00:00+00:00") == mine[1:]


def test_what_no_agent_starts_hides_nothing(cloud: Embedded) -> None:
    """Runs that were Queued when their process died come after those that can be started, however old they are."""
    flow = cloud.ask("query { flow { id } }")["flow"][0]["id"]
    cloud.database._connection.execute("DELETE FROM flow_run")
    queued = [cloud.run(flow) for _ in range(LIMIT)]
    for run in queued:
        cloud.set_state(run, "Queued", start_time=TIMES[0])
    mine = cloud.run(flow, scheduled_start_time=TIMES[1])

    assert cloud.queue() == [mine, *sorted(queued)[: LIMIT - 1]]


def test_labels_as_they_are_stored_are_labels(tmp_path: Path) -> None:
    """Quotes, commas and letters from elsewhere are no trouble."""
    cloud = Embedded(tmp_path / "cloud.db")
    labels = ['say "x"', "a,b", "[]", "é", "\\", ""]
    run = cloud.run(cloud.flow(cloud.project()), labels=labels)

    assert cloud.queue(*labels) == [run]
    assert cloud.queue(*labels[1:]) == []
    assert json.loads(cloud.database.glance("SELECT labels FROM flow_run")[0]) == sorted(labels)  # type: ignore[index]
    cloud.database.close()

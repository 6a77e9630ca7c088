"""The steps of a state change, over a store that is two dictionaries."""

from collections.abc import Iterable
from datetime import datetime, timedelta, timezone
from typing import Any

import attrs
import pytest

from prefect.agent.domain.cloud.changing import Columns, RunStore, change_flow_run, change_task_run
from prefect.agent.domain.cloud.errors import VERSION_LOCKING, CloudRefusal
from prefect.agent.domain.cloud.states import plain, scheduled
from prefect.agent.domain.cloud.strictness import LOOSE, STRICT, Claims, Strictness
from prefect.agent.domain.cloud.transitions import Accepted

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=timezone.utc)


def a_row(row_id: str, state: str) -> dict[str, Any]:
    """A run in a state, at version 1."""
    return {"id": row_id, "version": 1, "state": state, "serialized_state": {"type": state}, "state_start_time": None}


@attrs.define
class Memory(RunStore):
    """One flow run with its task runs.

    Attributes:
        full: Names of limits without a free place.
        written: Ids and states that were written, in order.
    """

    flow_run: dict[str, Any]
    tasks: list[dict[str, Any]] = attrs.field(factory=list)
    full: list[str] = attrs.field(factory=list)
    locked: bool = False
    now: datetime = NOW
    strictness: Strictness = STRICT
    claims: Claims = attrs.field(factory=Claims)
    written: list[tuple[str, str]] = attrs.field(factory=list)

    def is_version_locked(self, flow_run: Columns) -> bool:
        """As it was told."""
        return self.locked and flow_run["id"] == self.flow_run["id"]

    def full_limits_of_flow_run(self, flow_run: Columns) -> list[str]:
        """As it was told."""
        return self.full if flow_run["id"] == self.flow_run["id"] else []

    def full_limits_of_task_run(self, task_run: Columns) -> list[str]:
        """As it was told."""
        return self.full if task_run in self.tasks else []

    def task_runs(self, flow_run: Columns) -> Iterable[Columns]:
        """Those of the one flow run."""
        return self.tasks if flow_run["id"] == self.flow_run["id"] else []

    def write_flow_run(self, flow_run: Columns, accepted: Accepted) -> None:
        """Keep it."""
        self.written.append((flow_run["id"], accepted.values["state"]))

    def write_task_run(self, flow_run: Columns, task_run: Columns, accepted: Accepted) -> None:
        """Keep it, with the state that the flow run is in by then."""
        self.written.append((f"{task_run['id']} of {flow_run['state']}", accepted.values["state"]))


def test_a_change_is_written_once() -> None:
    """The state asked for is the state it gets."""
    store, state = Memory(a_row("run", "Submitted")), plain("Running", "begins")

    assert change_flow_run(store, store.flow_run, state) is state
    assert store.written == [("run", "Running")]


def test_a_flow_run_without_a_free_place_is_queued() -> None:
    """Only if it wants to begin; what it waited in is wrapped."""
    store = Memory(a_row("run", "Submitted"), full=["gpu"])

    got = change_flow_run(store, store.flow_run, plain("Running", "begins"))
    change_flow_run(store, store.flow_run, plain("Failed", "gives up"))

    assert (got.type, got.message) == ("Queued", "Queued by flow run label concurrency limit: gpu")
    assert store.written == [("run", "Queued"), ("run", "Failed")]


def test_a_task_run_without_a_free_place_is_queued() -> None:
    """Its own limits count, not those of its flow run."""
    store = Memory(a_row("run", "Running"), tasks=[a_row("task", "Pending")], full=["db"])

    got = change_task_run(store, store.flow_run, store.tasks[0], plain("Running", "begins"))

    assert (got.type, got.message) == ("Queued", "Queued by task run tag concurrency limit: db")
    assert store.written == [("task of Running", "Queued")]


def test_a_cancelled_flow_run_takes_its_unfinished_task_runs_with_it() -> None:
    """Finished ones stay; the flow run is Cancelled before they are."""
    tasks = [a_row("waits", "Retrying"), a_row("over", "Success"), a_row("runs", "Running")]
    store = Memory(a_row("run", "Cancelling"), tasks=tasks)

    change_flow_run(store, store.flow_run, plain("Cancelled", "done"))

    assert store.written == [
        ("run", "Cancelled"),
        ("waits of Cancelled", "Cancelled"),
        ("runs of Cancelled", "Cancelled"),
    ]


def test_a_refused_change_writes_nothing() -> None:
    """Neither the run nor its claim: a claim at another version is lost."""
    store = Memory(a_row("run", "Scheduled"))

    with pytest.raises(CloudRefusal, match="at version 1, not 7"):
        change_flow_run(store, store.flow_run, plain("Submitted", "mine"), version=7)

    assert (store.written, dict(store.claims.remembered)) == ([], {})


def test_a_second_claim_comes_too_soon_where_nothing_is_compared() -> None:
    """A loose Cloud remembers claims instead of comparing versions."""
    store = Memory(a_row("run", "Scheduled"), strictness=LOOSE)
    change_flow_run(store, store.flow_run, plain("Submitted", "mine"))
    store.now += timedelta(seconds=29)

    with pytest.raises(CloudRefusal, match="already been submitted"):
        change_flow_run(store, store.flow_run, plain("Submitted", "mine, too"))

    assert store.written == [("run", "Submitted")]


@pytest.mark.parametrize("of", ["flow run", "task run"])
def test_a_locked_version_is_compared_when_a_run_begins(of: str) -> None:
    """Of flow runs and task runs alike; unlocked runs are not asked."""
    store = Memory(a_row("run", "Running"), tasks=[a_row("task", "Pending")], locked=True)

    def begin() -> None:
        if of == "flow run":
            change_flow_run(store, store.flow_run, plain("Running", ""), version=7)
        else:
            change_task_run(store, store.flow_run, store.tasks[0], plain("Running", ""), version=7)

    with pytest.raises(CloudRefusal) as refusal:
        begin()
    store.locked = False
    begin()

    assert refusal.value.code == VERSION_LOCKING
    assert len(store.written) == 1


def test_a_run_may_be_scheduled_again_without_asking_for_a_place() -> None:
    """Limits concern beginning only."""
    store = Memory(a_row("run", "Failed"), full=["gpu"])

    assert change_flow_run(store, store.flow_run, scheduled(NOW, "again")).type == "Scheduled"

"""What becomes of runs whose process is gone (protocol section 13.5)."""

from datetime import timedelta
from typing import Any

import pytest

from prefect.agent.domain.cloud.rescue import (
    BUSY,
    LOST,
    RESURRECTIONS,
    Rescue,
    bury_flow_run,
    bury_task_run,
    lost_before,
    resurrect_flow_run,
)
from prefect.agent.domain.cloud.states import read_state
from prefect.agent.domain.state_names import PARENTS
from prefect.agent.domain.times import iso
from support.builders import NOW

LIMIT = lost_before(NOW, NOW - timedelta(days=1)) or ""
TICK = timedelta(microseconds=1)


def a_run(state: str = "Running", *, silent: timedelta = LOST + TICK, **more: Any) -> dict[str, Any]:
    """A flow run that was last heard of so long ago."""
    heard = iso(NOW - silent)
    return {"state": state, "heartbeat": heard, "state_start_time": heard, "times_resurrected": 0, **more}


def lazarus(run: dict[str, Any], *task_states: str, **settings: bool) -> Rescue | None:
    """What Lazarus does."""
    return resurrect_flow_run(run, task_states, settings, now=NOW, limit=LIMIT)


def zombie(
    run: dict[str, Any],
    *,
    task_state: str = "Running",
    attempts: int = 1,
    settings: dict[str, bool] | None = None,
    **task: Any,
) -> Rescue | None:
    """What the zombie killer does with a task run."""
    whole = {"max_retries": 0, "retry_delay": None, **task}
    return bury_task_run({"state": task_state}, run, whole, settings or {}, attempts=attempts, now=NOW, limit=LIMIT)


@pytest.mark.parametrize("state", sorted(PARENTS))
def test_lazarus_looks_at_runs_that_should_work(state: str) -> None:
    """Running, Submitted or Queued for too long; all others wait, or have ended."""
    found = lazarus(a_run(state), "Pending", "Success")

    assert (found is not None) == (state in {"Running", "Submitted", "Queued"})


def test_a_queued_run_has_a_process_as_long_as_it_asks_again() -> None:
    """Each time the run's start is put off; only one that has passed for long says that nobody asks any more."""
    assert lazarus(a_run("Queued", state_start_time=iso(NOW - LOST))) is None
    assert lazarus(a_run("Queued", state_start_time=None)) is None
    found = lazarus(a_run("Queued", state_start_time=iso(NOW - LOST - TICK)))

    assert found is not None
    assert found.state.type == "Scheduled"


def test_lazarus_schedules_again() -> None:
    """At once, and counts."""
    found = lazarus(a_run(times_resurrected=1))

    assert found is not None
    assert (found.state.type, found.state.start_time, found.values) == ("Scheduled", NOW, {"times_resurrected": 2})
    assert read_state(found.state.payload).start_time == NOW


def test_lazarus_gives_up() -> None:
    """After the third time it is Failed."""
    assert [
        found.state.type
        for times in range(RESURRECTIONS + 2)
        if (found := lazarus(a_run(times_resurrected=times))) is not None
    ] == ["Scheduled", "Scheduled", "Scheduled", "Failed", "Failed"]


@pytest.mark.parametrize("state", sorted(PARENTS))
def test_lazarus_leaves_runs_alone_that_others_care_for(state: str) -> None:
    """A task that waits for its time, or that the zombie killer will find."""
    assert (lazarus(a_run(), "Success", state) is None) == (state in BUSY)


@pytest.mark.parametrize("name", ["lazarus_enabled", "heartbeat_enabled"])
def test_opted_out(name: str) -> None:
    """Of Lazarus, or of heartbeats at all; nothing said is opted in."""
    assert lazarus(a_run(), **{name: False}) is None
    assert lazarus(a_run(), **{name: True}) is not None
    silent = name == "heartbeat_enabled"
    assert (zombie(a_run(), settings={name: False}) is None) == silent
    assert (bury_flow_run(a_run("Cancelling"), {name: False}, limit=LIMIT) is None) == silent


def test_a_heartbeat_in_time() -> None:
    """Ten minutes are not too long, a moment more is; no heartbeat at all says nothing."""
    assert lazarus(a_run(silent=LOST)) is None
    assert zombie(a_run(silent=LOST)) is None
    assert bury_flow_run(a_run("Cancelling", silent=LOST), {}, limit=LIMIT) is None
    assert lazarus(a_run(silent=LOST + TICK)) is not None
    assert lazarus({**a_run(), "heartbeat": None}) is None


def test_after_a_restart_everybody_has_time_to_be_heard() -> None:
    """A Cloud that was away heard nobody."""
    assert lost_before(NOW, NOW - LOST + TICK) is None
    assert lost_before(NOW, NOW - LOST) == iso(NOW - LOST)
    assert lost_before(NOW, NOW - TICK, 2 * TICK) is None
    assert lost_before(NOW, NOW - 2 * TICK, 2 * TICK) == iso(NOW - 2 * TICK)


@pytest.mark.parametrize("state", sorted(PARENTS))
def test_zombies(state: str) -> None:
    """Only task runs that are Running; cancelling flow runs that are Cancelling."""
    assert (zombie(a_run(), task_state=state) is not None) == (state == "Running")
    assert (bury_flow_run(a_run(state), {}, limit=LIMIT) is not None) == (state == "Cancelling")


@pytest.mark.parametrize(
    ("flow_state", "attempts", "max_retries", "expected"),
    [
        ("Running", 1, 0, "Failed"),
        ("Running", 1, 1, "Retrying"),
        ("Running", 2, 1, "Failed"),
        ("Running", 2, 3, "Retrying"),
        ("Cancelling", 1, 3, "Failed"),
        ("Failed", 1, 3, "Failed"),
        ("Scheduled", 1, 3, "Failed"),
    ],
)
def test_a_dead_task_is_tried_again_if_it_may(flow_state: str, attempts: int, max_retries: int, expected: str) -> None:
    """As often as its flow says, while its flow run is Running."""
    found = zombie(a_run(flow_state), attempts=attempts, max_retries=max_retries)

    assert found is not None
    assert found.state.type == expected
    assert read_state(found.state.payload).type == expected


@pytest.mark.parametrize(
    ("stored", "seconds"), [(None, 0), ("60", 60), ("90.5", 90.5), ("soon", 0), ("-5", 0), ("nan", 0), ("1e300", 0)]
)
def test_a_dead_task_is_tried_again_after_its_delay(stored: str | None, seconds: float) -> None:
    """With the number of attempts, as the client itself would say it."""
    found = zombie(a_run(), max_retries=1, retry_delay=stored)

    assert found is not None
    assert found.state.start_time == NOW + timedelta(seconds=seconds)
    assert found.state.payload["run_count"] == 1

"""What a state update does (protocol sections 4.3, 13.1 and 13.2)."""

from collections.abc import Callable
from contextlib import nullcontext
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prefect.agent.domain.cloud.errors import VERSION_LOCKING, CloudRefusal
from prefect.agent.domain.cloud.states import CloudState, plain, scheduled
from prefect.agent.domain.cloud.strictness import LOOSE
from prefect.agent.domain.cloud.transitions import Accepted, cancel, set_flow_run_state, set_task_run_state
from prefect.agent.domain.state_names import FINISHED, PARENTS, SCHEDULED
from prefect.agent.domain.times import iso
from support.builders import NOW, an_id

ALL = sorted(PARENTS)


def a_row(state: str = "Scheduled", version: int = 3, **more: Any) -> dict[str, Any]:
    """A run as it is stored."""
    return {"id": an_id(), "state": state, "version": version, "serialized_state": {"type": state}, **more}


def state(kind: str, **payload: Any) -> CloudState:
    """A state as a client sends it."""
    return CloudState(type=kind, message="m", payload={"type": kind, "message": "m", **payload})


@pytest.mark.parametrize("kind", sorted(SCHEDULED))
def test_a_run_that_waits_can_be_claimed(kind: str) -> None:
    """Submitted follows every state in which a run waits to be started."""
    accepted = set_flow_run_state(a_row(kind), state("Submitted"), now=NOW, version=3)

    assert (accepted.values["state"], accepted.values["version"]) == ("Submitted", 4)


@pytest.mark.parametrize("kind", sorted(set(PARENTS) - SCHEDULED))
def test_a_run_that_does_not_wait_cannot_be_claimed(kind: str) -> None:
    """The second of two agents is refused, in the words that official agents look for."""
    with pytest.raises(CloudRefusal, match="State update failed"):
        set_flow_run_state(a_row(kind), state("Submitted"), now=NOW)
    with pytest.raises(CloudRefusal, match="State update failed"):
        set_task_run_state(a_row(kind), state("Submitted"), now=NOW, flow_run_state="Running")


@pytest.mark.parametrize("kind", sorted(set(PARENTS) - SCHEDULED))
@pytest.mark.parametrize("version", [2, 3, 4])
def test_only_a_claim_can_be_claimed_over_and_only_at_its_version(kind: str, version: int) -> None:
    """A lease is taken over by an agent that knows its version; no other run that does not wait is given away."""
    updates: list[Callable[[], Accepted]] = [
        lambda: set_flow_run_state(a_row(kind), state("Submitted"), now=NOW, version=version),
        lambda: set_task_run_state(a_row(kind), state("Submitted"), now=NOW, flow_run_state="Running", version=version),
    ]
    for update in updates:
        if (kind, version) == ("Submitted", 3):
            assert (update().values["state"], update().values["version"]) == ("Submitted", 4)
            continue
        with pytest.raises(CloudRefusal, match="State update failed"):
            update()


def test_a_takeover_is_a_heartbeat() -> None:
    """The new claimant gets as much time to start as the first one had."""
    flow_run = set_flow_run_state(a_row("Submitted"), state("Submitted"), now=NOW, version=3)
    task_run = set_task_run_state(a_row("Submitted"), state("Submitted"), now=NOW, version=3, flow_run_state="Running")

    assert (flow_run.values["heartbeat"], task_run.flow_run_values) == (iso(NOW), {"heartbeat": iso(NOW)})


@pytest.mark.parametrize("kind", ALL)
@pytest.mark.parametrize("version", [None, 1, 3])
def test_a_loose_cloud_compares_nothing(kind: str, version: int | None) -> None:
    """Whatever the state and the version: a run can be claimed, and version locking does nothing."""
    for new in ("Submitted", "Running"):
        flow_run = set_flow_run_state(a_row(kind), state(new), now=NOW, version=version, locked=True, strictness=LOOSE)
        task_run = set_task_run_state(
            a_row(kind), state(new), now=NOW, version=version, flow_run_state="Running", locked=True, strictness=LOOSE
        )
        assert [each.values["state"] for each in (flow_run, task_run)] == [new, new]


@given(st.integers(min_value=0, max_value=9), st.one_of(st.none(), st.integers(min_value=0, max_value=9)))
def test_a_claim_is_a_compare_and_set(stored: int, claimed: int | None) -> None:
    """A claim at another version than the stored one is refused; a claimant that names none believes in any."""
    fits = claimed is None or claimed == stored
    with nullcontext() if fits else pytest.raises(CloudRefusal, match="State update failed"):
        set_flow_run_state(a_row(version=stored), state("Submitted"), now=NOW, version=claimed)


@pytest.mark.parametrize("old", ALL)
@pytest.mark.parametrize("new", sorted(set(PARENTS) - {"Submitted"}))
def test_any_other_state_may_follow_any_state(old: str, new: str) -> None:
    """There is no transition table beyond the claim: Failed, then Retrying is normal, at any version."""
    hands_back = old == "Submitted" and new in SCHEDULED
    accepted = set_flow_run_state(a_row(old), state(new), now=NOW, version=3 if hands_back else 0)

    assert accepted.values["state"] == accepted.history["state"] == new
    assert accepted.values["version"] == accepted.history["version"] == 4


@pytest.mark.parametrize("new", sorted(SCHEDULED))
def test_a_claim_is_handed_back_at_its_version_only(new: str) -> None:
    """Another agent may have taken it over meanwhile; a client that names no version is believed."""
    assert set_flow_run_state(a_row("Submitted"), state(new), now=NOW).values["state"] == new
    with pytest.raises(CloudRefusal, match="State update failed"):
        set_flow_run_state(a_row("Submitted"), state(new), now=NOW, version=2)


@pytest.mark.parametrize(
    ("locked", "kind", "version", "refused"),
    [
        (True, "Running", 2, True),
        (True, "Running", 3, False),
        (True, "Running", None, False),
        (False, "Running", 2, False),
        (True, "Failed", 2, False),
        (True, "Success", 2, False),
    ],
)
def test_version_locking_guards_running_only(locked: bool, kind: str, version: int | None, refused: bool) -> None:
    """A stale Failed of an agent must get through, or its run stays Submitted for ever (protocol section 4.3)."""
    updates: list[Callable[[], Accepted]] = [
        lambda: set_flow_run_state(a_row(), state(kind), now=NOW, version=version, locked=locked),
        lambda: set_task_run_state(
            a_row(), state(kind), now=NOW, flow_run_state="Running", version=version, locked=locked
        ),
    ]
    for update in updates:
        if not refused:
            assert update().values["state"] == kind
            continue
        with pytest.raises(CloudRefusal) as refusal:
            update()
        assert refusal.value.code == VERSION_LOCKING


@pytest.mark.parametrize("flow_run_state", sorted(set(PARENTS) - {"Running"}))
def test_a_task_cannot_run_without_its_flow(flow_run_state: str) -> None:
    """A task of a cancelled flow run is stopped by this refusal."""
    with pytest.raises(CloudRefusal, match="not Running"):
        set_task_run_state(a_row("Pending"), state("Running"), now=NOW, flow_run_state=flow_run_state)


@pytest.mark.parametrize(
    ("kind", "beats"), [("Running", True), ("Cancelling", True), ("Submitted", True), ("Success", False)]
)
def test_the_heart_beats_from_the_claim_on(kind: str, beats: bool) -> None:
    """A claimed or running flow run was heard of now."""
    values = set_flow_run_state(a_row(), state(kind), now=NOW).values

    assert values.get("heartbeat") == (iso(NOW) if beats else None)


def test_a_claim_of_a_task_run_is_a_heartbeat_of_its_flow_run() -> None:
    """Its new process needs time to be heard, however long the flow run has been silent."""
    claimed = set_task_run_state(a_row("Retrying"), state("Submitted"), now=NOW, flow_run_state="Running")
    done = set_task_run_state(a_row("Running"), state("Success"), now=NOW, flow_run_state="Running")

    assert (claimed.flow_run_values, done.flow_run_values) == ({"heartbeat": iso(NOW)}, {})


def test_only_a_running_task_has_a_heartbeat() -> None:
    """A task run is heard of when it starts."""
    running = set_task_run_state(a_row("Pending"), state("Running"), now=NOW, flow_run_state="Running")
    done = set_task_run_state(a_row("Running"), state("Success"), now=NOW, flow_run_state="Running")

    assert running.values["heartbeat"] == iso(NOW)
    assert "heartbeat" not in done.values


def test_start_time_is_the_first_running() -> None:
    """A run that is resumed keeps the time it began at."""
    first = set_flow_run_state(a_row(start_time=None), state("Running"), now=NOW)
    again = set_flow_run_state(a_row(start_time="before"), state("Running"), now=NOW)

    assert first.values["start_time"] == iso(NOW)
    assert "start_time" not in again.values


@pytest.mark.parametrize("kind", ALL)
def test_end_time_is_the_last_end(kind: str) -> None:
    """Exactly the states of protocol section 13.1 set it."""
    ends = kind in {"Success", "Failed", "Cached", "TimedOut", "Looped", "Cancelled"}
    accepted = set_flow_run_state(a_row("Retrying"), state(kind), now=NOW)

    assert accepted.values.get("end_time") == (iso(NOW) if ends else None)


@pytest.mark.parametrize("kind", ALL)
def test_only_cancelled_takes_the_tasks_along(kind: str) -> None:
    """Unfinished task runs of a cancelled flow run are cancelled too."""
    accepted = set_flow_run_state(a_row("Paused"), state(kind), now=NOW)

    assert accepted.cancels_tasks is (kind == "Cancelled")


def test_the_columns_mirror_the_state() -> None:
    """Message, due time, result and payload can be asked for without reading the payload."""
    due = NOW + timedelta(hours=1)
    scheduled_state = scheduled(due, "later")
    result = {"type": "PrefectResult", "location": "1"}

    waiting = set_flow_run_state(a_row("Failed"), scheduled_state, now=NOW)
    done = set_flow_run_state(a_row("Running"), state("Success", _result=result), now=NOW)

    assert waiting.values["state_start_time"] == waiting.history["start_time"] == iso(due)
    assert waiting.values["state_message"] == waiting.history["message"] == "later"
    assert waiting.values["serialized_state"] == scheduled_state.payload
    assert waiting.values["state_timestamp"] == waiting.history["timestamp"] == iso(NOW)
    assert done.values["state_result"] == done.history["result"] == result
    assert done.values["state_start_time"] is None


@pytest.mark.parametrize(
    ("sent", "kept"),
    [({}, {"x": 1}), ({"cached_inputs": {"y": 2}}, {"y": 2}), ({"cached_inputs": {}}, {})],
)
def test_a_tasks_cached_inputs_are_carried_over(sent: dict[str, Any], kept: dict[str, Any]) -> None:
    """A state that does not mention them keeps the old one's (protocol section 13.2)."""
    row = a_row("Running", serialized_state={"type": "Running", "cached_inputs": {"x": 1}})

    accepted = set_task_run_state(row, state("Retrying", **sent), now=NOW, flow_run_state="Running")

    assert accepted.values["serialized_state"]["cached_inputs"] == kept
    assert accepted.history["serialized_state"]["cached_inputs"] == kept


def test_a_first_state_has_no_inputs_to_carry() -> None:
    """A task run that was just made has no state yet."""
    accepted = set_task_run_state(
        a_row("x", serialized_state=None), plain("Pending", "new"), now=NOW, flow_run_state="Scheduled"
    )

    assert accepted.values["serialized_state"] == {"type": "Pending", "message": "new"}


@pytest.mark.parametrize("kind", ALL)
def test_what_a_request_to_cancel_leads_to(kind: str) -> None:
    """Nothing for a finished run, Cancelling where a process may execute, else Cancelled."""
    expected = "Cancelling" if kind in {"Running", "Cancelling"} else "Cancelled"
    found = cancel(kind)

    assert (found is None) is (kind in FINISHED)
    assert found is None or (found.type, found.payload["type"]) == (expected, expected)

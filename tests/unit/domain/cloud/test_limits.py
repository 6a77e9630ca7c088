"""Concurrency limits as rules (protocol sections 12.5 and 13.2)."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prefect.agent.domain.cloud.errors import CloudRefusal
from prefect.agent.domain.cloud.limits import (
    FLOW_RUNS_QUEUED,
    TAKING,
    WAIT,
    begins,
    check_limit,
    count_taken,
    full,
    queued,
)
from prefect.agent.domain.cloud.transitions import set_flow_run_state
from prefect.agent.domain.state_names import PARENTS, SCHEDULED
from support.builders import NOW, an_id

NAMES = st.sampled_from("abcd")
COUNTS = st.dictionaries(NAMES, st.integers(0, 3))


@pytest.mark.parametrize(
    ("limits", "taken", "wanted", "expected"),
    [
        ({}, {}, [], []),
        ({"a": 1}, {}, ["a"], []),
        ({"a": 1}, {"a": 1}, ["a"], ["a"]),
        ({"a": 1}, {"a": 2}, ["a"], ["a"]),
        ({"a": 1}, {"a": 1}, ["b"], []),
        ({"a": 1}, {"a": 1}, [], []),
        ({"a": 0}, {}, ["a"], ["a"]),
        ({"a": 2, "b": 1}, {"a": 1, "b": 1}, ["a", "b"], ["b"]),
        ({"b": 1, "a": 1}, {"a": 1, "b": 1}, ["b", "a", "b"], ["a", "b"]),
    ],
)
def test_every_limit_must_have_room(
    limits: dict[str, int], taken: dict[str, int], wanted: list[str], expected: list[str]
) -> None:
    """Those without room are named, once each and in order."""
    assert full(limits, taken, wanted) == expected


@given(COUNTS, COUNTS, st.lists(NAMES))
def test_only_limits_of_the_run_hold_it(limits: dict[str, int], taken: dict[str, int], wanted: list[str]) -> None:
    """A limit that is not the run's, or that has room, never does."""
    held = full(limits, taken, wanted)

    assert set(held) <= set(wanted) & set(limits)
    assert all(taken.get(name, 0) >= limits[name] for name in held)
    assert all(taken.get(name, 0) < limits[name] for name in set(wanted) & set(limits) - set(held))


def test_a_queued_state_says_why_and_until_when() -> None:
    """Clients look at the start time, people at the message."""
    before = {"type": "Scheduled", "start_time": "2022-01-01T00:00:00+00:00"}

    state = queued(before, ["a", "b"], FLOW_RUNS_QUEUED, NOW)

    assert (state.type, state.start_time) == ("Queued", NOW + WAIT)
    assert state.message == "Queued by flow run label concurrency limit: a, b"
    assert state.payload == {
        "type": "Queued",
        "message": state.message,
        "start_time": (NOW + WAIT).isoformat(),
        "state": before,
    }


RETRYING = {"type": "Retrying", "run_count": 2}


@pytest.mark.parametrize(
    ("before", "inside"),
    [
        (None, None),
        ({"type": "Pending"}, {"type": "Pending"}),
        (RETRYING, RETRYING),
        ({"type": "Submitted", "state": RETRYING}, RETRYING),
        ({"type": "Queued", "state": {"type": "Submitted", "state": RETRYING}}, RETRYING),
        ({"type": "Submitted"}, None),
        ({"type": "Submitted", "state": None}, None),
        ({"type": "Queued", "state": "x"}, None),
        ({"type": "Queued", "state": {"type": "Running"}}, None),
        ({"type": "Running"}, None),
    ],
)
def test_what_is_wrapped(before: dict[str, Any] | None, inside: dict[str, Any] | None) -> None:
    """The state that waited, not its wrappings; never Running, or the process would begin without asking."""
    assert queued(before, ["a"], FLOW_RUNS_QUEUED, NOW).payload["state"] == inside


def test_waiting_for_long_does_not_grow() -> None:
    """A state is queued again and again, every 30 seconds."""
    state = queued({"type": "Scheduled"}, ["a"], FLOW_RUNS_QUEUED, NOW)

    assert queued(state.payload, ["a"], FLOW_RUNS_QUEUED, NOW).payload == state.payload


def test_a_queued_run_takes_no_place_and_can_be_taken_up_again() -> None:
    """It waits like others that wait."""
    row = {"id": an_id(), "state": "Submitted", "version": 2, "serialized_state": {"type": "Submitted"}}

    accepted = set_flow_run_state(row, queued(None, ["a"], FLOW_RUNS_QUEUED, NOW), now=NOW)

    assert accepted.values["state"] in SCHEDULED - set(TAKING)
    assert accepted.values["state_start_time"] > accepted.values["state_timestamp"]


def test_places_are_taken_while_something_runs() -> None:
    """Also by a run that is being cancelled: its process is there still."""
    assert set(TAKING) == {"Running", "Cancelling"} <= set(PARENTS)


@pytest.mark.parametrize("value", [0, 1, 10_000])
def test_a_limit_is_a_number(value: int) -> None:
    """0 lets nothing begin."""
    assert check_limit(value) == value


@pytest.mark.parametrize("value", [-1, True, None, "1", 1.5])
def test_nothing_else_is_a_limit(value: object) -> None:
    """A limit below 0 would say nothing that 0 does not."""
    with pytest.raises(CloudRefusal, match="0 or more"):
        check_limit(value)


@pytest.mark.parametrize("present", sorted(PARENTS))
def test_a_place_is_asked_for_once(present: str) -> None:
    """By whoever wants to run and has none."""
    assert begins(present, "Running") is (present not in TAKING)
    assert not begins(present, "Submitted")


def test_places_are_counted_by_name() -> None:
    """A run takes one of each of its names, however often it has it."""
    assert count_taken([["a", "b"], ["a", "a"], []]) == {"a": 2, "b": 1}

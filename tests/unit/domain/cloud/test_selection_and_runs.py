"""Which runs an agent is given (protocol section 3.2), and how runs come to be (protocol section 13.3)."""

from datetime import timedelta
from typing import Any

import pytest

from prefect.agent.domain.cloud.errors import CloudRefusal
from prefect.agent.domain.cloud.runs import run_labels, run_name, run_parameters
from prefect.agent.domain.cloud.selection import due_time, is_due, is_ready
from prefect.agent.domain.labels import labels_match
from prefect.agent.domain.state_names import PARENTS, SCHEDULED
from prefect.agent.domain.times import iso
from support.builders import NOW


@pytest.mark.parametrize(
    ("run", "agent", "gets"),
    [
        ([], [], True),
        ([], ["a"], False),
        (["a"], [], False),
        (["a"], ["a"], True),
        (["a"], ["a", "b"], True),
        (["a", "b"], ["a"], False),
        (["a", "b"], ["b", "a", "c"], True),
        (["A"], ["a"], False),
    ],
)
def test_labels(run: list[str], agent: list[str], gets: bool) -> None:
    """All labels of the run, and no unlabelled runs for an agent that has labels."""
    assert labels_match(run, agent) is gets


def a_row(state: str, start: int | None = 0) -> dict[str, Any]:
    """A run as it is stored, due some seconds from now."""
    return {"state": state, "state_start_time": None if start is None else iso(NOW + timedelta(seconds=start))}


@pytest.mark.parametrize("kind", sorted(PARENTS))
def test_only_what_waits_is_due(kind: str) -> None:
    """A start time alone does not make a run due."""
    assert is_due(a_row(kind), NOW) is (kind in SCHEDULED)


@pytest.mark.parametrize(("start", "due"), [(-1, True), (0, True), (1, False), (None, False)])
def test_due_means_the_start_time_has_come(start: int | None, due: bool) -> None:
    """At the very moment, too; never without a start time."""
    assert is_due(a_row("Scheduled", start), NOW) is due


@pytest.mark.parametrize(
    ("state", "tasks", "ready"),
    [
        ("Running", [], False),
        ("Running", [a_row("Retrying")], True),
        ("Running", [a_row("Success", None), a_row("Resume", -5)], True),
        ("Running", [a_row("Retrying", 60)], False),
        ("Running", [a_row("Submitted")], False),
        ("Scheduled", [], True),
        ("Submitted", [a_row("Retrying")], False),
        ("Cancelling", [a_row("Retrying")], False),
        ("Failed", [], False),
    ],
)
def test_a_running_run_is_ready_for_its_tasks_sake(state: str, tasks: list[dict[str, Any]], ready: bool) -> None:
    """A Running run is given out if one of its task runs is due again (protocol section 4.4)."""
    assert is_ready(a_row(state), tasks, NOW) is ready


@pytest.mark.parametrize("kind", sorted(PARENTS))
def test_when_a_run_is_due(kind: str) -> None:
    """A run that waits: at its own start time; a Running one: at that of its first task run that waits; else never."""
    row, first = a_row(kind, 5), iso(NOW)
    expected = first if kind == "Running" else row["state_start_time"] if kind in SCHEDULED else None

    assert due_time(row, first) == expected
    assert due_time(a_row(kind, None), None) is None


@pytest.mark.parametrize(
    ("given", "group", "flow", "labels"),
    [
        ({"labels": ["b", "a", "b"]}, {"labels": ["g"]}, {}, ["a", "b"]),
        ({"labels": []}, {"labels": ["g"]}, {}, []),
        ({"run_config": {"labels": ["r"]}}, {"labels": ["g"]}, {}, ["r"]),
        ({"run_config": {"labels": []}}, {"labels": ["g"]}, {}, []),
        ({"run_config": {}}, {"labels": ["g"], "run_config": {"labels": ["x"]}}, {}, ["g"]),
        ({}, {"run_config": {"labels": ["x"]}}, {"run_config": {"labels": ["y"]}}, ["x"]),
        ({}, {}, {"run_config": {"labels": ["y"]}, "environment": {"labels": ["z"]}}, ["y"]),
        ({}, {}, {"environment": {"labels": ["z"]}}, ["z"]),
        ({}, {}, {"run_config": {"labels": "nonsense"}}, []),
        ({}, {}, {}, []),
    ],
)
def test_labels_of_a_new_run(
    given: dict[str, Any], group: dict[str, Any], flow: dict[str, Any], labels: list[str]
) -> None:
    """The first that says anything, an empty list included; stored sorted."""
    assert run_labels(given, group, flow) == labels


def test_parameters_of_a_new_run() -> None:
    """The flow's defaults, the group's, the request's; later ones win, and empty defaults are not copied."""
    declared = [
        {"name": "a", "default": 1, "required": False},
        {"name": "b", "default": 2},
        {"name": "c", "default": 0},
        {"name": "d", "required": True},
    ]

    assert run_parameters(declared, {"b": 3, "e": 4}, {"d": 5, "e": 6}) == {"a": 1, "b": 3, "d": 5, "e": 6}


def test_missing_parameters_are_named() -> None:
    """The person who asks for the run learns which values are missing."""
    declared = [{"name": "y", "required": True}, {"name": "x", "required": True}]

    with pytest.raises(CloudRefusal, match="x, y"):
        run_parameters(declared, None, None)


@pytest.mark.parametrize("declared", [[None], ["x"], [{}], [{"default": 1}], [{"name": 3, "default": 1}]])
def test_declared_parameters_that_make_no_sense_do_no_harm(declared: list[Any]) -> None:
    """They come from a serialized flow that nobody checked."""
    run_parameters(declared, {}, {})


def test_a_run_has_a_name_of_two_words() -> None:
    """A generated name is for people, and can be a part of other names."""
    assert run_name(lambda words: words[0]) != run_name(lambda words: words[-1])
    assert run_name(lambda words: words[0]).count("-") == 1

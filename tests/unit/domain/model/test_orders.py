"""How a person's words become an order of a flow run."""

from datetime import datetime, timedelta, timezone

import pytest

from prefect.agent.domain.model.orders import (
    FlowDraft,
    FlowReference,
    due_time,
    flow_reference,
    parameter,
    parameters,
    said_of_past,
    unknown_parameters,
)
from support.builders import a_run

NOW = datetime(2030, 1, 31, 8, 0, tzinfo=timezone.utc)
ID = "01a22128-7c50-7b11-8f6c-9f0c2d1f0e11"


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("x=1", 1),
        ("x=1.5", 1.5),
        ("x=true", True),
        ("x=null", None),
        ('x=["a", {"b": 2}]', ["a", {"b": 2}]),
        ('x="1"', "1"),
        ("x=2030-01-31", "2030-01-31"),
        ("x=a=b c", "a=b c"),
        ("x=", ""),
        ("x=NaN", "NaN"),
        ("x=1e999", "1e999"),
        ("x=" + "[" * 100_000, "[" * 100_000),
    ],
)
def test_a_parameter_is_json_if_it_can_be_and_text_otherwise(text: str, value: object) -> None:
    """The first ``=`` ends the name; NaN is no JSON."""
    assert parameter(text) == ("x", value)


@pytest.mark.parametrize("text", ["x", "=1", " =1", ""])
def test_a_parameter_needs_a_name_and_an_equals_sign(text: str) -> None:
    """The message repeats what was given."""
    with pytest.raises(ValueError, match="NAME=VALUE"):
        parameter(text)


@pytest.mark.parametrize(
    ("text", "due"),
    [
        ("+10m", NOW + timedelta(minutes=10)),
        ("+0s", NOW),
        ("+2h", NOW + timedelta(hours=2)),
        ("+1d", NOW + timedelta(days=1)),
        ("2030-02-01T08:00:00", datetime(2030, 2, 1, 8, 0, tzinfo=timezone.utc)),
        ("2030-02-01T08:00:00+01:00", datetime(2030, 2, 1, 7, 0, tzinfo=timezone.utc)),
    ],
)
def test_a_time_is_a_pause_from_now_or_iso(text: str, due: datetime) -> None:
    """UTC unless it names a zone."""
    assert due_time(text, NOW) == due


def test_a_time_in_the_past_is_taken_and_said() -> None:
    """A run may be due in the past, as one that fills a gap; or its zone was forgotten."""
    just_now, past = NOW - timedelta(seconds=59), NOW - timedelta(minutes=61)

    assert due_time(past.isoformat(), NOW) == past
    assert (said_of_past(NOW, NOW), said_of_past(just_now, NOW)) == ("", "")
    assert said_of_past(past, NOW).startswith(
        f"{past:%Y-%m-%dT%H:%M:%S} UTC is in the past, so the run is due at once."
    )
    assert f"It is {NOW:%Y-%m-%dT%H:%M:%S} UTC now" in said_of_past(past, NOW)


@pytest.mark.parametrize("text", ["tomorrow", "10m", "+10", "+-1m", "+10w", "", "+999999999d"])
def test_what_is_no_time_is_refused(text: str) -> None:
    """The message says how to write one, also for a time beyond the calendar."""
    with pytest.raises(ValueError, match=r"\+10m"):
        due_time(text, NOW)


@pytest.mark.parametrize(
    ("text", "project", "reference"),
    [
        (ID, "", FlowReference(flow_id=ID)),
        (ID.upper(), "p", FlowReference(flow_id=ID)),
        ("etl", "", FlowReference(name="etl")),
        ("marketing/etl", "", FlowReference(name="etl", project="marketing")),
        ("a/b", "p", FlowReference(name="a/b", project="p")),
        ("/etl", "", FlowReference(name="/etl")),
    ],
)
def test_a_flow_is_named_by_id_by_name_or_with_its_project(text: str, project: str, reference: FlowReference) -> None:
    """With --project a slash belongs to the name."""
    assert flow_reference(text, project) == reference


def test_a_parameter_is_given_once() -> None:
    """Which of two is meant cannot be known."""
    assert parameters(["x=1", "y=x=1"]) == {"x": 1, "y": "x=1"}
    with pytest.raises(ValueError, match="'x' is given twice"):
        parameters(["x=1", "x=1"])


@pytest.mark.parametrize(
    ("has", "given", "said"),
    [
        ({"name", "day"}, ["day"], ""),
        ({"name", "day"}, ["nam", "day"], "has no parameter 'nam'; it has: day, name"),
        (set(), ["a", "b"], "has no parameter 'a', 'b'; it has none"),
        (None, ["a"], ""),
    ],
)
def test_parameters_that_a_flow_does_not_have(has: set[str] | None, given: list[str], said: str) -> None:
    """A flow of 1.x would ignore them; a backend may not say what a flow has."""
    draft = FlowDraft(run=a_run(), parameters=None if has is None else frozenset(has))

    found = unknown_parameters(draft, given)

    assert found.endswith(said)
    assert bool(found) is bool(said)

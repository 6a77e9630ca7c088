"""Texts of others in ours: on one line, without what does something to a terminal, and cut."""

import json

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from prefect.agent.domain.model.flow_runs import Flow
from prefect.agent.domain.texts import (
    LONGEST_WORD,
    MAX_NAME,
    cut,
    escaped,
    escaped_json,
    escaped_lines,
    from_a_whole_word,
    readable_name,
)
from support.builders import a_run

ACTIVE = "\n\r\t\0\x07\x1b[2J\x7f\x9b31m\u061c\u202e\u2066\u2028\u2029\ud800\u200b\ufeff\U000e0041"
anything = st.text(st.characters(exclude_categories=[]), max_size=80) | st.text(ACTIVE, max_size=20)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain, ünïcode 日本 👩\u200d🚀", "plain, ünïcode 日本 👩\u200d🚀"),
        ("a\nb\r\tc", "a\\nb\\r\\tc"),
        ("\x1b[31mred", "\\x1b[31mred"),
        ("\x9b2J", "\\x9b2J"),
        ("user\u202egnp.exe", "user\\u202egnp.exe"),
        ("pro\u200bd\ufeff", "pro\\u200bd\\ufeff"),
        ("a\u200db", "a\\u200db"),
        ("क्\u200dष", "क्\u200dष"),
        ("x\U000e0041", "x\\U000e0041"),
    ],
)
def test_what_does_something_is_escaped(text: str, shown: str) -> None:
    """Letters of all languages stay."""
    assert escaped(text) == shown


@given(anything)
def test_an_escaped_text_does_nothing(text: str) -> None:
    """It is one line that every encoding takes; with lines kept, line ends and tabs are all that is left."""
    for shown in (escaped(text), readable_name(text)):
        assert not set(shown) & set(ACTIVE) - set("[2J31m")
        shown.encode()
    assert not set(escaped_lines(text)) & set(ACTIVE) - set("[2J31m\n\t")


@given(anything)
def test_escaped_json_means_the_same(text: str) -> None:
    """For machines nothing changes."""
    shown = escaped_json(json.dumps({"message": text}, ensure_ascii=False))
    assert json.loads(shown) == {"message": text}
    shown.encode()


def test_a_long_text_says_that_it_is_cut() -> None:
    """And how long it was."""
    assert cut("x" * 10, 10) == "x" * 10
    assert cut("x" * 900_000, 10) == "xxxxxxxxxx... (cut: 900000 characters)"


@given(anything)
def test_a_name_is_cut_once(name: str) -> None:
    """Cutting it again changes nothing."""
    shown = readable_name(name * 10)
    assert len(shown) <= MAX_NAME
    assert readable_name(shown) == shown


def test_names_of_flows_and_runs_are_cut_where_they_enter() -> None:
    """So that no text, label or unit of ours has more of them."""
    name = "evil\n" + "x" * 900_000
    assert attrs.evolve(a_run(), name=name).name == Flow(id="1", name=name).name == readable_name(name)
    assert len(readable_name(name)) == MAX_NAME
    assert "\n" not in readable_name(name)


@pytest.mark.parametrize(
    ("text", "left"),
    [("rt of it\n  more", "of it\n  more"), ("\nmore", "more"), ("", ""), ("x" * LONGEST_WORD + "y", "y"), ("x", "")],
)
def test_the_rest_of_a_word_is_dropped(text: str, left: str) -> None:
    """Of a text that was cut at its beginning; no more than the longest word, if there is no space."""
    assert from_a_whole_word(text) == left

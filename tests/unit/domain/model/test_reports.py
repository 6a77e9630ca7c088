"""What is still to be reported of one flow run, and how it survives the process."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prefect.agent.domain.model.ends import End, EndKind
from prefect.agent.domain.model.reports import MAX_MESSAGE, Line, RunReports, entry_of, read_entry, readable, size
from support.builders import NOW, an_id

LINE = Line(message="Hello", level="INFO", at=NOW)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a\0b\x07c\x7f", "a\N{REPLACEMENT CHARACTER}b\N{REPLACEMENT CHARACTER}c\N{REPLACEMENT CHARACTER}"),
        ("10 %\r20 %\r\ndone", "10 %\n20 %\ndone"),
        ("\tcolour \x1b[31mred\x1b[0m\n", "\tcolour \x1b[31mred\x1b[0m\n"),
    ],
)
def test_control_characters_are_replaced(text: str, expected: str) -> None:
    """A NUL spoils a whole batch of log lines in a Cloud; tabs, line ends and colours stay."""
    assert readable(text) == expected


def test_a_long_message_is_cut() -> None:
    """And says how long it was."""
    text = readable("x" * (MAX_MESSAGE + 1))

    assert text.endswith(f"(cut: {MAX_MESSAGE + 1} characters)")
    assert len(text) < MAX_MESSAGE + 50
    assert readable("x" * MAX_MESSAGE) == "x" * MAX_MESSAGE


@given(st.text(max_size=30), st.sampled_from(list(EndKind)))
def test_reports_survive_as_plain_values(text: str, kind: EndKind) -> None:
    """A line and an end come back as they were."""
    line, end = Line(message=text, level="ERROR", at=NOW), End(run_id=an_id(), unit="u", kind=kind, message=text)

    assert read_entry(an_id(), entry_of(line)) == line
    assert read_entry(an_id(), entry_of(end)) == end


@pytest.mark.parametrize(
    "entry",
    [{}, {"end": "exploded", "unit": "u", "message": ""}, {"end": "failed"}, {"line": "x", "level": "INFO", "at": "?"}],
)
def test_an_unreadable_entry_is_left_out(entry: dict[str, str]) -> None:
    """A file that was cut, or is of another version, stops nothing."""
    assert read_entry(an_id(), entry) is None


@pytest.mark.parametrize(("lines", "has_end", "expected"), [(0, False, True), (1, False, False), (0, True, False)])
def test_a_run_is_reported_when_lines_and_end_are(lines: int, has_end: bool, expected: bool) -> None:
    """Neither alone will do."""
    reports = RunReports(an_id())
    reports.lines.extend([LINE] * lines)
    reports.end = End(run_id=an_id(), unit="u", kind=EndKind.FAILED, message="") if has_end else None

    assert reports.is_empty is expected


def test_a_line_takes_more_than_its_text() -> None:
    """Empty lines are not free."""
    assert size(Line(message="", level="INFO", at=NOW)) > 0
    assert size(LINE) == size(Line(message="", level="INFO", at=NOW)) + len("Hello")

"""The lines of a flow run's output, however the pieces of it are cut."""

import itertools

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from prefect.agent.adapters.flow_output import LONGEST, Lines

FIELDS = {"flow_run_id": "r", "flow_run_name": "teal", "flow_name": "etl", "unit": "u"}


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(text=st.text(alphabet="ab\nü", max_size=40), cuts=st.lists(st.integers(0, 60), max_size=6))
def test_pieces_make_the_same_lines_as_the_whole(
    text: str, cuts: list[int], capsys: pytest.CaptureFixture[str]
) -> None:
    """Also where a piece ends within a character."""
    data, lines = text.encode(), Lines(FIELDS)
    ends = sorted({min(cut, len(data)) for cut in cuts} | {0, len(data)})
    for begin, end in itertools.pairwise(ends):
        lines.feed(data[begin:end])
    lines.end()

    whole = text.split("\n")
    expected = whole[:-1] if whole[-1] == "" else whole
    assert capsys.readouterr().out == "".join(f"teal | {line}\n" for line in expected)


def test_a_line_without_end_does_not_fill_the_memory(capsys: pytest.CaptureFixture[str]) -> None:
    """It is shown in parts."""
    lines = Lines(FIELDS)
    for _ in range(10):
        lines.feed(b"x" * (LONGEST // 4 + 1))
    lines.end()

    shown = capsys.readouterr().out
    assert shown.count("x") == 10 * (LONGEST // 4 + 1)
    assert shown.count("teal | ") == 3


def test_a_run_without_a_name_is_shown_by_its_id(capsys: pytest.CaptureFixture[str]) -> None:
    """As in the rest of the log; zero bytes and carriage returns at the end are left out."""
    Lines({"flow_run_id": "r", "flow_run_name": "", "unit": "u"}).feed(b"\0\0a\r\n")

    assert capsys.readouterr().out == "r | a\n"

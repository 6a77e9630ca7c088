"""Times as text, as backends send them."""

from datetime import datetime, timedelta, timezone

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from prefect.agent.domain.times import iso, read_time, stored_time

EXPECTED = datetime(2022, 5, 4, 6, 48, 30, 56652, tzinfo=timezone.utc)


@pytest.mark.parametrize(
    "text",
    [
        "2022-05-04T06:48:30.056652+00:00",
        "2022-05-04T06:48:30.056652Z",
        "2022-05-04t06:48:30.056652z".replace("t", "T"),
        "2022-05-04 06:48:30.056652",
        "2022-05-04T06:48:30.056652",
        "2022-05-04T08:48:30.056652+02:00",
        "2022-05-04T06:48:30.056652999+00:00",
        " 2022-05-04T06:48:30.056652+00:00 ",
    ],
)
def test_every_spelling_of_a_time_is_the_same_time(text: str) -> None:
    """With T or space, any number of digits, with a zone or without one (then it is UTC)."""
    assert read_time(text) == EXPECTED


@pytest.mark.parametrize(
    ("text", "microseconds"), [("2022-05-04T06:48:30", 0), ("2022-05-04T06:48:30.5", 500_000), ("2022-05-04", 0)]
)
def test_a_short_fraction_is_padded(text: str, microseconds: int) -> None:
    """Half a second is .5 as well as .500000: Python 3.10 cannot read the first by itself."""
    assert read_time(text).microsecond == microseconds


def test_a_datetime_is_taken_as_it_is() -> None:
    """Without a zone it is UTC."""
    assert read_time(EXPECTED) == EXPECTED
    assert read_time(EXPECTED.replace(tzinfo=None)) == EXPECTED


@given(st.one_of(st.text(), st.integers(), st.none(), st.floats(), st.lists(st.integers(), max_size=3)))
@example("0001-01-01T00:00:00+23:59")
@example("9999-12-31T23:59:59-23:59")
@example(".")
@example("Z")
@example("2022-05-04T06:48:30.\u0663")
def test_what_is_no_time_is_a_value_error(value: object) -> None:
    """Nothing else is ever raised, and what comes out is aware and UTC."""
    try:
        moment = read_time(value)
    except ValueError:
        return
    assert moment.utcoffset() == timedelta(0)


@given(
    st.one_of(
        st.datetimes(timezones=st.just(timezone.utc)).map(iso),
        st.text(),
        st.from_regex(r"\A\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}\+00:00\Z"),
    )
)
@example("2022-05-04T06:48:30.056652+00:00")
@example("2022-05-04T06:48:30.056652+02:00")
@example("2022-05-04T24:48:30.056652+00:00")
@example("202\u0662-05-04T06:48:30.056652+00:00")
def test_a_time_is_stored_as_it_is_read(value: str) -> None:
    """A text that is written as it is stored is not read and written again, and gives the same, or the same error."""
    try:
        expected = iso(read_time(value))
    except ValueError:
        with pytest.raises(ValueError):  # noqa: PT011 - the kind is the rule
            stored_time(value)
        return
    assert stored_time(value) == expected


@given(
    st.datetimes(timezones=st.just(timezone.utc)),
    st.integers(min_value=-23, max_value=23).map(lambda hours: timezone(timedelta(hours=hours))),
)
def test_text_order_is_time_order(moment: datetime, zone: timezone) -> None:
    """Databases and clients sort these texts: one width, one zone."""
    try:
        local = moment.astimezone(zone)
    except OverflowError:
        return
    assert iso(local) == iso(moment)
    assert len(iso(moment)) == 32
    assert read_time(iso(moment)) == moment


@given(st.datetimes(timezones=st.just(timezone.utc)), st.datetimes(timezones=st.just(timezone.utc)))
def test_earlier_is_smaller(one: datetime, other: datetime) -> None:
    """Comparing the texts compares the times."""
    assert (one < other) == (iso(one) < iso(other))

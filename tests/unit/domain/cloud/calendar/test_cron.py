"""Cron expressions."""

import itertools
from datetime import date, datetime, timedelta, timezone

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from prefect.agent.domain.cloud.calendar.cron import read_cron
from prefect.agent.domain.cloud.calendar.schedules import next_events, read_schedule
from prefect.agent.domain.cloud.errors import CloudRefusal


@pytest.mark.parametrize(
    "text",
    [
        *("", "* * *", "* * * * * *", "60 * * * *", "* 24 * * *", "* * 0 * *", "* * * 13 *", "* * * * 8"),
        *("*/0 * * * *", "5-1 * * * *", "1,,2 * * * *", "a * * * *", "* * * foo *", "* * * * fri#6", "-1 * * * *"),
        *("1- * * * *", "@never", "² * * * *", "* * * * *" + "," * 600),
    ],
)
def test_no_cron_expression(text: str) -> None:
    """Refused, whatever it is."""
    with pytest.raises(CloudRefusal):
        read_cron(text)


@pytest.mark.parametrize(
    ("text", "days"),
    [
        ("0 0 L * *", [31]),
        ("0 0 1,L * *", [1, 31]),
        ("0 0 * * fri#2", [8]),
        ("0 0 * * L5", [29]),
        ("0 0 * * 5#1,L0", [1, 31]),
        ("0 0 13 * 5", [1, 8, 13, 15, 22, 29]),
        ("0 0 1-31 * 5", [1, 8, 15, 22, 29]),
        ("0 0 */10 * *", [1, 11, 21, 31]),
        ("0 0 25/3 * *", [25, 28, 31]),
        ("0 0 * * SUN,7,0", [3, 10, 17, 24, 31]),
        ("0 0 * * 5-7", [1, 2, 3, 8, 9, 10, 15, 16, 17, 22, 23, 24, 29, 30, 31]),
        ("@monthly", [1]),
        ("0 0 * feb *", []),
    ],
)
def test_days_of_cron(text: str, days: list[int]) -> None:
    """In January 2021, which begins with a Friday."""
    found = read_cron(text).days_from(date(2021, 1, 1))

    assert [day.day for day in itertools.takewhile(lambda day: day < date(2021, 2, 1), found)] == days


FIELDS = ((0, 59), (0, 23), (1, 31), (1, 12), (0, 6))


@st.composite
def fields(draw: st.DrawFn) -> list[tuple[str, set[int]]]:
    """The text of each of the five fields, and the values that it stands for."""
    found = []
    for least, most in FIELDS:
        texts: list[str] = []
        values: set[int] = set()
        for _ in range(draw(st.integers(1, 2))):
            low = draw(st.integers(least, most))
            high, step = draw(st.integers(low, most)), draw(st.integers(1, most))
            kind = draw(st.sampled_from(["*", "one", "range", "steps", "all steps"]))
            text, meant = {
                "*": ("*", range(least, most + 1)),
                "one": (f"{low}", range(low, low + 1)),
                "range": (f"{low}-{high}", range(low, high + 1)),
                "steps": (f"{low}-{high}/{step}", range(low, high + 1, step)),
                "all steps": (f"*/{step}", range(least, most + 1, step)),
            }[kind]
            texts.append(text)
            values.update(meant)
        found.append((",".join(texts), values))
    return found


@settings(max_examples=40, deadline=None)
@given(fields(), st.booleans(), st.integers(0, 365 * 4))
def test_cron_against_brute_force(drawn: list[tuple[str, set[int]]], day_or: bool, offset: int) -> None:
    """What is found in six weeks is what a look at every minute of them finds."""
    first = datetime(2020, 1, 1, tzinfo=timezone.utc) + timedelta(days=offset)
    minutes, hours, days, months, weekdays = (values for _, values in drawn)

    def fits(moment: datetime) -> bool:
        in_days, in_weekdays = moment.day in days, moment.isoweekday() % 7 in weekdays
        restricted = len(days) < 31 and len(weekdays) < 7
        either = in_days or in_weekdays if day_or and restricted else in_days and in_weekdays
        return either and moment.month in months and moment.hour in hours and moment.minute in minutes

    all_minutes = (first + timedelta(minutes=number) for number in range(1, 42 * 1440))
    expected = list(itertools.islice(filter(fits, all_minutes), 20))
    clock = {"type": "CronClock", "cron": " ".join(text for text, _ in drawn), "day_or": day_or}
    found = [event.time for event in next_events(read_schedule({"clocks": [clock]}), first, 20)]

    assert [moment for moment in found if moment < first + timedelta(days=42)] == expected

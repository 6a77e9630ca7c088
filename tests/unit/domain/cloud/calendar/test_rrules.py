"""Recurrence rules, judged by the library that clients use, and schedules that are made of them."""

import warnings
from datetime import datetime, timedelta, timezone
from itertools import islice
from typing import Any

import pytest
from dateutil import rrule as judge
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from prefect.agent.domain.cloud.calendar.clocks import RRuleClock, read_clock
from prefect.agent.domain.cloud.calendar.rrules import FREQUENCIES, YEARS, RRule, _easter
from prefect.agent.domain.cloud.calendar.rule_sets import read_rules
from prefect.agent.domain.cloud.errors import CloudRefusal

START = datetime(2024, 2, 28, 9, 30, 15)
DAY = timedelta(days=1, seconds=1)
NAMES = {"week_start": "wkst", "positions": "bysetpos", "months": "bymonth", "month_days": "bymonthday",
         "year_days": "byyearday", "weeks": "byweekno", "easter": "byeaster", "hours": "byhour", "minutes": "byminute",
         "seconds": "bysecond"}  # fmt: skip


def numbers(least: int, most: int, *, negative: bool = False) -> st.SearchStrategy[frozenset[int]]:
    """Some numbers, or none."""
    some = st.integers(least, most)
    signed = some | some.map(lambda number: -number) if negative else some
    return st.just(frozenset()) | st.frozensets(signed, min_size=1, max_size=3)


DAYS = st.fixed_dictionaries({}, optional={
    "months": numbers(1, 12), "month_days": numbers(1, 28, negative=True), "weekdays": numbers(0, 6),
    "year_days": numbers(1, 366, negative=True), "weeks": numbers(1, 51, negative=True),
    "easter": numbers(0, 60, negative=True), "nth_weekdays": st.frozensets(
        st.tuples(st.integers(0, 6), st.sampled_from([1, 2, 4, 5, -1, -2])), max_size=2),
})  # fmt: skip
REST = st.fixed_dictionaries({}, optional={
    "interval": st.integers(1, 15), "week_start": st.integers(0, 6), "hours": numbers(0, 23),
    "minutes": numbers(0, 59), "seconds": numbers(0, 59), "positions": numbers(1, 4, negative=True),
    "count": st.integers(0, 60), "until": st.integers(0, 900).map(lambda days: START + timedelta(days=days)),
})  # fmt: skip


def judged(rule: RRule) -> Any:
    """The same rule as the library has it."""
    given: dict[str, Any] = {"dtstart": rule.start, "interval": rule.interval, "count": rule.count, "until": rule.until}
    given["byweekday"] = [judge.weekday(day) for day in rule.weekdays]
    given["byweekday"] = (given["byweekday"] + [judge.weekday(*pair) for pair in rule.nth_weekdays]) or None
    given |= {theirs: getattr(rule, own) for own, theirs in NAMES.items()}
    given = {name: sorted(value) or None if isinstance(value, frozenset) else value for name, value in given.items()}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of COUNT and UNTIL together
        return judge.rrule(getattr(judge, rule.frequency), **given)


@settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    frequency=st.sampled_from(FREQUENCIES),
    days=DAYS,
    rest=REST,
    later=st.integers(-50, 700),
)
def test_rules_are_those_of_the_clients_library(
    frequency: str, days: dict[str, Any], rest: dict[str, Any], later: int
) -> None:
    """Five times from any moment on, whatever the rule; one that is given up, or never comes true, is not compared."""
    assume(not (frequency == "WEEKLY" and days.get("weeks")))  # the library loses count where a year ends in a week
    rule = RRule(frequency=frequency, start=START, **days, **rest)
    # The library has no short way to a time that is far ahead.
    after = START + later * {"SECONDLY": timedelta(seconds=60), "MINUTELY": timedelta(hours=1)}.get(frequency, DAY)
    try:
        found = list(islice(rule.times(after), 5))
    except CloudRefusal:
        return
    assume(found and found[-1].year < 2030)
    if frequency in {"SECONDLY", "MINUTELY"}:
        assume(len(found) == 5)

    theirs = (moment for moment in judged(rule) if moment >= after)

    assert found == list(islice(theirs, len(found)))
    if len(found) < 5 and rule.count is not None and not rule.until:
        following = next(theirs, None)
        assert following is None or following.year >= after.year + YEARS  # farther ahead than is searched


@pytest.mark.parametrize("count", [1, 7, 2_000_000])
@pytest.mark.parametrize(("frequency", "unit"), [("MINUTELY", 60), ("DAILY", 86_400), ("WEEKLY", 604_800)])
def test_plain_rules_are_counted_without_counting(frequency: str, unit: int, count: int) -> None:
    """The last of very many is known at once; one that lies beyond the calendar never comes."""
    rule = RRule(frequency=frequency, start=START, interval=2, count=count)
    ends = START.timestamp() + 2 * unit * (count - 1)

    if ends < datetime(9000, 1, 1).timestamp():
        last = START + timedelta(seconds=2 * unit * (count - 1))
        assert list(rule.times(last)) == [last]
        assert list(rule.times(last + timedelta(seconds=1))) == []
    else:
        assert len(list(islice(rule.times(START + timedelta(days=3650)), 3))) == 3


@pytest.mark.parametrize(
    ("more", "gives"),
    [
        ({"frequency": "DAILY", "months": frozenset({2}), "month_days": frozenset({30})}, []),
        ({"frequency": "YEARLY", "interval": 100}, [START]),
        ({"frequency": "DAILY", "count": 0}, []),
        ({"frequency": "HOURLY", "hours": frozenset({3}), "interval": 24}, []),
    ],
)
def test_a_rule_that_never_comes_true_ends(more: dict[str, Any], gives: list[datetime]) -> None:
    """Forty years are looked ahead."""
    assert list(RRule(start=START, **more).times(START)) == gives


def test_a_rule_that_would_go_on_for_ever_is_given_up() -> None:
    """With a sentence, after a bounded number of steps."""
    rule = RRule(frequency="SECONDLY", start=START, positions=frozenset({2}))

    with pytest.raises(CloudRefusal, match="steps"):
        next(rule.times(START))


def test_easter() -> None:
    """As astronomers have it."""
    from dateutil.easter import easter  # noqa: PLC0415

    assert [_easter(year) for year in range(1900, 2200)] == [easter(year) for year in range(1900, 2200)]


# --- as clients serialize them ---

AFTER = datetime(2024, 3, 8, tzinfo=timezone.utc)


def serialized(rr: str, start: str | None = "2020-01-01T09:00:00", **more: Any) -> dict[str, Any]:
    """What the 1.4.1 client sends for a rule."""
    return {"type": "rrule", "rr": f"DTSTART:20200101T090000\nRRULE:{rr}", "_dtstart": start, "_until": None, **more}


def next_three(rule: dict[str, Any], **more: Any) -> list[str]:
    """The next times of a clock."""
    clock = read_clock({"type": "RRuleClock", "rrule_obj": rule, **more})
    return [moment.isoformat() for moment in islice(clock.times(AFTER), 3)]


@pytest.mark.parametrize(
    ("rule", "more", "expected"),
    [
        (serialized("FREQ=DAILY;COUNT=3"), {}, []),
        (serialized("FREQ=DAILY;BYMONTH=3;BYDAY=MO,FR", "2020-01-01T09:00:00-05:00"), {},
         ["2024-03-08T09:00:00-05:00", "2024-03-11T09:00:00-05:00", "2024-03-15T09:00:00-05:00"]),
        (serialized("FREQ=MONTHLY;UNTIL=20300101T090000;BYSETPOS=-1;BYDAY=MO,TU,WE,TH,FR;BYHOUR=9,17",
                    _until="2024-05-31T09:00:00+00:00"),
         {"start_date": {"dt": "2024-04-01T00:00:00", "tz": "UTC"}}, ["2024-04-30T17:00:00+00:00"]),
        (serialized("FREQ=MONTHLY;BYDAY=-1FR"), {"end_date": {"dt": "2024-05-01T00:00:00", "tz": "UTC"}},
         ["2024-03-29T09:00:00+00:00", "2024-04-26T09:00:00+00:00"]),
        (serialized("FREQ=YEARLY;BYEASTER=0"), {},
         ["2024-03-31T09:00:00+00:00", "2025-04-20T09:00:00+00:00", "2026-04-05T09:00:00+00:00"]),
        ({"type": "rruleset", "_rrule": [serialized("FREQ=WEEKLY;BYDAY=TU")], "_exdate": ["2024-03-19T09:00:00"],
          "_rdate": ["2024-03-09T01:00:00"], "_exrule": [serialized("FREQ=MONTHLY;BYMONTHDAY=12")]}, {},
         ["2024-03-09T01:00:00+00:00", "2024-03-26T09:00:00+00:00", "2024-04-02T09:00:00+00:00"]),
        ({"type": "rruleset", "_rdate": ["2024-03-09T01:00:00", "2024-03-09T02:00:00+01:00"]}, {},
         ["2024-03-09T01:00:00+00:00"]),
        (serialized("FREQ=WEEKLY", None), {}, ["2024-03-13T00:00:00+00:00", "2024-03-20T00:00:00+00:00",
                                               "2024-03-27T00:00:00+00:00"]),
    ],
)  # fmt: skip
def test_clocks_as_the_client_serializes_them(rule: dict[str, Any], more: dict[str, Any], expected: list[str]) -> None:
    """The texts were written by Prefect 1.4.1, and the times are those of its own ``schedule.next()``."""
    assert next_three(rule, **more) == expected


def test_a_rule_is_later_than_what_was_asked() -> None:
    """But the start of the clock counts itself."""
    rule = read_rules(serialized("FREQ=DAILY"))
    at_nine = datetime(2024, 3, 9, 9, tzinfo=timezone.utc)

    assert next(RRuleClock(rules=rule).times(at_nine)) == at_nine + timedelta(days=1)
    assert next(RRuleClock(rules=rule, start=at_nine).times(AFTER)) == at_nine


@pytest.mark.parametrize(
    "rule",
    [
        None,
        {"type": "rrule"},
        {"type": "cron"},
        {"type": "rruleset", "_rrule": 3},
        {"type": "rruleset", "_rrule": [None]},
        {"type": "rruleset", "_rdate": ["soon"]},
        {"type": "rruleset", "_rdate": 101 * ["2020-01-01"]},
        *(
            serialized(rr)
            for rr in (
                "", "FREQ", "FREQ=NEVER", "INTERVAL=2", "FREQ=DAILY;INTERVAL=0", "FREQ=DAILY;INTERVAL=x",
                "FREQ=DAILY;BYHOUR=24", "FREQ=DAILY;BYDAY=XX", "FREQ=DAILY;BYDAY=", "FREQ=DAILY;BYSETPOS=0",
                "FREQ=DAILY;COUNT=99999999999999999999", "FREQ=DAILY;COLOUR=3", "FREQ=DAILY\nRRULE:FREQ=DAILY",
                "FREQ=DAILY;WKST=8", "FREQ=DAILY;BYMONTHDAY=" + ",".join(2_000 * ["1"]), "\x00", "FREQ=DAILY;BYHOUR=½",
            )
        ),
        serialized("FREQ=DAILY", "soon"),
        serialized("FREQ=DAILY", "0001-01-01T00:00:00+14:00"),
        serialized("FREQ=DAILY", _until="soon"),
    ],
)  # fmt: skip
def test_rules_that_make_no_sense(rule: Any) -> None:
    """Are refused with a sentence."""
    with pytest.raises(CloudRefusal):
        read_clock({"type": "RRuleClock", "rrule_obj": rule})

"""When schedules ask for runs (protocol sections 12.4 and 13.5)."""

import itertools
from collections.abc import Mapping
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from prefect.agent.domain.cloud.calendar.schedules import (
    ScheduledEvent,
    check_covered,
    missing_events,
    next_events,
    read_schedule,
)
from prefect.agent.domain.cloud.errors import CloudRefusal

UTC = timezone.utc
MINUTE = 60_000_000
HOUR, DAY = 60 * MINUTE, 1440 * MINUTE
FILTERS, ADJUSTMENTS = "prefect.schedules.filters.", "prefect.schedules.adjustments."


def at(text: str) -> datetime:
    """UTC."""
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def start(dt: str, tz: str = "UTC") -> dict[str, str]:
    """A time as clients write it."""
    return {"dt": dt, "tz": tz}


def interval(microseconds: int, **more: Any) -> dict[str, Any]:
    """A serialized clock."""
    return {"type": "IntervalClock", "interval": microseconds, "__version__": "1.4.1", **more}


def cron(text: str, **more: Any) -> dict[str, Any]:
    """A serialized clock."""
    return {"type": "CronClock", "cron": text, "__version__": "1.4.1", **more}


def fn(path: str, **kwargs: Any) -> dict[str, Any]:
    """A reference to a function."""
    return {"fn": path, "kwargs": kwargs}


def due(after: str, count: int, *clocks: Mapping[str, Any], **more: Any) -> list[str]:
    """The next times, UTC, to the minute."""
    schedule = read_schedule({"clocks": list(clocks), **more})
    return [event.time.strftime("%Y-%m-%d %H:%M") for event in next_events(schedule, at(after), count)]


NEW_YORK = "America/New_York"


@pytest.mark.parametrize(
    ("clock", "after", "expected"),
    [
        pytest.param(
            interval(DAY, start_date=start("2020-01-01T09:00", NEW_YORK)),
            "2020-03-07",
            ["2020-03-07 14:00", "2020-03-08 13:00", "2020-03-09 13:00"],
            id="a day is a day of the wall clock",
        ),
        pytest.param(
            interval(DAY, start_date=start("2020-01-01T02:30", NEW_YORK)),
            "2020-03-07",
            ["2020-03-07 07:30", "2020-03-08 07:30", "2020-03-09 06:30"],
            id="half past two does not exist",
        ),
        pytest.param(
            interval(DAY, start_date=start("2020-01-01T01:30", NEW_YORK)),
            "2020-10-31",
            ["2020-10-31 05:30", "2020-11-01 06:30", "2020-11-02 06:30"],
            id="half past one comes twice",
        ),
        pytest.param(
            interval(HOUR, start_date=start("2020-01-01T00:00", NEW_YORK)),
            "2020-11-01T04:00",
            ["2020-11-01 05:00", "2020-11-01 06:00", "2020-11-01 07:00"],
            id="an hour is always an hour",
        ),
        pytest.param(
            interval(36 * HOUR, start_date=start("2020-01-01T00:00", NEW_YORK)),
            "2020-03-08T04:00",
            ["2020-03-08 16:00", "2020-03-10 04:00", "2020-03-11 16:00"],
            id="a day and a half",
        ),
        pytest.param(
            cron("30 1 * * *", start_date=start("2020-01-01T00:00", NEW_YORK)),
            "2020-10-31",
            ["2020-10-31 05:30", "2020-11-01 06:30", "2020-11-02 06:30"],
            id="cron, an hour twice",
        ),
        pytest.param(
            cron("*/30 2,3 * * *", start_date=start("2020-01-01T00:00", NEW_YORK)),
            "2020-03-08",
            ["2020-03-08 07:00", "2020-03-08 07:30", "2020-03-09 06:00"],
            id="cron, an hour missing",
        ),
        pytest.param(
            cron("0 9 * * *", start_date=start("2021-06-01T09:00", "Europe/Berlin")),
            "2020-01-01",
            ["2021-06-01 07:00", "2021-06-02 07:00", "2021-06-03 07:00"],
            id="the start itself counts",
        ),
        pytest.param(
            cron("0 9 * * *", start_date=start("2021-06-01T09:00", "+05:30")),
            "2021-06-01T03:30",
            ["2021-06-02 03:30", "2021-06-03 03:30", "2021-06-04 03:30"],
            id="an offset; later than, not at",
        ),
        pytest.param(
            cron("@daily", end_date=start("2021-06-03T00:00")),
            "2021-06-01T12:00",
            ["2021-06-02 00:00", "2021-06-03 00:00"],
            id="the end itself counts",
        ),
        pytest.param(
            interval(HOUR, end_date=start("2021-06-01T02:00")),
            "2021-06-01",
            ["2021-06-01 01:00", "2021-06-01 02:00"],
            id="the end of an interval",
        ),
        pytest.param(
            {"type": "DatesClock", "dates": [start("2021-06-03T00:00", NEW_YORK), start("2021-06-02T00:00"), None]},
            "2021-06-01",
            None,
            id="no date",
        ),
        pytest.param(
            {"type": "DatesClock", "dates": [start("2021-06-03T00:00", NEW_YORK), "2021-06-02T00:00:00+02:00"]},
            "2021-06-01",
            ["2021-06-01 22:00", "2021-06-03 04:00"],
            id="dates",
        ),
        pytest.param(interval(DAY), "9999-12-29T12:00", ["9999-12-30 00:00", "9999-12-31 00:00"], id="the last days"),
        pytest.param(cron("0 0 * * *"), "9999-12-29T12:00", ["9999-12-30 00:00", "9999-12-31 00:00"], id="the end"),
        pytest.param(cron("0 0 31 2 *"), "2020-01-01", [], id="never"),
        pytest.param(
            cron("0 0 29 2 1", day_or=False), "2020-01-01", ["2044-02-29 00:00"], id="February 29 on a Monday"
        ),
    ],
)
def test_clocks(clock: dict[str, Any], after: str, expected: list[str] | None) -> None:
    """Intervals, cron and dates, where clocks are changed, and at the edges."""
    if expected is None:
        with pytest.raises(CloudRefusal, match="is not a time of a schedule"):
            read_schedule({"clocks": [clock]})
    else:
        assert due(after, 3, clock) == expected


def test_clocks_are_merged_and_nothing_comes_twice() -> None:
    """The same time with the same parameters and labels is one event; with others, another."""
    clocks = [interval(HOUR), interval(2 * HOUR), interval(HOUR, parameter_defaults={"x": 1}, labels=["a"])]
    events = next_events(read_schedule({"clocks": clocks}), at("2021-01-01T00:30"), 4)

    assert [(event.time.hour, dict(event.parameter_defaults), event.labels) for event in events] == [
        (1, {}, None),
        (1, {"x": 1}, ("a",)),
        (2, {}, None),
        (2, {"x": 1}, ("a",)),
    ]
    assert events[0].key == "auto-scheduled:2021-01-01T01:00:00+00:00"
    assert events[1].key.startswith("auto-scheduled:2021-01-01T01:00:00+00:00:")
    assert len({event.key for event in events}) == 4


@pytest.mark.parametrize(
    ("functions", "expected"),
    [
        ({"filters": [fn(f"{FILTERS}is_weekday")]}, ["01-01 00", "01-01 12", "01-04 00"]),  # 2021-01-01 is a Friday
        ({"filters": [fn(f"{FILTERS}is_weekend")]}, ["01-02 00", "01-02 12", "01-03 00"]),
        ({"not_filters": [fn(f"{FILTERS}is_weekend")]}, ["01-01 00", "01-01 12", "01-04 00"]),
        ({"filters": [fn(f"{FILTERS}is_day_of_week", day_of_week=0)]}, ["01-04 00", "01-04 12", "01-11 00"]),
        ({"filters": [fn(f"{FILTERS}is_month_end")]}, ["01-31 00", "01-31 12", "02-28 00"]),
        ({"filters": [fn(f"{FILTERS}is_month_start")]}, ["01-01 00", "01-01 12", "02-01 00"]),
        ({"filters": [fn(f"{FILTERS}on_date", month=2, day=3)]}, ["02-03 00", "02-03 12", "02-03 00"]),
        (
            {"filters": [fn(f"{FILTERS}between_dates", start_month=12, start_day=31, end_month=1, end_day=1)]},
            ["01-01 00", "01-01 12", "12-31 00"],
        ),
        (
            {"filters": [fn(f"{FILTERS}between_dates", start_month=1, start_day=3, end_month=2, end_day=1)]},
            ["01-03 00", "01-03 12", "01-04 00"],
        ),
        ({"filters": [fn(f"{FILTERS}at_time", t="//time:12:00:00")]}, ["01-01 12", "01-02 12", "01-03 12"]),
        (
            {"filters": [fn(f"{FILTERS}between_times", start="//time:11:00:00", end="//time:13:00:00")]},
            ["01-01 12", "01-02 12", "01-03 12"],
        ),
        (
            {"filters": [fn(f"{FILTERS}between_times", start="//time:23:00:00", end="//time:01:00:00")]},
            ["01-01 00", "01-02 00", "01-03 00"],
        ),
        ({"filters": [fn(f"{FILTERS}on_datetime", dt="//datetime:2021-01-05T12:00:00+00:00")]}, ["01-05 12"]),
        (
            {
                "filters": [
                    fn(
                        f"{FILTERS}between_datetimes",
                        start="//datetime:2021-01-05T00:00:00",
                        end="//datetime:2021-01-05T13:00:00+01:00",
                    )
                ]
            },
            ["01-05 00", "01-05 12"],
        ),
        (
            {"or_filters": [fn(f"{FILTERS}is_month_start"), fn(f"{FILTERS}is_month_end")]},
            ["01-01 00", "01-01 12", "01-31 00"],
        ),
        (
            {"adjustments": [fn(f"{ADJUSTMENTS}add", interval="//timedelta:3600.0")]},
            ["01-01 01", "01-01 13", "01-02 01"],
        ),
        ({"adjustments": [fn(f"{ADJUSTMENTS}next_weekday")]}, ["01-01 00", "01-01 12", "01-04 00"]),
        ({"filters": None, "or_filters": [], "adjustments": None}, ["01-01 00", "01-01 12", "01-02 00"]),
    ],
)
def test_functions_by_name(functions: dict[str, Any], expected: list[str]) -> None:
    """The filters and adjustments that clients can serialize."""
    assert [text[5:-3] for text in due("2020-12-31T12:00", 3, interval(12 * HOUR), **functions)] == expected


def test_filters_look_at_the_clock_on_the_wall() -> None:
    """Nine in the morning where the clock hangs."""
    nine = fn(f"{FILTERS}at_time", t="//time:09:00:00")
    clock = interval(HOUR, start_date=start("2021-01-01T00:00", "Asia/Tokyo"))

    assert due("2021-01-01", 1, clock, filters=[nine]) == ["2021-01-02 00:00"]


@pytest.mark.parametrize(
    ("schedule", "said"),
    [
        (None, "is an object"),
        ({"clocks": []}, "list of clocks"),
        ({"clocks": {}}, "list of clocks"),
        ({"type": "CronSchedule", "cron": "* * * * *"}, "list of clocks"),
        ({"clocks": [1]}, "is an object"),
        ({"clocks": [{"type": "Sundial"}]}, "'Sundial' are not supported"),
        ({"clocks": [{"type": "RRuleClock"}]}, "rrule_obj"),
        ({"clocks": [interval(59_999_999)]}, "one minute"),
        ({"clocks": [interval(True)]}, "number of microseconds"),
        ({"clocks": [{"type": "IntervalClock", "interval": float("nan")}]}, "out of range"),
        ({"clocks": [interval(10**30)]}, "out of range"),
        ({"clocks": [interval(DAY, start_date=start("never"))]}, "not a time"),
        ({"clocks": [interval(DAY, start_date=start("2020-01-01", "Mars/Base"))]}, "not a time zone"),
        ({"clocks": [interval(DAY, start_date=start("2020-01-01", "../../etc/passwd"))]}, "not a time zone"),
        ({"clocks": [interval(DAY, start_date=start("2020-01-01", "America"))]}, "not a time zone"),
        ({"clocks": [interval(DAY, start_date=start("0001-01-01T00:00", "Asia/Tokyo"))]}, "not a time"),
        ({"clocks": [interval(DAY, labels="a")]}, "labels"),
        ({"clocks": [interval(DAY, parameter_defaults=[1])]}, "parameter_defaults"),
        ({"clocks": [{"type": "DatesClock"}]}, "list of dates"),
        ({"clocks": [interval(DAY)], "filters": [fn("my.module.full_moon")]}, "'my.module.full_moon' is not supported"),
        ({"clocks": [interval(DAY)], "filters": [fn(f"{ADJUSTMENTS}next_weekday")]}, "is not supported"),
        ({"clocks": [interval(DAY)], "filters": {}, "adjustments": 1}, "must be a list"),
        ({"clocks": [interval(DAY)], "filters": [fn(f"{FILTERS}at_time", t="//time:25:00:00")]}, "cannot be read"),
        ({"clocks": [interval(DAY)], "filters": [fn(f"{FILTERS}at_time", t=4)]}, "does not fit t"),
        ({"clocks": [interval(DAY)], "filters": [fn(f"{FILTERS}on_date", month="2", day=1)]}, "does not fit month"),
        ({"clocks": [interval(DAY)], "filters": [fn(f"{FILTERS}on_date", month=2)]}, "does not take"),
        ({"clocks": [interval(DAY)], "filters": [{"fn": f"{FILTERS}on_date", "kwargs": [1]}]}, "must be an object"),
    ],
)
def test_what_cannot_be_kept_is_refused(schedule: object, said: str) -> None:
    """With a sentence that names it."""
    with pytest.raises(CloudRefusal, match=said):
        read_schedule(schedule)


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from(["UTC", NEW_YORK, "Europe/Berlin", "Australia/Lord_Howe", "Asia/Kolkata", "+03:00"]),
    st.datetimes(datetime(2019, 1, 1), datetime(2030, 1, 1)),
    st.datetimes(datetime(2018, 1, 1), datetime(2031, 1, 1)),
    st.one_of(st.integers(1, 40 * 24 * 60).map(lambda n: interval(n * MINUTE)), st.just(cron("7,37 1-3 * * *"))),
)
def test_times_ascend_and_nothing_is_between(
    zone: str, first: datetime, after: datetime, clock: dict[str, Any]
) -> None:
    """Asked again after each event, a schedule goes on with the next one, in every zone and season."""
    schedule = read_schedule({"clocks": [{**clock, "start_date": start(first.isoformat(), zone)}]})
    times = [event.time for event in next_events(schedule, after.replace(tzinfo=UTC), 8)]

    assert len(times) == 8
    assert all(earlier < later for earlier, later in itertools.pairwise([after.replace(tzinfo=UTC), *times]))
    for earlier, later in itertools.pairwise(times):
        assert next_events(schedule, earlier, 1)[0].time == later
        assert next_events(schedule, later - timedelta(microseconds=1), 1)[0].time == later


def test_missing_events() -> None:
    """What has a run is not made again, nor what somebody deleted; clocks that say more are looked at one by one."""
    plain = [ScheduledEvent(at(f"2021-01-0{day}"), {}, None) for day in (1, 2, 3, 4)]
    special = ScheduledEvent(at("2021-01-01"), {"x": 1}, None)

    assert missing_events(plain, {}) == plain
    assert missing_events(plain, {plain[0].key: plain[0].time}) == plain[1:]
    assert missing_events(plain, {plain[2].key: plain[2].time}) == plain[3:]
    assert missing_events(plain, {plain[2].key: None}) == [plain[0], plain[1], plain[3]]
    assert missing_events([special, *plain], {plain[3].key: plain[3].time}) == [special]
    assert missing_events([special], {special.key: None}) == []


def test_required_parameters_must_be_covered() -> None:
    """By the group's defaults, or by every clock."""
    declared = [{"name": "x", "required": True}, {"name": "y", "required": False}]
    schedule = read_schedule({"clocks": [interval(DAY, parameter_defaults={"x": None}), interval(DAY)]})

    with pytest.raises(CloudRefusal, match="not supplied: x"):
        check_covered(schedule, declared, {})
    check_covered(schedule, declared, {"x": 1})
    check_covered(read_schedule({"clocks": [interval(DAY, parameter_defaults={"x": 1})]}), declared, None)


def test_a_filter_that_lets_nothing_through_ends() -> None:
    """It is not waited for ever."""
    assert due("2021-01-01", 1, interval(MINUTE), filters=[fn(f"{FILTERS}on_date", month=2, day=30)]) == []

"""Where the bars of a history begin and end, in the viewer's zone."""

import itertools
from datetime import datetime, timedelta, timezone
from zoneinfo import ZoneInfo

import pytest

from prefect.agent.entrypoints.server.pages.zones import Zone, edges

DAY = timedelta(days=1)


def at(text: str, step: timedelta, number: int, name: str) -> list[str]:
    """Edges as the viewer's clocks show them."""
    zone = ZoneInfo(name)
    found = edges(datetime.fromisoformat(text).replace(tzinfo=timezone.utc), step, number, Zone(name, zone))
    return [f"{one.astimezone(zone):%m-%d %H:%M}" for one in found]


@pytest.mark.parametrize(
    ("now", "step", "zone", "expected"),
    [
        ("2026-01-31T12:34", timedelta(hours=1), "UTC", ["01-31 11:00", "01-31 12:00", "01-31 13:00"]),
        ("2026-01-31T12:34", timedelta(hours=1), "Asia/Kathmandu", ["01-31 17:00", "01-31 18:00", "01-31 19:00"]),
        ("2026-01-31T23:34", timedelta(hours=6), "America/New_York", ["01-31 12:00", "01-31 18:00", "02-01 00:00"]),
        ("2026-01-31T23:34", DAY, "Asia/Tokyo", ["01-31 00:00", "02-01 00:00", "02-02 00:00"]),
        ("2026-02-04T12:00", 7 * DAY, "Europe/Berlin", ["01-26 00:00", "02-02 00:00", "02-09 00:00"]),
        ("2026-02-02T00:00", 7 * DAY, "UTC", ["01-26 00:00", "02-02 00:00", "02-09 00:00"]),
    ],
)
def test_bars_begin_at_full_steps_of_the_zone(now: str, step: timedelta, zone: str, expected: list[str]) -> None:
    """The last one holds this moment; weeks begin on Mondays."""
    assert at(now, step, 2, zone) == expected


@pytest.mark.parametrize("zone", ["Europe/Berlin", "America/New_York", "Africa/Cairo", "Australia/Lord_Howe", "UTC"])
@pytest.mark.parametrize("step", [timedelta(hours=1), timedelta(hours=6), DAY, 7 * DAY], ids=str)
def test_no_moment_is_left_out_where_clocks_change(zone: str, step: timedelta) -> None:
    """Whatever the day: each bar ends where the next one begins, none is empty, the last one holds this moment."""
    rules = Zone(zone, ZoneInfo(zone))
    for hours in range(0, 24 * 400, 11):
        now = datetime(2026, 1, 1, 0, 30, tzinfo=timezone.utc) + timedelta(hours=hours)
        found = edges(now, step, 4, rules)
        assert all(start < end for start, end in itertools.pairwise(found))
        assert found[-2] <= now < found[-1]


def test_a_day_whose_clocks_are_changed_is_one_bar() -> None:
    """Of 23 or of 25 hours."""
    zone = Zone("Europe/Berlin", ZoneInfo("Europe/Berlin"))

    def hours(day: int, month: int) -> set[float]:
        found = edges(datetime(2026, month, day, 12, tzinfo=timezone.utc), DAY, 5, zone)
        return {(end - start) / timedelta(hours=1) for start, end in itertools.pairwise(found)}

    assert hours(31, 3) == {24, 23}
    assert hours(27, 10) == {24, 25}

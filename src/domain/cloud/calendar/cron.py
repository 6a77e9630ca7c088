"""Cron expressions of five fields, with the extensions that the clients accept.

Names of months and weekdays, steps, ranges, lists, ``@daily`` and its like, ``L`` for the last day of a month, ``5#2``
for the second Friday and ``L5`` for the last one. A field with all values restricts nothing.
"""

import calendar
import re
from collections.abc import Iterator, Mapping
from datetime import date, datetime, time, timedelta
from typing import Final

import attrs

from prefect.agent.domain.cloud.errors import CloudRefusal

YEARS: Final = 40
"""How many years ahead to search: the longest wait for a February 29 on a given weekday, across a century."""

_ALIASES: Final[Mapping[str, str]] = {
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
    "@monthly": "0 0 1 * *",
    "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@hourly": "0 * * * *",
}
_MONTHS: Final = {
    "jan": 1, "feb": 2, "mar": 3, "apr": 4, "may": 5, "jun": 6,
    "jul": 7, "aug": 8, "sep": 9, "oct": 10, "nov": 11, "dec": 12,
}  # fmt: skip
_WEEKDAYS: Final = {"sun": 0, "mon": 1, "tue": 2, "wed": 3, "thu": 4, "fri": 5, "sat": 6}
_PART: Final = re.compile(r"(?:(?P<star>\*)|(?P<low>\w+)(?:-(?P<high>\w+))?)(?:/(?P<step>\d{1,4}))?")
_NTH: Final = re.compile(r"(?P<day>\w+)#(?P<nth>[1-5])")
_LAST: Final = re.compile(r"l(?P<day>[0-7])")
_MAX_LENGTH: Final = 500
"""Characters of an expression."""


@attrs.frozen(kw_only=True)
class Cron:
    """A cron expression; its times are wall-clock times.

    Attributes:
        last_day: Whether the last day of each month matches, too.
        weekdays: 0 is Sunday.
        nth_weekdays: Weekday, and which one of the month; -1 is the last.
        day_or: Whether day or weekday must match if both are restricted; else both must.
    """

    minutes: frozenset[int]
    hours: frozenset[int]
    days: frozenset[int]
    last_day: bool
    months: frozenset[int]
    weekdays: frozenset[int]
    nth_weekdays: frozenset[tuple[int, int]]
    day_or: bool = True

    def days_from(self, first: date) -> Iterator[date]:
        """Yield the matching days from *first* on."""
        day, end = first, min(first.year + YEARS, date.max.year)
        while day.year <= end:
            if day.month not in self.months:
                following = day.replace(day=calendar.monthrange(day.year, day.month)[1])
            else:
                following = day
                if self._is_day(day):
                    yield day
            if following == date.max:
                return
            day = following + timedelta(days=1)

    def times_on(self, day: date) -> Iterator[datetime]:
        """Return all times of a matching day, ascending, without a zone."""
        for hour in sorted(self.hours):
            for minute in sorted(self.minutes):
                yield datetime.combine(day, time(hour, minute))

    def _is_day(self, day: date) -> bool:
        any_day, any_weekday = len(self.days) == _SIZES["day"], len(self.weekdays) == _SIZES["weekday"]
        fits_day = day.day in self.days or (self.last_day and day.day == calendar.monthrange(day.year, day.month)[1])
        fits_weekday = self._is_weekday(day)
        if any_day or any_weekday or not self.day_or:
            return (any_day or fits_day) and (any_weekday or fits_weekday)
        return fits_day or fits_weekday

    def _is_weekday(self, day: date) -> bool:
        weekday = day.isoweekday() % 7
        is_last = day.day + 7 > calendar.monthrange(day.year, day.month)[1]
        nth = (day.day - 1) // 7 + 1
        return (
            weekday in self.weekdays
            or (weekday, nth) in self.nth_weekdays
            or (is_last and (weekday, -1) in self.nth_weekdays)
        )


_SIZES: Final = {"day": 31, "weekday": 7}


def read_cron(text: str, *, day_or: bool = True) -> Cron:
    """Read a cron expression.

    Raises:
        CloudRefusal: The text is not a cron expression.
    """
    if len(text) > _MAX_LENGTH:
        raise CloudRefusal(f"A cron expression may have at most {_MAX_LENGTH} characters")
    fields = _ALIASES.get(text.strip().lower(), text).lower().split()
    if len(fields) != 5:
        raise CloudRefusal(f"The cron expression {text!r:.80} does not have five fields")
    try:
        plain_days = [part for part in fields[2].split(",") if part != "l"]
        nth, plain_weekdays = _nth_weekdays(fields[4].split(","))
        return Cron(
            minutes=_values(fields[0].split(","), 0, 59),
            hours=_values(fields[1].split(","), 0, 23),
            days=_values(plain_days, 1, 31),
            last_day="l" in fields[2].split(","),
            months=_values(fields[3].split(","), 1, 12, _MONTHS),
            weekdays=frozenset(value % 7 for value in _values(plain_weekdays, 0, 7, _WEEKDAYS)),
            nth_weekdays=nth,
            day_or=day_or,
        )
    except ValueError as problem:
        raise CloudRefusal(f"The cron expression {text!r:.80} is invalid: {problem}") from problem


def _nth_weekdays(parts: list[str]) -> tuple[frozenset[tuple[int, int]], list[str]]:
    """Return the weekdays within a month, and the parts that are none."""
    found, others = set(), []
    for part in parts:
        nth, last = _NTH.fullmatch(part), _LAST.fullmatch(part)
        if nth:
            found.add((_number(nth["day"], 0, 7, _WEEKDAYS) % 7, int(nth["nth"])))
        elif last:
            found.add((int(last["day"]) % 7, -1))
        else:
            others.append(part)
    return frozenset(found), others


def _values(parts: list[str], least: int, most: int, names: Mapping[str, int] | None = None) -> frozenset[int]:
    found: set[int] = set()
    for part in parts:
        match = _PART.fullmatch(part)
        if match is None:
            raise ValueError(f"{part!r:.40} is not understood")
        low = least if match["star"] else _number(match["low"], least, most, names)
        if match["high"]:
            high = _number(match["high"], least, most, names)
        else:
            high = most if match["star"] or match["step"] else low
        step = int(match["step"] or 1)
        if low > high or not step:
            raise ValueError(f"{part!r:.40} holds nothing")
        found.update(range(low, high + 1, step))
    return frozenset(found)


def _number(text: str, least: int, most: int, names: Mapping[str, int] | None) -> int:
    if names and text in names:
        return names[text]
    if not (text.isascii() and text.isdigit() and len(text) <= 2) or not least <= int(text) <= most:
        raise ValueError(f"{text!r:.40} is not within {least} and {most}")
    return int(text)

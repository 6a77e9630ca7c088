"""Recurrence rules of iCalendar (RFC 5545, section 3.3.10), with the results of the clients' library.

Times are wall-clock times without a zone. ``FREQ=SECONDLY`` to ``YEARLY`` with all ``BY`` parts, ``BYSETPOS``,
``WKST``, ``INTERVAL``, ``COUNT`` and that library's ``BYEASTER``. The search is limited, so that a rule without any
time does not keep the Cloud busy.
"""

import calendar
from collections.abc import Callable, Iterable, Iterator
from datetime import date, datetime, time, timedelta
from itertools import product
from typing import Any, Final

import attrs

from prefect.agent.domain.cloud.errors import CloudRefusal

FREQUENCIES: Final = ("YEARLY", "MONTHLY", "WEEKLY", "DAILY", "HOURLY", "MINUTELY", "SECONDLY")
WEEKDAYS: Final = ("MO", "TU", "WE", "TH", "FR", "SA", "SU")

YEARS: Final = 40
"""How many years ahead to search."""

STEPS: Final = 40_000
"""How many days and times one search examines: all days of the search, and many hours and minutes."""

_UNITS: Final = {"HOURLY": timedelta(hours=1), "MINUTELY": timedelta(minutes=1), "SECONDLY": timedelta(seconds=1)}
_DAY: Final = timedelta(days=1)

Numbers = frozenset[int]


@attrs.frozen(kw_only=True)
class RRule:
    """A recurrence rule; its times are wall-clock times, and empty parts restrict nothing.

    Attributes:
        frequency: One of ``FREQUENCIES``.
        start: The first possible time.
        until: The last possible time; None: no limit.
        count: How many times there are; None: no limit.
        week_start: 0 is Monday.
        positions: Which times of each period are used; -1 is the last.
        nth_weekdays: Weekday, and which one of the month or year; -1 is the last.
        easter: Days after Easter Sunday.
    """

    frequency: str
    start: datetime
    interval: int = 1
    until: datetime | None = None
    count: int | None = None
    week_start: int = 0
    positions: Numbers = frozenset()
    months: Numbers = frozenset()
    month_days: Numbers = frozenset()
    year_days: Numbers = frozenset()
    weeks: Numbers = frozenset()
    weekdays: Numbers = frozenset()
    nth_weekdays: frozenset[tuple[int, int]] = frozenset()
    easter: Numbers = frozenset()
    hours: Numbers = frozenset()
    minutes: Numbers = frozenset()
    seconds: Numbers = frozenset()

    def times(self, after: datetime) -> Iterator[datetime]:
        """Yield the times from *after* on, ascending, as far ahead as the search goes.

        Raises:
            CloudRefusal: The search takes too many steps.
        """
        rule = _without_count(_completed(self))
        left = rule.count
        first = rule.start if left is not None else max(after, rule.start)
        for moment in _Walk(rule).moments(first, max(after, rule.start)):
            if (rule.until and moment > rule.until) or left == 0:
                return
            if moment >= rule.start:
                left = None if left is None else left - 1
                if moment >= after:
                    yield moment


def _completed(rule: RRule) -> RRule:
    """Return the rule with its missing parts taken from its start."""
    start, frequency = rule.start, rule.frequency
    new: dict[str, Any] = {}
    if frequency not in {"YEARLY", "MONTHLY"} and rule.nth_weekdays:
        new = {"weekdays": rule.weekdays | {day for day, _ in rule.nth_weekdays}, "nth_weekdays": frozenset()}
    if not (rule.weeks or rule.year_days or rule.month_days or rule.weekdays or rule.nth_weekdays or rule.easter):
        if frequency == "YEARLY":
            new = {"months": rule.months or frozenset({start.month}), "month_days": frozenset({start.day})}
        elif frequency == "MONTHLY":
            new = {"month_days": frozenset({start.day})}
        elif frequency == "WEEKLY":
            new = {"weekdays": frozenset({start.weekday()})}
    for name, value, finer in (("hours", start.hour, "HOURLY"), ("minutes", start.minute, "MINUTELY"),
                               ("seconds", start.second, "SECONDLY")):  # fmt: skip
        if not getattr(rule, name) and FREQUENCIES.index(frequency) < FREQUENCIES.index(finer):
            new[name] = frozenset({value})
    return attrs.evolve(rule, **new)


def _without_count(rule: RRule) -> RRule:
    """Return a rule with ``until`` in place of ``count``, if each period has one time; else the rule itself."""
    if rule.count is None or rule.count == 0 or rule.positions:
        return rule
    unit = {"WEEKLY": 7 * _DAY, "DAILY": _DAY, **_UNITS}.get(rule.frequency)
    plain = RRule(frequency=rule.frequency, start=rule.start, interval=rule.interval, week_start=rule.week_start)
    if unit is None or attrs.evolve(rule, count=None, until=None) != _completed(plain):
        return rule
    try:
        last = rule.start + unit * rule.interval * (rule.count - 1)
    except OverflowError:
        last = datetime.max
    return attrs.evolve(rule, count=None, until=min(last, rule.until or last))


@attrs.define
class _Walk:
    """One search through the calendar for a complete rule."""

    rule: RRule
    _left: int = STEPS

    def moments(self, first: datetime, asked: datetime) -> Iterator[datetime]:
        """Yield all times from the period of *first* on, including earlier ones of that period."""
        end = date(min(asked.year + YEARS, date.max.year), 12, 31)
        try:
            if self.rule.frequency in _UNITS:
                yield from self._within_days(first, end)
                return
            times = [time(h, m, s) for h, m, s in product(*map(sorted, self._time_parts()))]
            for days in self._periods(first.date()):
                if not days or days[0] > end:
                    return
                fitting = [day for day in days if self._fits(day)]
                yield from self._positioned([datetime.combine(*each) for each in product(fitting, times)])
        except OverflowError:
            return

    def _within_days(self, first: datetime, end: date) -> Iterator[datetime]:
        """Yield the times of periods shorter than a day; days that do not match are skipped."""
        rule, step = self.rule, _UNITS[self.rule.frequency] * self.rule.interval
        zero = {"HOURLY": {"minute": 0, "second": 0}, "MINUTELY": {"second": 0}}.get(rule.frequency, {})
        begin = rule.start.replace(**zero)  # type: ignore[arg-type]
        moment = begin + step * max(0, (first - begin) // step)
        day, day_fits = moment.date(), self._fits(moment.date())
        while day <= end:
            self._step()
            if not day_fits:
                moment = _at_least(datetime.combine(day + _DAY, time()), moment, step)
            elif rule.hours and moment.hour not in rule.hours:
                moment = _at_least(moment.replace(minute=0, second=0) + _UNITS["HOURLY"], moment, step)
            elif rule.frequency != "HOURLY" and rule.minutes and moment.minute not in rule.minutes:
                moment = _at_least(moment.replace(second=0) + _UNITS["MINUTELY"], moment, step)
            else:
                yield from self._positioned(self._of_period(moment))
                moment += step
            if moment.date() != day:
                day, day_fits = moment.date(), self._fits(moment.date())

    def _of_period(self, moment: datetime) -> list[datetime]:
        rule = self.rule
        parts = zip((moment.hour, moment.minute, moment.second), self._time_parts(), strict=True)
        given = FREQUENCIES.index(rule.frequency) - FREQUENCIES.index("DAILY")  # hour; and minute; and second
        choices = [
            sorted(allowed) if number >= given else [value] if not allowed or value in allowed else []
            for number, (value, allowed) in enumerate(parts)
        ]
        return [datetime.combine(moment.date(), time(h, m, s)) for h, m, s in product(*choices)]

    def _time_parts(self) -> tuple[Numbers, Numbers, Numbers]:
        return self.rule.hours, self.rule.minutes, self.rule.seconds

    def _positioned(self, moments: list[datetime]) -> list[datetime]:
        if not self.rule.positions:
            return moments
        places = {at - 1 if at > 0 else len(moments) + at for at in self.rule.positions}
        return [moments[place] for place in sorted(places) if 0 <= place < len(moments)]

    def _periods(self, first: date) -> Iterator[list[date]]:
        """Yield the days of each period."""
        rule, start = self.rule, self.rule.start.date()
        if rule.frequency in {"YEARLY", "MONTHLY"}:
            length = 12 if rule.frequency == "YEARLY" else 1
            begin = start.year * 12 + (start.month - 1 if length == 1 else 0)
            skipped = (first.year * 12 + first.month - 1 - begin) // (length * rule.interval)
            month = begin + skipped * length * rule.interval
            while month // 12 <= date.max.year:
                opening = date(month // 12, month % 12 + 1, 1)
                closing = date(opening.year, 12 if length == 12 else opening.month, 1)
                yield _days(opening, closing.replace(day=_month_length(closing)))
                month += length * rule.interval
        elif rule.frequency == "WEEKLY":
            monday = start - _DAY * ((start.weekday() - rule.week_start) % 7)
            week = monday + _DAY * 7 * rule.interval * ((first - monday).days // (7 * rule.interval))
            while True:
                yield _days(max(week, start), week + 6 * _DAY)
                week += 7 * rule.interval * _DAY
        else:
            day = start + _DAY * rule.interval * ((first - start).days // rule.interval)
            while True:
                yield [day]
                day += rule.interval * _DAY

    def _fits(self, day: date) -> bool:
        self._step()
        rule = self.rule
        tests: tuple[tuple[Iterable[object], Callable[[date], bool]], ...] = (
            (rule.months, lambda day: day.month in rule.months),
            (rule.weeks, self._in_week),
            (rule.weekdays, lambda day: day.weekday() in rule.weekdays),
            (rule.nth_weekdays, self._is_nth_weekday),
            (rule.easter, lambda day: (day - _easter(day.year)).days in rule.easter),
            (rule.month_days, lambda day: _within(rule.month_days, day.day, _month_length(day))),
            (rule.year_days, lambda day: _within(rule.year_days, day.timetuple().tm_yday, _year_length(day.year))),
        )
        return all(fits(day) for asked, fits in tests if asked)

    def _is_nth_weekday(self, day: date) -> bool:
        """Return whether a day is one of the nth weekdays, of its month if the rule has months, else of its year."""
        if self.rule.frequency == "MONTHLY" or self.rule.months:
            number, length = day.day, _month_length(day)
        else:
            number, length = day.timetuple().tm_yday, _year_length(day.year)
        nth = {(number - 1) // 7 + 1, -((length - number) // 7 + 1)}
        return any((day.weekday(), each) in self.rule.nth_weekdays for each in nth)

    def _in_week(self, day: date) -> bool:
        """Return whether a day is in one of the rule's weeks; the first week has at least four days of the year."""
        opening = day - _DAY * ((day.weekday() - self.rule.week_start) % 7)
        year = (opening + 3 * _DAY).year
        weeks = (_first_week(year + 1, self.rule.week_start) - _first_week(year, self.rule.week_start)).days // 7
        number = (opening - _first_week(year, self.rule.week_start)).days // 7 + 1
        return _within(self.rule.weeks, number, weeks)

    def _step(self) -> None:
        self._left -= 1
        if self._left < 0:
            raise CloudRefusal(f"A rule of the schedule was given up: it takes more than {STEPS} steps to evaluate")


def _at_least(target: datetime, moment: datetime, step: timedelta) -> datetime:
    """Return the first time of a sequence that is not before *target*."""
    return moment + step * -((moment - target) // step)


def _within(wanted: Numbers, number: int, length: int) -> bool:
    """Return whether a number, counted from one, is wanted; negative wanted numbers count from the end."""
    return number in wanted or number - length - 1 in wanted


def _days(first: date, last: date) -> list[date]:
    return [first + _DAY * number for number in range((last - first).days + 1)]


def _month_length(day: date) -> int:
    return calendar.monthrange(day.year, day.month)[1]


def _year_length(year: int) -> int:
    return 366 if calendar.isleap(year) else 365


def _first_week(year: int, week_start: int) -> date:
    fourth = date(year, 1, 4)
    return fourth - _DAY * ((fourth.weekday() - week_start) % 7)


def _easter(year: int) -> date:
    """Return Easter Sunday of a year in the Gregorian calendar (the anonymous algorithm)."""
    century, rest = divmod(year, 100)
    epact = (19 * (year % 19) + century - century // 4 - (century - (century + 8) // 25 + 1) // 3 + 15) % 30
    weekday = (32 + 2 * (century % 4) + 2 * (rest // 4) - epact - rest % 4) % 7
    late = (year % 19 + 11 * epact + 22 * weekday) // 451
    month, day = divmod(epact + weekday - 7 * late + 114, 31)
    return date(year, month, day + 1)

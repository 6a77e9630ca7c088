"""Clocks of schedules (protocol section 12.4): the times at which runs are due, in any time zone.

A wall-clock time that does not exist (clocks put forward) becomes one hour later; of one that exists twice (clocks put
back) the second is used, as the clients' own ``schedule.next()`` does.
"""

from collections.abc import Iterator, Mapping, Sequence
from datetime import date, datetime, timedelta, timezone, tzinfo
from typing import Any, Final
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import attrs

from prefect.agent.domain.cloud.calendar.cron import Cron, read_cron
from prefect.agent.domain.cloud.calendar.rule_sets import RuleSet, read_rules
from prefect.agent.domain.cloud.errors import CloudRefusal
from prefect.agent.domain.times import read_time

SHORTEST: Final = timedelta(minutes=1)
"""The shortest interval of a clock."""

FIRST: Final = datetime(2019, 1, 1, tzinfo=timezone.utc)
"""The start of intervals if a clock has none."""

_DAY: Final = timedelta(days=1)


@attrs.frozen(kw_only=True)
class ScheduleClock:
    """The base of all clocks.

    Attributes:
        parameter_defaults: Parameters of the runs of this clock.
        labels: Labels of the runs of this clock; None leaves them to the flow.
    """

    parameter_defaults: Mapping[str, Any] = attrs.field(factory=dict)
    labels: tuple[str, ...] | None = None

    def times(self, after: datetime) -> Iterator[datetime]:
        """Yield the times later than *after*, ascending, in the clock's own zone; there may be no last one."""
        raise NotImplementedError


@attrs.frozen(kw_only=True)
class IntervalClock(ScheduleClock):
    """A clock with a constant interval.

    An interval below a day is elapsed time, so that no time is left out when clocks are put back. A longer one is
    wall-clock time, so that 9 o'clock stays 9 o'clock.

    Attributes:
        start: The first time; aware.
        end: The last possible time.
    """

    interval: timedelta
    start: datetime = FIRST
    end: datetime | None = None

    def times(self, after: datetime) -> Iterator[datetime]:
        """See :class:`ScheduleClock`."""
        zone, wall = self.start.tzinfo or timezone.utc, self.start.replace(tzinfo=None)
        first = _instant(wall, zone)
        count = max(0, (after - first) // self.interval - 1)  # one early: a wall clock may have been moved
        while True:
            try:
                moment = (
                    first + self.interval * count
                    if self.interval < _DAY
                    else _instant(wall + self.interval * count, zone)
                )
            except OverflowError:
                return
            if self.end and moment > self.end:
                return
            if moment > after:
                yield moment.astimezone(zone)
            count += 1


@attrs.frozen(kw_only=True)
class CronClock(ScheduleClock):
    """A clock with the wall-clock times of a cron expression.

    Attributes:
        start: The first possible time; None: no limit.
        end: The last possible time.
    """

    cron: Cron
    zone: tzinfo = timezone.utc
    start: datetime | None = None
    end: datetime | None = None

    def times(self, after: datetime) -> Iterator[datetime]:
        """See :class:`ScheduleClock`."""
        last = after
        for day in self.cron.days_from(_day_before(max(after, self.start or after), self.zone)):
            try:
                # A set, and sorted: a time that does not exist is moved to where another one may be.
                moments = sorted({_instant(wall, self.zone) for wall in self.cron.times_on(day)})
            except OverflowError:
                return
            for moment in moments:
                if self.end and moment > self.end:
                    return
                if moment > last and (self.start is None or moment >= self.start):
                    last = moment
                    yield moment.astimezone(self.zone)


@attrs.frozen(kw_only=True)
class DatesClock(ScheduleClock):
    """A clock with a list of times."""

    dates: Sequence[datetime]

    def times(self, after: datetime) -> Iterator[datetime]:
        """See :class:`ScheduleClock`."""
        by_time = {local.astimezone(timezone.utc): local for local in self.dates}
        return (by_time[moment] for moment in sorted(by_time) if moment > after)


@attrs.frozen(kw_only=True)
class RRuleClock(ScheduleClock):
    """A clock with the times of recurrence rules.

    Attributes:
        start: The first possible time; None: no limit.
        end: The last possible time.
    """

    rules: RuleSet
    start: datetime | None = None
    end: datetime | None = None

    def times(self, after: datetime) -> Iterator[datetime]:
        """See :class:`ScheduleClock`."""
        for moment in self.rules.times(max(after, self.start or after)):
            if self.end and moment > self.end:
                return
            if moment > after:
                yield moment


def read_clock(payload: object) -> ScheduleClock:
    """Read a serialized clock.

    Raises:
        CloudRefusal: The payload is not a clock, or its kind is not supported.
    """
    if not isinstance(payload, Mapping):
        raise CloudRefusal("A clock of a schedule is an object")
    defaults, labels = payload.get("parameter_defaults") or {}, payload.get("labels")
    if not isinstance(defaults, Mapping):
        raise CloudRefusal("parameter_defaults of a clock must be an object")
    if labels is not None and not (isinstance(labels, list) and all(isinstance(label, str) for label in labels)):
        raise CloudRefusal("labels of a clock must be a list of texts")
    common: dict[str, Any] = {"parameter_defaults": dict(defaults), "labels": None if labels is None else tuple(labels)}
    start, end = _read_optional(payload.get("start_date")), _read_optional(payload.get("end_date"))
    kind = payload.get("type")
    if kind == "IntervalClock":
        return IntervalClock(interval=_read_interval(payload.get("interval")), start=start or FIRST, end=end, **common)
    if kind == "CronClock":
        cron = read_cron(str(payload.get("cron")), day_or=payload.get("day_or") is not False)
        zone = (start.tzinfo if start else None) or timezone.utc
        return CronClock(cron=cron, zone=zone, start=start, end=end, **common)
    if kind == "DatesClock":
        dates = payload.get("dates")
        if not isinstance(dates, list):
            raise CloudRefusal("A DatesClock must have a list of dates")
        return DatesClock(dates=[_read_moment(moment) for moment in dates], **common)
    if kind == "RRuleClock":
        return RRuleClock(rules=read_rules(payload.get("rrule_obj")), start=start, end=end, **common)
    raise CloudRefusal(
        f"Clocks of type {kind!r:.40} are not supported; there are CronClock, DatesClock, IntervalClock, RRuleClock"
    )


def read_zone(name: object) -> tzinfo:
    """Return a time zone by its name or its offset (``-05:00``).

    Raises:
        CloudRefusal: There is no time zone of this name.
    """
    text = str(name)
    if text[:1] in {"+", "-"}:
        try:
            offset = datetime.fromisoformat(f"2000-01-01T00:00:00{text}").tzinfo
        except ValueError:
            offset = None
        if offset is not None:
            return offset
    try:
        return ZoneInfo(text)
    except (ZoneInfoNotFoundError, ValueError, OSError) as problem:  # OSError: a folder of zones, or a name too long
        raise CloudRefusal(f"{text!r:.40} is not a time zone") from problem


def _instant(wall: datetime, zone: tzinfo) -> datetime:
    """Return a wall-clock time as UTC; the later one if it exists twice or not at all."""
    return max(wall.replace(tzinfo=zone, fold=fold).astimezone(timezone.utc) for fold in (0, 1))


def _day_before(moment: datetime, zone: tzinfo) -> date:
    try:
        return (moment.astimezone(zone) - _DAY).date()
    except OverflowError:
        return date.min


def _read_optional(value: object) -> datetime | None:
    return None if value is None else _read_moment(value)


def _read_moment(value: object) -> datetime:
    """Read a time as clients write it: ``{dt, tz}`` with wall-clock time and zone, or text."""
    text, zone = (value.get("dt"), value.get("tz")) if isinstance(value, Mapping) else (value, None)
    place = timezone.utc if zone is None else read_zone(zone)
    try:
        wall = datetime.fromisoformat(str(text)) if isinstance(value, Mapping) else read_time(text)
        return (wall.astimezone(place) if wall.tzinfo else _instant(wall, place)).astimezone(place)
    except (ValueError, OverflowError) as problem:
        raise CloudRefusal(f"{text!r:.80} is not a time of a schedule") from problem


def _read_interval(value: object) -> timedelta:
    """Read an interval in microseconds."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise CloudRefusal("The interval of a clock must be a number of microseconds")
    try:
        interval = timedelta(microseconds=value)
    except (OverflowError, ValueError) as problem:
        raise CloudRefusal(f"The interval of {value!r:.40} microseconds is out of range") from problem
    if interval < SHORTEST:
        raise CloudRefusal("The interval of a clock must be at least one minute")
    return interval

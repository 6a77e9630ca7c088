"""Read recurrence rules, and sets of rules, as clients serialize them (protocol section 12.4)."""

import heapq
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime, timezone, tzinfo
from typing import Any, Final

import attrs

from prefect.agent.domain.cloud.calendar.rrules import FREQUENCIES, WEEKDAYS, RRule
from prefect.agent.domain.cloud.errors import CloudRefusal

_UNSAID: Final = "2018-06-20T00:00:00"
"""The start of a rule without one, as in the client."""

_LONGEST: Final = 2_000
_MOST: Final = 100

_RANGES: Final[Mapping[str, tuple[str, int, int, bool]]] = {
    "BYSETPOS": ("positions", 1, 366, True),
    "BYMONTH": ("months", 1, 12, False),
    "BYMONTHDAY": ("month_days", 1, 31, True),
    "BYYEARDAY": ("year_days", 1, 366, True),
    "BYWEEKNO": ("weeks", 1, 53, True),
    "BYEASTER": ("easter", 0, 366, True),
    "BYHOUR": ("hours", 0, 23, False),
    "BYMINUTE": ("minutes", 0, 59, False),
    "BYSECOND": ("seconds", 0, 59, False),
}
"""Numeric parts of a rule: attribute, least and greatest value, and whether they may be negative."""

_WEEKDAY: Final = re.compile(r"(?P<nth>[+-]?\d{1,3})?(?P<day>[A-Z]{2})(?:\((?P<other>[+-]?\d{1,3})\))?")


@attrs.frozen
class ZonedRule:
    """A rule in the time zone of its start, of which clients keep only the offset."""

    rule: RRule
    zone: tzinfo

    def times(self, after: datetime) -> Iterator[datetime]:
        """Yield the times from *after* on, ascending."""
        try:
            wall = after.astimezone(self.zone).replace(tzinfo=None)
        except OverflowError:
            return iter(())
        return (moment.replace(tzinfo=self.zone) for moment in self.rule.times(wall))


@attrs.frozen(kw_only=True)
class RuleSet:
    """The times of included rules and dates without those of excluded ones."""

    rules: Sequence[ZonedRule] = ()
    dates: Sequence[datetime] = ()
    without_rules: Sequence[ZonedRule] = ()
    without_dates: Sequence[datetime] = ()

    def times(self, after: datetime) -> Iterator[datetime]:
        """Yield the times from *after* on, ascending, each once."""
        taken = _merged(self.without_rules, self.without_dates, after)
        gone, last = next(taken, None), None
        for moment in _merged(self.rules, self.dates, after):
            while gone is not None and gone < moment:
                gone = next(taken, None)
            if moment not in (gone, last):
                last = moment
                yield moment


def _merged(rules: Sequence[ZonedRule], dates: Sequence[datetime], after: datetime) -> Iterator[datetime]:
    return heapq.merge(*(rule.times(after) for rule in rules), sorted(date for date in dates if date >= after))


def read_rules(payload: object) -> RuleSet:
    """Read the ``rrule_obj`` of a serialized clock: a rule or a set of rules and dates.

    Raises:
        CloudRefusal: The payload is neither.
    """
    if not isinstance(payload, Mapping):
        raise CloudRefusal("The rrule_obj of an RRuleClock is an object")
    kind = payload.get("type")
    if kind == "rrule":
        return RuleSet(rules=[_read_rule(payload)])
    if kind != "rruleset":
        raise CloudRefusal(f"{kind!r:.40} is not a recurrence rule; rrule and rruleset are supported")
    return RuleSet(
        rules=_read_list(payload, "_rrule", _read_rule),
        dates=_read_list(payload, "_rdate", _read_moment),
        without_rules=_read_list(payload, "_exrule", _read_rule),
        without_dates=_read_list(payload, "_exdate", _read_moment),
    )


def _read_list(payload: Mapping[str, Any], name: str, read: Callable[[object], Any]) -> list[Any]:
    listed = payload.get(name) or []
    if not isinstance(listed, list) or len(listed) > _MOST:
        raise CloudRefusal(f"{name} of a set of rules must be a list of at most {_MOST} entries")
    return [read(each) for each in listed]


def _read_rule(payload: object) -> ZonedRule:
    if not isinstance(payload, Mapping):
        raise CloudRefusal("A recurrence rule is an object")
    start = _read_moment(payload.get("_dtstart") or _UNSAID).replace(microsecond=0)
    until = None if payload.get("_until") is None else _read_moment(payload["_until"])
    zone = start.tzinfo or timezone.utc
    try:
        given: dict[str, Any] = {
            "start": start.replace(tzinfo=None),
            "until": None if until is None else until.astimezone(zone).replace(tzinfo=None),
        }
        for name, value in _parts(payload.get("rr")):
            given.update(_read_part(name, value))
        return ZonedRule(RRule(**given), zone)
    except (ValueError, OverflowError, TypeError) as problem:
        raise CloudRefusal(f"The recurrence rule {payload.get('rr')!r:.80} is invalid: {problem}") from problem


def _parts(text: object) -> Iterator[tuple[str, str]]:
    """Return names and values of a rule's parts; its start is separate."""
    if not isinstance(text, str) or len(text) > _LONGEST:
        raise ValueError(f"it is not a text of at most {_LONGEST} characters")
    lines = [line.strip().upper() for line in text.splitlines() if line.strip()]
    rules = [line for line in lines if not line.startswith("DTSTART")]
    if len(rules) != 1:
        raise ValueError("there must be one rule")
    for part in rules[0].removeprefix("RRULE:").split(";"):
        name, equals, value = part.partition("=")
        if not equals:
            raise ValueError(f"{part!r:.40} is not understood")
        yield name, value


def _read_part(name: str, value: str) -> dict[str, Any]:
    if name == "FREQ" and value in FREQUENCIES:
        return {"frequency": value}
    if name in {"INTERVAL", "COUNT"}:
        return {name.lower(): _number(value, 1 if name == "INTERVAL" else 0, 1_000_000)}
    if name == "WKST" and value in WEEKDAYS:
        return {"week_start": WEEKDAYS.index(value)}
    if name in {"BYDAY", "BYWEEKDAY"}:
        return _weekdays(value)
    if name == "UNTIL":  # comes beside it, too, with its zone
        return {}
    if name not in _RANGES:
        raise ValueError(f"{name!r:.40} is not understood")
    called, least, most, negative = _RANGES[name]
    return {called: frozenset(_number(each, least, most, negative=negative) for each in value.split(","))}


def _weekdays(text: str) -> dict[str, Any]:
    every, some = set(), set()
    for part in text.split(","):
        found = _WEEKDAY.fullmatch(part.strip())
        if found is None or found["day"] not in WEEKDAYS:
            raise ValueError(f"{part!r:.40} is not a weekday")
        day, nth = WEEKDAYS.index(found["day"]), int(found["nth"] or found["other"] or 0)
        if nth:
            some.add((day, nth))
        else:
            every.add(day)
    return {"weekdays": frozenset(every), "nth_weekdays": frozenset(some)}


def _number(text: str, least: int, most: int, *, negative: bool = False) -> int:
    if not re.fullmatch(r"[+-]?[0-9]{1,7}", text.strip()):
        raise ValueError(f"{text!r:.40} is not a number")
    number = int(text)
    if not least <= (abs(number) if negative else number) <= most:
        raise ValueError(f"{number} is out of range")
    return number


def _read_moment(value: object) -> datetime:
    """Read a time with an offset; without one it is UTC."""
    try:
        moment = datetime.fromisoformat(str(value).replace("Z", "+00:00"))
        (moment if moment.tzinfo else moment.replace(tzinfo=timezone.utc)).astimezone(timezone.utc)
    except (ValueError, OverflowError) as problem:
        raise CloudRefusal(f"{value!r:.80} is not a time of a schedule") from problem
    return moment if moment.tzinfo else moment.replace(tzinfo=timezone.utc)

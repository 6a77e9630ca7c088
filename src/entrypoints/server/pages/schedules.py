"""A flow's schedule for people: its clocks, the next runs of each, and the form that sets other clocks. Pure."""

import json
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from functools import lru_cache, partial
from itertools import islice
from typing import Any, Final

import attrs

from prefect.agent.domain.cloud.calendar.clocks import ScheduleClock, read_zone
from prefect.agent.domain.cloud.calendar.schedules import Schedule, read_schedule
from prefect.agent.domain.cloud.errors import CloudRefusal
from prefect.agent.domain.times import iso
from prefect.agent.entrypoints.server.pages.parameters import NotRight
from prefect.agent.entrypoints.server.pages.rendering import length

CLOCKS_SHOWN: Final = 20
NEXT_SHOWN: Final = 3
CANDIDATES: Final = 200
"""Times of a clock that are looked at for the next ones that the filters let through."""

_MICROSECONDS: Final = 60 * 1_000_000
_FILTERS: Final = ("filters", "or_filters", "not_filters", "adjustments")


@attrs.frozen(kw_only=True)
class ShownClock:
    """One clock.

    Attributes:
        text: When it makes runs.
        zone: Name of its time zone; empty if it names none.
        next: When it makes the next ones, as stored times.
    """

    text: str
    zone: str
    labels: Sequence[str]
    parameters: Mapping[str, Any]
    next: Sequence[str]


@attrs.frozen(kw_only=True)
class ShownSchedule:
    """A schedule.

    Attributes:
        is_of_group: Whether it was set for the flow, instead of the one it was registered with.
        problem: Why it cannot be used; empty if it can.
        has_filters: Whether some times of its clocks are left out or moved.
        has_others: Whether some clocks are neither expressions nor intervals.
        cron: Expressions of its clocks, one a line, for the form.
        minutes: Intervals of its clocks, for the form.
        zone: Time zone of its first clock, for the form.
    """

    clocks: Sequence[ShownClock] = ()
    is_of_group: bool = False
    problem: str = ""
    has_filters: bool = False
    has_others: bool = False
    cron: str = ""
    minutes: str = ""
    zone: str = "UTC"


def shown_schedule(own: object, of_group: object, now: datetime) -> ShownSchedule:
    """The schedule that counts.

    Args:
        own: What the flow was registered with.
        of_group: What was set for it since; it takes the place of its own.
    """
    serialized = of_group or own
    if not isinstance(serialized, Mapping):
        return ShownSchedule()
    clocks = _clocks(serialized)
    times, problem = _times(json.dumps(serialized), now.replace(second=0, microsecond=0))
    shown = [_shown(clock, times[n] if n < len(times) else (), now) for n, clock in enumerate(clocks[:CLOCKS_SHOWN])]
    intervals = [clock["interval"] for clock in clocks if isinstance(clock.get("interval"), (int, float))]
    return ShownSchedule(
        clocks=shown,
        is_of_group=bool(of_group),
        problem=problem,
        has_filters=any(serialized.get(name) for name in _FILTERS),
        has_others=any(not (clock.get("cron") or clock.get("interval")) for clock in clocks),
        cron="\n".join(str(clock["cron"]) for clock in clocks if clock.get("cron")),
        minutes=", ".join(f"{interval / _MICROSECONDS:g}" for interval in intervals),
        zone=next((one.zone for one in shown if one.zone), "UTC"),
    )


def given_clocks(present: object, cron: str, minutes: str, zone: str) -> dict[str, Any]:
    """What a form says, as arguments of ``set_flow_group_schedule``.

    Args:
        present: The schedule until now: a clock that stays keeps its labels and parameters.
        cron: Expressions, one a line.
        minutes: Intervals, separated by commas.
        zone: Name of a time zone; empty for UTC.

    Raises:
        NotRight: There is no clock, or one of them, or the zone, cannot be used; each is told at its own field.
    """
    known = _clocks(present) if isinstance(present, Mapping) else []
    lines = [line.strip() for line in cron.splitlines() if line.strip()]
    _check(lines, minutes, zone)
    crons = [{"cron": line, **_extras(known, "cron", line)} for line in lines]
    intervals = [
        {"interval": seconds, **_extras(known, "interval", seconds * 1_000_000)} for seconds in _seconds(minutes)
    ]
    if not (crons or intervals):
        text = "Give at least one clock: a cron expression or an interval."
        raise NotRight(text, {"cron": text})
    return {"cron_clocks": crons, "interval_clocks": intervals}


def _check(lines: Sequence[str], minutes: str, zone: str) -> None:
    """Ask the Cloud's rules about each field by itself.

    Raises:
        NotRight: They refuse some.
    """
    problems: dict[str, str] = {}
    checks: list[tuple[str, str, Callable[[], object]]] = [
        ("zone", "", partial(read_zone, zone or "UTC")),
        ("minutes", "", partial(_seconds, minutes)),
        *(("cron", f"{line}: ", partial(_read_cron, line)) for line in lines),
    ]
    for field, prefix, check in checks:
        try:
            check()
        except CloudRefusal as problem:
            problems[field] = f"{problems.get(field, '')} {prefix}{problem.message}".strip()
        except NotRight as problem:
            problems[field] = str(problem)
    if problems:
        raise NotRight(" ".join(problems.values()), problems)


def _read_cron(line: str) -> None:
    read_schedule({"clocks": [{"type": "CronClock", "cron": line}]})


def _seconds(minutes: str) -> list[int]:
    try:
        return [round(float(word) * 60) for word in minutes.replace(",", " ").split()]
    except (ValueError, OverflowError) as problem:
        raise NotRight("An interval is a number of minutes.") from problem


def _extras(known: Sequence[Mapping[str, Any]], name: str, value: object) -> dict[str, Any]:
    same: Mapping[str, Any] = next((clock for clock in known if clock.get(name) == value), {})
    return {key: same[key] for key in ("parameter_defaults", "labels") if same.get(key)}


def _clocks(serialized: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    clocks = serialized.get("clocks")
    return [clock for clock in clocks if isinstance(clock, Mapping)] if isinstance(clocks, list) else []


def _shown(clock: Mapping[str, Any], times: Sequence[str], now: datetime) -> ShownClock:
    start = clock.get("start_date")
    return ShownClock(
        text=_text(clock),
        zone=str(start.get("tz") or "") if isinstance(start, Mapping) else "",
        labels=clock.get("labels") or (),
        parameters=clock.get("parameter_defaults") or {},
        next=[time for time in times if time > iso(now)][:NEXT_SHOWN],
    )


def _text(clock: Mapping[str, Any]) -> str:
    if clock.get("cron"):
        return str(clock["cron"])
    if isinstance(clock.get("interval"), (int, float)):
        return f"every {length(clock['interval'] / 1_000_000)}"
    if isinstance(clock.get("dates"), list):
        return f"{len(clock['dates'])} dates"
    return "a recurrence rule" if clock.get("rrule_obj") else "an unknown clock"


@lru_cache(maxsize=256)
def _times(serialized: str, after: datetime) -> tuple[list[list[str]], str]:
    """The next times of each clock, or why there are none. Kept: an open page asks again and again within a minute."""
    try:
        schedule = read_schedule(json.loads(serialized))
        return [_next(schedule, clock, after) for clock in schedule.clocks[:CLOCKS_SHOWN]], ""
    except CloudRefusal as problem:
        return [], problem.message


def _next(schedule: Schedule, clock: ScheduleClock, after: datetime) -> list[str]:
    """One more than is shown: the first may be over before the minute is."""
    try:
        fitting = (local for local in islice(clock.times(after), CANDIDATES) if schedule.accepts(local))
        return [iso(schedule.adjusted(local)) for local in islice(fitting, NEXT_SHOWN + 1)]
    except OverflowError:  # moved beyond the calendar
        return []

"""Serialized schedules and their events (protocol sections 12.4 and 13.5)."""

import hashlib
import heapq
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime, time, timedelta, timezone
from itertools import islice
from typing import Any, Final

import attrs

from prefect.agent.domain.cloud.calendar.clocks import ScheduleClock, read_clock
from prefect.agent.domain.cloud.errors import CloudRefusal
from prefect.agent.domain.cloud.runs import run_parameters
from prefect.agent.domain.cloud.states import read_time

AHEAD: Final = 10
"""How many runs of a schedule are created ahead of time."""

MAX_CANDIDATES: Final = 10_000
"""How many times are examined before the filters count as letting no further ones through."""

KEY: Final = "auto-scheduled:"
"""The prefix of the idempotency keys of planned runs; the order of the keys is that of the times."""

Filter = Callable[[datetime], bool]
Adjustment = Callable[[datetime], datetime]


@attrs.frozen
class ScheduledEvent:
    """One run that a schedule asks for.

    Attributes:
        time: The scheduled time, UTC.
    """

    time: datetime
    parameter_defaults: Mapping[str, Any]
    labels: tuple[str, ...] | None

    @property
    def is_plain(self) -> bool:
        """Whether the clock sets nothing but the time."""
        return not (self.parameter_defaults or self.labels)

    @property
    def key(self) -> str:
        """The idempotency key of the run, so that an event never creates a second one."""
        key = f"{KEY}{self.time.isoformat()}"
        if self.is_plain:
            return key
        said = json.dumps([self.parameter_defaults, self.labels], sort_keys=True)
        return f"{key}:{hashlib.md5(said.encode(), usedforsecurity=False).hexdigest()}"


@attrs.frozen(kw_only=True)
class Schedule:
    """Clocks, filters of their times, and adjustments of the remaining times.

    Attributes:
        filters: All of them must accept a time.
        or_filters: One of them must accept a time, if there are any.
        not_filters: None of them may accept a time.
    """

    clocks: Sequence[ScheduleClock]
    filters: Sequence[Filter] = ()
    or_filters: Sequence[Filter] = ()
    not_filters: Sequence[Filter] = ()
    adjustments: Sequence[Adjustment] = ()

    def accepts(self, local: datetime) -> bool:
        """Return whether the filters accept a time, given in the zone of its clock."""
        return (
            all(fits(local) for fits in self.filters)
            and (not self.or_filters or any(fits(local) for fits in self.or_filters))
            and not any(fits(local) for fits in self.not_filters)
        )

    def adjusted(self, local: datetime) -> datetime:
        """Return the time after all adjustments, in UTC."""
        for adjust in self.adjustments:
            local = adjust(local)
        return local.astimezone(timezone.utc)


def read_schedule(payload: object) -> Schedule:
    """Read a serialized schedule.

    Raises:
        CloudRefusal: The payload is not a schedule, or uses an unsupported feature; the message names it.
    """
    if not isinstance(payload, Mapping):
        raise CloudRefusal("A schedule is an object")
    clocks = payload.get("clocks")
    if not isinstance(clocks, list) or not clocks:
        raise CloudRefusal("A schedule must have a list of clocks")
    return Schedule(
        clocks=[read_clock(clock) for clock in clocks],
        filters=_functions(payload, "filters", _FILTERS),
        or_filters=_functions(payload, "or_filters", _FILTERS),
        not_filters=_functions(payload, "not_filters", _FILTERS),
        adjustments=_functions(payload, "adjustments", _ADJUSTMENTS),
    )


def next_events(schedule: Schedule, after: datetime, count: int = AHEAD) -> list[ScheduledEvent]:
    """Return the next events later than *after*, in the order of their clocks' times, each once."""
    found: dict[str, ScheduledEvent] = {}
    for local, clock in islice(_merged(schedule, after), MAX_CANDIDATES):
        try:
            if schedule.accepts(local):
                event = ScheduledEvent(schedule.adjusted(local), clock.parameter_defaults, clock.labels)
                found.setdefault(event.key, event)
        except OverflowError:  # moved beyond the calendar
            break
        if len(found) >= count:
            break
    return list(found.values())


def missing_events(events: Sequence[ScheduledEvent], planned: Mapping[str, datetime | None]) -> list[ScheduledEvent]:
    """Return the events that need a run.

    Args:
        events: The events that the schedule asks for.
        planned: The idempotency keys of all runs that were created for events, with the start times of those that still
            wait. If a plain event before the last waiting one has no run, its run was deleted: do not recreate it.
    """
    latest = max((start for start in planned.values() if start is not None), default=None)
    return [
        event
        for event in events
        if event.key not in planned and not (event.is_plain and latest is not None and event.time <= latest)
    ]


def check_covered(schedule: Schedule, declared: object, defaults: Mapping[str, Any] | None) -> None:
    """Check that the runs of every clock have all required parameters.

    Args:
        declared: The flow's parameters.
        defaults: The flow group's default parameters.

    Raises:
        CloudRefusal: A required parameter is missing; the message names it.
    """
    for clock in schedule.clocks:
        run_parameters(declared, defaults, clock.parameter_defaults)


def _merged(schedule: Schedule, after: datetime) -> Iterator[tuple[datetime, ScheduleClock]]:
    def times(clock: ScheduleClock) -> Iterator[tuple[datetime, ScheduleClock]]:
        return ((local, clock) for local in clock.times(after))

    return heapq.merge(
        *(times(clock) for clock in schedule.clocks), key=lambda found: found[0].astimezone(timezone.utc)
    )


# --- functions that schedules refer to by name ---


def _on_datetime(dt: datetime) -> Filter:
    return lambda local: local.astimezone(timezone.utc) == dt  # across zones, a repeated hour equals nothing


def _between_datetimes(start: datetime, end: datetime) -> Filter:
    return lambda local: start <= local <= end


def _on_date(month: int, day: int) -> Filter:
    return lambda local: (local.month, local.day) == (month, day)


def _between_dates(start_month: int, start_day: int, end_month: int, end_day: int) -> Filter:
    first, last = (start_month, start_day), (end_month, end_day)
    # Which months begin and end decides whether the year's end lies between; so do clients, whatever the days.
    if start_month <= end_month:
        return lambda local: first <= (local.month, local.day) <= last
    return lambda local: (local.month, local.day) >= first or (local.month, local.day) <= last


def _at_time(t: time) -> Filter:
    return lambda local: local.time() == t


def _between_times(start: time, end: time) -> Filter:
    if start <= end:
        return lambda local: start <= local.time() <= end
    return lambda local: local.time() >= start or local.time() <= end


def _is_day_of_week(day_of_week: int) -> Filter:
    return lambda local: local.weekday() == day_of_week


def _is_weekday(local: datetime) -> bool:
    return local.isoweekday() <= 5


def _is_month_end(local: datetime) -> bool:
    return (local + timedelta(days=1)).month != local.month


def _add(interval: timedelta) -> Adjustment:
    def adjust(local: datetime) -> datetime:
        return (local.astimezone(timezone.utc) + interval).astimezone(local.tzinfo)

    return adjust


def _next_weekday(local: datetime) -> datetime:
    while not _is_weekday(local):
        local += timedelta(days=1)
    return local


_FILTERS: Final[Mapping[str, Callable[..., Any]]] = {
    "prefect.schedules.filters.on_datetime": _on_datetime,
    "prefect.schedules.filters.between_datetimes": _between_datetimes,
    "prefect.schedules.filters.on_date": _on_date,
    "prefect.schedules.filters.between_dates": _between_dates,
    "prefect.schedules.filters.at_time": _at_time,
    "prefect.schedules.filters.between_times": _between_times,
    "prefect.schedules.filters.is_weekday": lambda: _is_weekday,
    "prefect.schedules.filters.is_weekend": lambda: lambda local: not _is_weekday(local),
    "prefect.schedules.filters.is_month_end": lambda: _is_month_end,
    "prefect.schedules.filters.is_month_start": lambda: lambda local: local.day == 1,
    "prefect.schedules.filters.is_day_of_week": _is_day_of_week,
}
_ADJUSTMENTS: Final[Mapping[str, Callable[..., Any]]] = {
    "prefect.schedules.adjustments.add": _add,
    "prefect.schedules.adjustments.next_weekday": lambda: _next_weekday,
}
_KINDS: Final[Mapping[str, type]] = {
    "dt": datetime,
    "t": time,
    "interval": timedelta,
}
"""The types of arguments by name; those of ``start`` and ``end`` depend on the function, all others are numbers."""


def _functions(
    payload: Mapping[str, Any], name: str, known: Mapping[str, Callable[..., Any]]
) -> list[Callable[..., Any]]:
    listed = payload.get(name) or []
    if not isinstance(listed, list):
        raise CloudRefusal(f"{name} of a schedule must be a list")
    return [_function(reference, name, known) for reference in listed]


def _function(reference: object, name: str, known: Mapping[str, Callable[..., Any]]) -> Callable[..., Any]:
    path = reference.get("fn") if isinstance(reference, Mapping) else reference
    if not isinstance(path, str) or path not in known:
        raise CloudRefusal(f"{name} of the schedule: the function {path!r:.80} is not supported")
    given = reference.get("kwargs") or {} if isinstance(reference, Mapping) else {}
    if not isinstance(given, Mapping):
        raise CloudRefusal(f"{name} of the schedule: kwargs of {path} must be an object")
    arguments = {str(key): _argument(path, str(key), value) for key, value in given.items()}
    try:
        made: Callable[..., Any] = known[path](**arguments)
    except TypeError as problem:
        raise CloudRefusal(
            f"{name} of the schedule: {path} does not take {', '.join(arguments) or 'nothing'}"
        ) from problem
    return made


def _argument(path: str, name: str, value: object) -> object:
    """Return an argument in the type that the function needs.

    Raises:
        CloudRefusal: The argument has another type.
    """
    wanted = _KINDS.get(name, int)
    if name in {"start", "end"}:
        wanted = datetime if path.endswith("datetimes") else time
    found = _decoded(value) if isinstance(value, str) else value
    if not isinstance(found, wanted) or isinstance(found, bool):
        raise CloudRefusal(f"{path}: {value!r:.80} does not fit {name}")
    return found


def _decoded(text: str) -> object:
    """Decode a value that clients write as text with its type in front (``//time:04:05:00``)."""
    for prefix, read in _CODED.items():
        if text.startswith(prefix):
            try:
                return read(text[len(prefix) :])
            except (ValueError, OverflowError) as problem:
                raise CloudRefusal(f"{text!r:.80} cannot be read") from problem
    return text


_CODED: Final[Mapping[str, Callable[[str], object]]] = {
    "//datetime:": read_time,
    "//timedelta:": lambda text: timedelta(seconds=float(text)),
    "//time:": lambda text: time.fromisoformat(text).replace(tzinfo=None),
}

"""Folds repetitions on their way to the log: said once, then "Still" at growing intervals, and once when it is over."""

import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from datetime import timedelta
from typing import Final

import attrs

from prefect.agent.domain.model.explaining import span
from prefect.agent.domain.model.folding import FoldedCondition, begun, stable_part
from prefect.agent.entrypoints.runtime.health import SUCCESSES
from prefect.agent.ports import events
from prefect.agent.ports.events import Event, EventSink

FOLDED: Final = frozenset(
    {
        events.BUG,
        events.CLAIM_READ_BACK,
        events.CLAIM_REFUSED,
        events.CLOUD_TROUBLE,
        events.KEY_REFUSED,
        events.PLATFORM_TROUBLE,
        events.REPORTS_AT_RISK,
        events.STARTING,
        events.UNIT_RETRIED,
    }
)
"""Events about something that goes on; all others are facts, and each is logged."""

SUBJECTS: Final = {
    events.CLOUD_TROUBLE: "The Cloud is reachable again",
    events.PLATFORM_TROUBLE: "The platform is reachable again",
    events.STARTING: "The start succeeded",
}
"""By event: what is said when it is over."""

ENDS: Final = {events.PLATFORM_BACK: events.PLATFORM_TROUBLE, events.KEY_ACCEPTED: events.KEY_REFUSED}
"""Events that end conditions of another event's name, and say so themselves."""

STARTED_OR_OVER: Final = frozenset({events.UNIT_CREATED, events.RUN_FAILED, events.RUN_DROPPED})
"""Events after which the start of a flow run is not tried again."""

MOST: Final = 500
"""Conditions that are remembered, the latest ones."""

Key = tuple[str, str, str]


@attrs.define
class Folding:
    """An event sink in front of the log's. Any thread may use it."""

    log: EventSink
    clock: Callable[[], float] = time.monotonic
    _open: "OrderedDict[Key, FoldedCondition]" = attrs.field(factory=OrderedDict, init=False)
    _levels: dict[Key, str] = attrs.field(factory=dict, init=False)
    _over_at: dict[str, float] = attrs.field(factory=dict, init=False)
    """By event: when its end was last said."""
    _guard: threading.Lock = attrs.field(factory=threading.Lock, init=False)

    def __call__(self, event: Event) -> None:
        """Log *event*, or count it."""
        with self._guard:
            said = [self._folded(event)] if event.name in FOLDED else self._ends(event)
        for each in said:
            self.log(each)

    # --- repetitions ---

    def _folded(self, event: Event) -> Event:
        now, source = self.clock(), _source(event)
        key = _key(event)
        known = self._open.pop(key, None)
        if known is None or known.is_stale(now):
            condition, self._levels[key] = begun(source, now), event.level
        else:
            condition = known.repeated(source, now)
        level = self._levels[key] if event.level == "DEBUG" else event.level
        is_due = level != "DEBUG" and condition.is_due(now)
        self._open[key] = condition.said(now) if is_due else condition
        self._forget()
        if not is_due:
            return attrs.evolve(event, level="DEBUG")
        return event if condition.said_at is None else _still(event, condition, level, now)

    def _forget(self) -> None:
        while len(self._open) > MOST:
            key, _ = self._open.popitem(last=False)
            del self._levels[key]

    # --- ends ---

    def _ends(self, event: Event) -> list[Event]:
        """Return *event*, after what it shows to be over."""
        now, over = self.clock(), list[tuple[str, FoldedCondition]]()
        for key, condition in self._open.items():
            after = condition if condition.ended_at is not None else _after(event, key[0], condition, now)
            is_news = after is not condition and after.ended_at is not None and after.was_said
            self._open[key] = attrs.evolve(after, was_said=False) if is_news else after
            if is_news and condition.last_at > self._over_at.get(key[0], float("-inf")):
                over.append((key[0], after))
        return self._said_over(event, over, now)

    def _said_over(self, event: Event, over: list[tuple[str, FoldedCondition]], now: float) -> list[Event]:
        said = []
        for kind in dict.fromkeys(kind for kind, _ in over):
            self._over_at[kind] = now
            since = min(condition.since for name, condition in over if name == kind)
            lasted = max(condition.well_since or now for name, condition in over if name == kind) - since
            tries = sum(condition.tries for name, condition in over if name == kind)
            fields: dict[str, object] = {"duration_s": round(lasted, 3), "tries": tries}
            words = f"after {_span(lasted)} ({_tries(tries)})"
            if ENDS.get(event.name) == kind:
                event = attrs.evolve(event, message=f"{event.message} {words}", fields={**event.fields, **fields})
            elif kind in SUBJECTS:
                message, fields = f"{SUBJECTS[kind]} {words}", {**fields, "of": kind}
                said.append(Event(name=events.REACHABLE_AGAIN, message=message, fields=fields))
        return [*said, event]


def _key(event: Event) -> Key:
    """Loops that meet the same error share one condition, so the loop's name is no part of it."""
    loop = event.fields.get("loop")
    message = event.message.removeprefix(f"{loop}: ") if loop else event.message
    return event.name, str(event.fields.get("flow_run_id", "")), stable_part(message)


def _source(event: Event) -> str:
    return str(event.fields.get("flow_run_id") or event.fields.get("loop") or "")


def _after(event: Event, kind: str, condition: FoldedCondition, now: float) -> FoldedCondition:
    """Return *condition*, of events called *kind*, after *event*."""
    if ENDS.get(event.name) == kind or (kind == events.STARTING and _is_started(event)):
        return condition.ended(now)
    if kind == events.UNIT_RETRIED:
        run = str(event.fields.get("flow_run_id"))
        return condition.succeeded(run, now) if event.name in STARTED_OR_OVER else condition
    step = None if event.fields.get("busy") else SUCCESSES.get(event.name)
    return condition if step is None else condition.succeeded(step, now)


def _is_started(event: Event) -> bool:
    return event.name == events.AGENT_STARTED and "identity" in event.fields


def _still(event: Event, condition: FoldedCondition, level: str, now: float) -> Event:
    left = event.fields.get("left_s")
    time_left = f"{left:.0f} s left" if isinstance(left, int | float) else f"since {_span(now - condition.since)}"
    fields = {**event.fields, "tries": condition.tries, "duration_s": round(now - condition.since, 3)}
    message = f"Still ({_tries(condition.tries)}, {time_left}): {event.message}"
    return attrs.evolve(event, level=level, message=message, fields=fields)


def _tries(count: int) -> str:
    return f"{count} {'try' if count == 1 else 'tries'}"


def _span(seconds: float) -> str:
    """Return seconds as people say it; up to two minutes in seconds, as the log's other times are."""
    return f"{seconds:.0f} s" if seconds < 120 else span(timedelta(seconds=seconds))

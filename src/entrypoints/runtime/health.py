"""The agent's health, derived from the same events as the log (promise P4)."""

from datetime import datetime
from typing import Any, Final

import attrs

from prefect.agent.ports import events
from prefect.agent.ports.clock import Clock
from prefect.agent.ports.events import Event

STALE_AFTER: Final = 60.0
"""Seconds without a successful poll after which the agent is unhealthy: at one poll in 10 s, several have failed."""

WATCHED: Final = {
    events.POLLED: "last_poll",
    events.CLAIMED: "last_claim",
    events.UNIT_CREATED: "last_create",
    events.SWEPT: "last_sweep",
    events.WATCHED: "last_watch",
    events.REPORTED: "last_report",
}


ERRORS: Final = frozenset({events.CLOUD_TROUBLE, events.PLATFORM_TROUBLE, events.BUG})
"""Events that health shows, but that do not make the agent unhealthy by themselves."""


@attrs.define(kw_only=True)
class Health:
    """Records when the agent last succeeded and what failed since. Takes events from any thread.

    Attributes:
        stale_after: Seconds without a successful poll after which the agent is unhealthy.
    """

    clock: Clock
    stale_after: float = STALE_AFTER
    _since: float = attrs.field(init=False)
    _last: dict[str, datetime] = attrs.field(factory=dict, init=False)
    _good_poll: float | None = attrs.field(default=None, init=False)
    _last_error: str = attrs.field(default="", init=False)
    _busy: bool = attrs.field(default=False, init=False)
    _starting: str = attrs.field(default="", init=False)
    _refused: str = attrs.field(default="", init=False)
    _stalled: dict[str, str] = attrs.field(factory=dict, init=False)
    """By loop or thread that stands still or has ended: the message about it."""

    def __attrs_post_init__(self) -> None:
        self._since = self.clock.monotonic()

    def start_up(self, reason: str) -> None:
        """Record that the agent starts, and what it waits for; it is unhealthy until an event says it has started."""
        self._starting = reason

    def take(self, event: Event) -> None:
        """Update the health with one event."""
        if event.name in WATCHED:
            self._last[WATCHED[event.name]] = self.clock.now()
        if event.name == events.POLLED:
            self._take_poll(is_busy=bool(event.fields.get("busy")))
        elif event.name in ERRORS:
            self._last_error = event.message
        else:
            self._take_condition(event)

    @property
    def lives(self) -> bool:
        """Whether a restart would not help: the agent is healthy, starts, or waits until its key is accepted again."""
        return not self._stalled and (bool(self._starting or self._refused) or not self._is_stale())

    def report(self) -> tuple[bool, dict[str, Any]]:
        """Return whether the agent is healthy, and the facts as values for JSON."""
        reason = self._starting or self._refused or next(iter(list(self._stalled.values())), "")
        healthy = not reason and not self._is_stale()
        facts: dict[str, Any] = {
            "status": "starting" if self._starting else "healthy" if healthy else "unhealthy",
            "busy": self._busy,
            "seconds_since_good_poll": round(self._age(), 1),
            "trouble": reason or self._last_error or None,
        }
        facts.update({name: self._last[name].isoformat() if name in self._last else None for name in WATCHED.values()})
        return healthy, facts

    def _take_poll(self, *, is_busy: bool) -> None:
        """Record a successful poll; a poll that sent no request, because all slots are busy, ends no error."""
        self._good_poll, self._busy = self.clock.monotonic(), is_busy
        if not is_busy:
            self._last_error = self._refused = ""

    def _take_condition(self, event: Event) -> None:
        """Update the conditions that make the agent unhealthy at once, when they begin and when they end."""
        if event.name == events.STARTING:
            self._starting = event.message
        elif event.name == events.AGENT_STARTED and self._starting:
            self._starting, self._since = "", self.clock.monotonic()
        elif event.name == events.KEY_REFUSED:
            self._refused = event.message
        elif event.name == events.KEY_ACCEPTED:
            self._refused = ""
        elif event.name == events.STALLED:
            self._stalled[str(event.fields.get("loop"))] = event.message
        elif event.name == events.RESUMED:
            self._stalled.pop(str(event.fields.get("loop")), None)
        elif event.name == events.THREAD_ENDED:
            self._stalled[f"thread {event.fields.get('thread')}"] = event.message

    def _age(self) -> float:
        return self.clock.monotonic() - (self._since if self._good_poll is None else self._good_poll)

    def _is_stale(self) -> bool:
        return self._age() > self.stale_after

"""Hands every event of an agent to all who want to hear it, without a secret in it."""

from collections.abc import Iterable

import attrs

from prefect.agent.domain.secrets import Mask
from prefect.agent.entrypoints.runtime.logs import safe
from prefect.agent.ports import events
from prefect.agent.ports.events import Event, EventSink


def _all_safe(sinks: Iterable[EventSink]) -> list[EventSink]:
    return [safe(each) for each in sinks]


@attrs.define(kw_only=True)
class Announcer:
    """An event sink in front of others; none of them can keep an event from the next one.

    Attributes:
        mask: Takes secrets out of each event.
    """

    mask: Mask
    _sinks: list[EventSink] = attrs.field(alias="sinks", converter=_all_safe)

    def __call__(self, event: Event) -> None:
        """Hand on *event*."""
        event = events.masked(event, self.mask)
        for sink in self._sinks:
            sink(event)

    def say(self, name: str, message: str, level: str = "INFO") -> None:
        """Hand on an event that has no fields."""
        self(Event(name=name, message=message, level=level))

    def add(self, sink: EventSink) -> None:
        """Let *sink* hear all events from now on."""
        self._sinks.append(safe(sink))

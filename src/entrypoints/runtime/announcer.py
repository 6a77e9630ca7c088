"""Hands every event of an agent to all who want to hear it, without a secret in it."""

import threading
from collections.abc import Iterable

import attrs

from prefect.agent.domain.model.flow_runs import FlowRun
from prefect.agent.domain.model.run_titles import RunTitles
from prefect.agent.domain.secrets import Mask
from prefect.agent.entrypoints.runtime.logs import safe
from prefect.agent.ports import events
from prefect.agent.ports.events import Event, EventSink


def _all_safe(sinks: Iterable[EventSink]) -> list[EventSink]:
    return [safe(each) for each in sinks]


@attrs.define(kw_only=True)
class Announcer:
    """An event sink in front of others; none of them can keep an event from the next one.

    Each event about a flow run leaves here with the flow's and the run's name, if any event or ``learn`` named them.

    Attributes:
        mask: Takes secrets out of each event.
    """

    mask: Mask
    _titles: RunTitles = attrs.field(factory=RunTitles, init=False)
    _guard: threading.Lock = attrs.field(factory=threading.Lock, init=False)
    _sinks: list[EventSink] = attrs.field(alias="sinks", converter=_all_safe)

    def __call__(self, event: Event) -> None:
        """Hand on *event*."""
        event = events.masked(self._introduced(event), self.mask)
        for sink in self._sinks:
            sink(event)

    def learn(self, run: FlowRun) -> None:
        """Remember what *run* is called, for later events that know only its id."""
        with self._guard:
            self._titles.learn(run.id, run.flow.name, run.name)

    def _introduced(self, event: Event) -> Event:
        with self._guard:
            message, fields = self._titles.introduce(event.message, event.fields)
        return event if fields is event.fields else attrs.evolve(event, message=message, fields=fields)

    def say(self, name: str, message: str, level: str = "INFO") -> None:
        """Hand on an event that has no fields."""
        self(Event(name=name, message=message, level=level))

    def add(self, sink: EventSink) -> None:
        """Let *sink* hear all events from now on."""
        self._sinks.append(safe(sink))

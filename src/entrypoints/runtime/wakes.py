"""Wakes are the events that wake and end the loops of one agent."""

import threading

import attrs


def _event() -> threading.Event:
    event: threading.Event = attrs.field(factory=threading.Event, init=False)
    return event


@attrs.frozen
class Wakes:
    """There is one event for each loop: once set, it ends the loop's present pause.

    Attributes:
        stopping: Set once; the loops end.
        poll, sweep, report: Event of the loop of that name.
        last_reports: Set once no reports are added to the outbox any more.
    """

    stopping: threading.Event = _event()
    poll: threading.Event = _event()
    sweep: threading.Event = _event()
    report: threading.Event = _event()
    last_reports: threading.Event = _event()

    def stop(self) -> None:
        """Let all loops end. May be called from any thread or signal handler."""
        self.stopping.set()
        self.poll.set()
        self.sweep.set()

"""What wakes the loops of one agent, and what ends them."""

import threading

import attrs


def _event() -> threading.Event:
    event: threading.Event = attrs.field(factory=threading.Event, init=False)
    return event


@attrs.frozen
class Wakes:
    """One event for each loop: set, it ends the loop's present pause.

    Attributes:
        stopping: Set once; the loops end.
        poll, sweep, report: Of the loop of that name.
        last_reports: Set when nothing more is reported than what is in the outbox.
    """

    stopping: threading.Event = _event()
    poll: threading.Event = _event()
    sweep: threading.Event = _event()
    report: threading.Event = _event()
    last_reports: threading.Event = _event()

    def stop(self) -> None:
        """Let all loops end. From any thread or signal handler."""
        self.stopping.set()
        self.poll.set()
        self.sweep.set()

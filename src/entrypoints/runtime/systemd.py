"""Sends systemd the agent's readiness, status and watchdog messages (sd_notify(3)), if systemd asked for them."""

import os
import socket
import threading
from collections.abc import Mapping
from contextlib import suppress
from typing import Final

import attrs

from prefect.agent.domain.texts import escaped
from prefect.agent.ports import events
from prefect.agent.ports.events import Event

LONGEST_STATUS: Final = 200
"""Most characters of a status: ``systemctl status`` shows one line."""

OFTEN: Final = 15.0
"""Longest pause in seconds between two watchdog messages. Half of ``WatchdogSec`` would do, but then an agent that is
unhealthy for a moment could miss its only chance in several minutes."""

SEND_TIMEOUT: Final = 1.0
"""Most seconds to wait until systemd reads a message; it normally reads at once."""

START_EXTENSION_USEC: Final = 120_000_000
"""Microseconds by which a waiting start extends systemd's timeout: longer than one try and the pause after it."""

_ERRORS: Final = frozenset(
    {
        events.CLOUD_TROUBLE,
        events.PLATFORM_TROUBLE,
        events.BUG,
        events.KEY_REFUSED,
        events.STALLED,
        events.THREAD_ENDED,
    }
)


@attrs.define(kw_only=True)
class Notifier:
    """A connection to a service manager that uses the protocol of sd_notify.

    Attributes:
        address: Its socket, a path or the ``@name`` of an abstract socket; if empty, nothing is sent.
        period: Seconds between two calls of :meth:`watchdog`; None if systemd asked for none.
    """

    address: str = ""
    period: float | None = None
    _ready: bool = attrs.field(default=False, init=False)
    _shows_error: bool = attrs.field(default=False, init=False)
    _guard: threading.Lock = attrs.field(factory=threading.Lock, init=False)

    @classmethod
    def from_environ(cls, environ: Mapping[str, str], *, pid: int | None = None) -> "Notifier":
        """Create a notifier from ``NOTIFY_SOCKET``, ``WATCHDOG_USEC`` and ``WATCHDOG_PID``; do not change *environ*."""
        address = environ.get("NOTIFY_SOCKET", "")
        if not address.startswith(("/", "@")):
            return cls()
        meant = environ.get("WATCHDOG_PID") or str(pid or os.getpid())
        usec = environ.get("WATCHDOG_USEC", "")
        asked = usec.isdecimal() and int(usec) > 0 and meant == str(pid or os.getpid())
        return cls(address=address, period=min(int(usec) / 2_000_000, OFTEN) if asked else None)

    def ready(self) -> None:
        """Report that the start is complete, so that services that wait for this one may start."""
        self._send("READY=1")

    def status(self, text: str) -> None:
        """Show *text* as one line in ``systemctl status``."""
        self._send(f"STATUS={_line(text)}")

    def stopping(self) -> None:
        """Report that the agent stops. Any thread or signal handler may call this: it takes no lock."""
        self._send("STOPPING=1\nSTATUS=Stopping: finishing the flow runs that are being started")

    def watchdog(self, *, healthy: bool) -> None:
        """Send a watchdog message if the agent is *healthy*. Call this every :attr:`period` seconds."""
        if healthy:
            self._send("WATCHDOG=1")

    def take(self, event: Event) -> None:
        """Send systemd the news of one event, if any.

        It reports ready at the first successful poll, the last error until a poll succeeds, and a start that waits.
        """
        if not self.address:
            return
        with self._guard:
            message = self._news(event)
        if message:
            self._send(message)

    def _news(self, event: Event) -> str:
        if event.name == events.STARTING:
            return f"EXTEND_TIMEOUT_USEC={START_EXTENSION_USEC}\nSTATUS={_line(event.message)}"
        if event.name in _ERRORS:
            self._shows_error = True
            return f"STATUS={_line(event.message)}"
        if event.name != events.POLLED or (self._ready and not self._shows_error):
            return ""
        first, self._ready, self._shows_error = not self._ready, True, False
        return f"{'READY=1' if first else ''}\nSTATUS=Waiting for flow runs".strip()

    def _send(self, message: str) -> None:
        """Send *message*; ignore a failure, since a notification must not disturb the agent."""
        if not self.address:
            return
        address = f"\0{self.address[1:]}" if self.address.startswith("@") else self.address
        with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
            sender.settimeout(SEND_TIMEOUT)
            sender.sendto(message.encode(errors="replace"), address)


def _line(text: str) -> str:
    """Return the first *LONGEST_STATUS* characters of *text* on one line."""
    return escaped(" ".join(text[: 10 * LONGEST_STATUS].split()))[:LONGEST_STATUS]

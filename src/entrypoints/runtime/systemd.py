"""Tells systemd how the agent is: ready, what it does, that it lives (sd_notify(3)). Silent where nobody listens."""

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
"""Characters of a status line: ``systemctl status`` shows one line."""

OFTEN: Final = 15.0
"""Longest pause between two signs of life. systemd asks for one in half of ``WatchdogSec`` or less; an agent that is
unwell for a moment must not lose several minutes by having its one chance just then."""

SEND_TIMEOUT: Final = 1.0
"""systemd reads at once; if it does not, the agent has better things to do than to wait."""

START_EXTENSION_USEC: Final = 120_000_000
"""How long systemd is to wait for the next news of a start that waits: longer than one try and its pause."""

_TROUBLE: Final = frozenset(
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
    """One connection to a service manager that follows the protocol of sd_notify.

    Attributes:
        address: Of its socket, a path or ``@name`` of an abstract one; empty: there is none, and nothing is done.
        period: Seconds between two calls of :meth:`watchdog`; None: no signs of life are asked for.
    """

    address: str = ""
    period: float | None = None
    _ready: bool = attrs.field(default=False, init=False)
    _troubled: bool = attrs.field(default=False, init=False)
    _guard: threading.Lock = attrs.field(factory=threading.Lock, init=False)

    @classmethod
    def from_environ(cls, environ: Mapping[str, str], *, pid: int | None = None) -> "Notifier":
        """What ``NOTIFY_SOCKET``, ``WATCHDOG_USEC`` and ``WATCHDOG_PID`` say. *environ* stays as it is."""
        address = environ.get("NOTIFY_SOCKET", "")
        if not address.startswith(("/", "@")):
            return cls()
        meant = environ.get("WATCHDOG_PID") or str(pid or os.getpid())
        usec = environ.get("WATCHDOG_USEC", "")
        asked = usec.isdecimal() and int(usec) > 0 and meant == str(pid or os.getpid())
        return cls(address=address, period=min(int(usec) / 2_000_000, OFTEN) if asked else None)

    def ready(self) -> None:
        """Start-up is over. What waits for this service may start."""
        self._send("READY=1")

    def status(self, text: str) -> None:
        """One line for ``systemctl status``."""
        self._send(f"STATUS={_line(text)}")

    def stopping(self) -> None:
        """The agent finishes what is in hand. From any thread or signal handler: takes no lock."""
        self._send("STOPPING=1\nSTATUS=Stopping: finishing what is in hand")

    def watchdog(self, *, healthy: bool) -> None:
        """Give a sign of life if the agent is *healthy*. Call this every :attr:`period` seconds."""
        if healthy:
            self._send("WATCHDOG=1")

    def take(self, event: Event) -> None:
        """Learn from one event.

        Ready with the first good poll; the last problem until a poll is good again; more time while the start waits.
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
        if event.name in _TROUBLE:
            self._troubled = True
            return f"STATUS={_line(event.message)}"
        if event.name != events.POLLED or (self._ready and not self._troubled):
            return ""
        first, self._ready, self._troubled = not self._ready, True, False
        return f"{'READY=1' if first else ''}\nSTATUS=Waiting for flow runs".strip()

    def _send(self, message: str) -> None:
        """Send, or do without: how the agent is told must not change how it is."""
        if not self.address:
            return
        address = f"\0{self.address[1:]}" if self.address.startswith("@") else self.address
        with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
            sender.settimeout(SEND_TIMEOUT)
            sender.sendto(message.encode(errors="replace"), address)


def _line(text: str) -> str:
    """The first *LONGEST_STATUS* characters, on one line."""
    return escaped(" ".join(text[: 10 * LONGEST_STATUS].split()))[:LONGEST_STATUS]

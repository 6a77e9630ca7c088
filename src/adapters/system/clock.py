"""The machine's clock."""

import time
from datetime import datetime, timezone

from prefect.agent.ports.clock import Clock, Wake


class SystemClock(Clock):
    """Reads the machine's clock, and pauses in real time."""

    def now(self) -> datetime:
        """Return the current time (aware, UTC)."""
        return datetime.now(timezone.utc)

    def monotonic(self) -> float:
        """Return the seconds since some fixed moment."""
        return time.monotonic()

    def pause(self, seconds: float, wake: Wake | None = None) -> bool:
        """Sleep for *seconds*, or until *wake* is set; return whether it is set."""
        if wake is None:
            time.sleep(max(0.0, seconds))
            return False
        return wake.wait(max(0.0, seconds)) or wake.is_set()

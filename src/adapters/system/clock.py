"""The machine's clock."""

import time
from datetime import datetime, timezone

from prefect.agent.ports.clock import Clock, Wake


class SystemClock(Clock):
    """The real time."""

    def now(self) -> datetime:
        """The time of day: aware, UTC."""
        return datetime.now(timezone.utc)

    def monotonic(self) -> float:
        """Seconds since some fixed moment."""
        return time.monotonic()

    def pause(self, seconds: float, wake: Wake | None = None) -> bool:
        """Sleep, or wait for *wake*."""
        if wake is None:
            time.sleep(max(0.0, seconds))
            return False
        return wake.wait(max(0.0, seconds)) or wake.is_set()

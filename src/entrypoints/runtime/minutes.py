"""Numbers of the last hour, minute by minute: how much was done, and how long it took."""

from collections import OrderedDict
from typing import Final

import attrs

from prefect.agent.ports.clock import Clock

MINUTES: Final = 60
"""Minutes that are remembered; the last one is the minute that is not over yet."""

SECONDS: Final = 60.0


@attrs.define
class Tally:
    """What happened in one minute: how often, and for how many seconds altogether."""

    times: int = 0
    seconds: float = 0.0


@attrs.define
class LastHour:
    """Tallies by minute and name, for the last hour only. Not thread-safe: its owner has the lock.

    Attributes:
        clock: Its monotonic time says which minute it is.
    """

    clock: Clock
    _minutes: "OrderedDict[int, dict[str, Tally]]" = attrs.field(factory=OrderedDict, init=False)

    def add(self, name: str, seconds: float = 0.0) -> None:
        """Count one *name*, which took so many seconds."""
        tally = self._this_minute().setdefault(name, Tally())
        tally.times += 1
        tally.seconds += seconds

    def times(self, name: str) -> list[int]:
        """How often *name* was counted in each of the last 60 minutes, the oldest first."""
        return [0 if tally is None else tally.times for tally in self._tallies(name)]

    def means(self, name: str) -> list[float | None]:
        """The mean seconds of *name* in each of the last 60 minutes, the oldest first; None: there was none."""
        return [None if tally is None else round(tally.seconds / tally.times, 4) for tally in self._tallies(name)]

    def _tallies(self, name: str) -> list[Tally | None]:
        now = self._now()
        return [self._minutes.get(minute, {}).get(name) for minute in range(now - MINUTES + 1, now + 1)]

    def _this_minute(self) -> dict[str, Tally]:
        now = self._now()
        for old in [minute for minute in self._minutes if minute <= now - MINUTES]:
            del self._minutes[old]
        return self._minutes.setdefault(now, {})

    def _now(self) -> int:
        return int(self.clock.monotonic() // SECONDS)

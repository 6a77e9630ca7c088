"""Two loops look at the platform: one compares it with the Cloud, one watches its events."""

from collections.abc import Callable
from math import inf
from typing import Final

import attrs

from prefect.agent.domain.errors import AgentError
from prefect.agent.domain.model.settings import AgentSettings
from prefect.agent.domain.model.units import Owner, Unit, UnitStatus
from prefect.agent.domain.model.verdicts import is_hopeless
from prefect.agent.domain.services.sweep import Sweep
from prefect.agent.domain.services.work_in_hand import WorkInHand
from prefect.agent.entrypoints.runtime.rhythm import Rhythm
from prefect.agent.entrypoints.runtime.supervision import Supervisor
from prefect.agent.entrypoints.runtime.wakes import Wakes
from prefect.agent.ports import events
from prefect.agent.ports.clock import Clock
from prefect.agent.ports.events import Event, EventSink
from prefect.agent.ports.platform import ExecutionPlatform

IDLE: Final = 2
"""How many times longer the pause between sweeps is while nothing is alive or claimed here."""


@attrs.define(kw_only=True)
class SweepLoop:
    """The sweep loop compares claims with units again and again.

    Attributes:
        notice: Called to look at late flow runs while the Cloud has some that are due.
    """

    sweep: Sweep
    clock: Clock
    settings: AgentSettings
    work: WorkInHand
    wakes: Wakes
    supervisor: Supervisor
    notice: Callable[[], None] = lambda: None
    rhythm: Rhythm = Rhythm()

    def first(self) -> None:
        """Sweep before the first poll, to finish what an earlier process left (P2); the loop repeats what fails."""
        try:
            self.sweep()
        except AgentError as problem:
            self.supervisor.failed("sweep", problem)
            self.wakes.sweep.set()
        except Exception as bug:  # noqa: BLE001 - P3; the loop will meet it again and count
            self.supervisor.bug("sweep", bug)
            self.wakes.sweep.set()

    def step(self) -> bool:
        """Wait for the next sweep, and sweep; return False when it is time to stop."""
        every = self.settings.sweep_every * (IDLE if self.sweep.is_idle else 1)
        self.work.sweep_at = self.clock.monotonic() + every
        self.clock.pause(every, self.wakes.sweep)
        self.work.sweep_at = inf
        if self.wakes.stopping.is_set():
            return False
        self.wakes.sweep.clear()
        self.sweep()
        self._hand_on()
        self.clock.pause(self.rhythm.sweep_gap, self.wakes.stopping)
        return not self.wakes.stopping.is_set()

    def _hand_on(self) -> None:
        """Give the results of this sweep to the poll loop."""
        quiet_since = self.sweep.view.quiet_since
        self.work.note_sweep(quiet_since)
        self.wakes.poll.set()
        if quiet_since is None:
            self._notice()
        if self.sweep.look_soon:
            self.wakes.sweep.set()

    def _notice(self) -> None:
        try:
            self.notice()
        except Exception as bug:  # noqa: BLE001 - a message about other runs must not stop the sweep
            self.supervisor.bug("notice", bug)


@attrs.define(kw_only=True)
class WatchLoop:
    """The watch loop follows the platform's events and wakes the sweep when one of them requires it."""

    platform: ExecutionPlatform
    clock: Clock
    settings: AgentSettings
    owner: Owner
    wakes: Wakes
    tell: EventSink = events.ignore
    rhythm: Rhythm = Rhythm()

    def step(self) -> bool:
        """Watch for a while; return False when it is time to stop."""
        started = self.clock.monotonic()
        for unit in self.platform.watch(seconds=self.rhythm.watch):
            if self.wakes.stopping.is_set():
                return False
            if self._concerns_the_sweep(unit):
                self.wakes.sweep.set()
        self.tell(Event(name=events.WATCHED, level="DEBUG", message="Watched the units"))
        if self.clock.monotonic() - started < self.rhythm.sweep_gap:
            self.clock.pause(self.rhythm.sweep_gap, self.wakes.stopping)
        return not self.wakes.stopping.is_set()

    def _concerns_the_sweep(self, unit: Unit) -> bool:
        """Return whether the watch observed something that requires a sweep now.

        Units of other Clouds and tenants do not.
        """
        if unit.owner is None or unit.owner.cloud != self.owner.cloud:
            return False
        if unit.status.has_ended:
            return unit.status is UnitStatus.FAILED or self.settings.limit is not None
        return is_hopeless(unit, self.clock.now_ahead(self.platform.skew))

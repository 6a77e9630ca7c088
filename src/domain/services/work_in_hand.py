"""What the poll loop, the recoveries and the sweep of one agent know of each other."""

from collections import deque
from collections.abc import Callable
from math import inf
from typing import Final

import attrs

from prefect.agent.domain.model.desk import Desk
from prefect.agent.domain.model.flow_runs import FlowRunId
from prefect.agent.domain.model.units import Unit

UNLIMITED: Final = 1_000_000
"""More units than any agent starts at once."""

MEMORY: Final = 3600.0
"""Seconds for which a start is remembered at least; longer while its run waits to report."""


@attrs.frozen
class Census:
    """The units of this agent that were alive, and when they were counted (monotonic, seconds)."""

    units: tuple[Unit, ...] = ()
    counted_at: float = 0.0

    @property
    def alive(self) -> int:
        """How many they were."""
        return len(self.units)


@attrs.define(kw_only=True)
class WorkInHand:
    """The flow runs that this process is seeing to, and the units that it has alive.

    The poll loop owns the desk; the sweep writes the census; starts may be noted in any thread. Each note is one
    operation on one container, so that no reader sees half of it.

    Attributes:
        desk: Runs that wait for their claim, are being claimed, or are being started.
        limit: How many units may be alive at once; None for no limit.
        is_paused: Whether nothing new is claimed or started, by an operator's word.
        census: What the last sweep counted.
        wake_sweep: Has the next sweep begin now.
        sweep_at: When the next sweep begins (monotonic, seconds), while it is waited for.
    """

    desk: Desk = attrs.field(factory=lambda: Desk.for_parallel(1))
    limit: int | None = None
    is_paused: bool = False
    census: Census = Census()
    wake_sweep: Callable[[], None] = lambda: None
    sweep_at: float = inf
    _recovering: set[FlowRunId] = attrs.field(factory=set, init=False)
    """Runs whose claims are being recovered."""
    _begun: deque[float] = attrs.field(factory=deque, init=False)
    """When units were begun that the last sweep may not have counted."""
    _started: dict[str, float] = attrs.field(factory=dict, init=False)
    """Units of claims that this process has started, with the time of the start (monotonic, seconds)."""
    _made: deque[Unit] = attrs.field(factory=deque, init=False)
    """Units made by this process since the last sweep."""
    _needs_room: bool = attrs.field(default=False, init=False)
    _quiet: deque[float | None] = attrs.field(factory=deque, init=False)
    """What sweeps learned of the queue and the poll loop has not read yet."""

    def __contains__(self, run_id: FlowRunId) -> bool:
        """Whether this process is claiming, starting or recovering the run now."""
        return run_id in self.desk or run_id in self._recovering

    # --- recoveries ---

    def adopt(self, run_id: FlowRunId) -> bool:
        """Reserve a run whose claim is to be recovered; False if it is in hand already."""
        if run_id in self:
            return False
        self._recovering.add(run_id)
        return True

    def release(self, run_id: FlowRunId) -> None:
        """Note that the recovery of a run is over."""
        self._recovering.discard(run_id)

    # --- starts ---

    def note_start(self, unit: str, at: float) -> None:
        """Note that this process has started the claim of *unit*; what a subclass starts may have no unit here."""
        self._begun.append(at)
        self._started[unit] = at

    def has_started(self, unit: str) -> bool:
        """Whether this process has started the claim of *unit*, whatever became of the unit."""
        return unit in self._started

    def forget_starts(self, claims: set[str], now: float) -> None:
        """Forget old starts, but none of *claims*: units of claims that still wait to report."""
        old = now - MEMORY
        for unit in [unit for unit, at in tuple(self._started.items()) if at <= old and unit not in claims]:
            del self._started[unit]

    def room(self) -> int:
        """How many more units may be started now, those aside that are about to be started."""
        if self.is_paused:
            return 0
        return UNLIMITED if self.limit is None else self.limit - self._alive() - self.desk.started

    def _alive(self) -> int:
        """Units alive: those that the last sweep saw, and those begun or recovered since. One too many does no harm."""
        census = self.census
        while self._begun and self._begun[0] < census.counted_at:
            self._begun.popleft()
        return census.alive + len(self._begun) + len(self._recovering)

    @property
    def living(self) -> tuple[Unit, ...]:
        """The units that the last sweep counted, and those made since."""
        units = self.census.units
        counted = {unit.name for unit in units}
        return (*units, *(unit for unit in self.made if unit.name not in counted))

    # --- what creates leave to the sweep ---

    def note_unit(self, unit: Unit) -> None:
        """Note a unit that this process has made: if it is deleted before a sweep sees it, its run fails."""
        self._made.append(unit)

    @property
    def made(self) -> tuple[Unit, ...]:
        """The units noted since the last sweep took them, in order; they stay."""
        return tuple(self._made)

    def take_units(self) -> list[Unit]:
        """Return the units noted since the last call, in order."""
        return [self._made.popleft() for _ in range(len(self._made))]

    def ask_for_room(self) -> None:
        """Have all ended units removed whose ends are reported, unless they are kept for ever: a run waits for room."""
        self._needs_room = True
        self.wake_sweep()

    def take_need_of_room(self) -> bool:
        """Return whether room was asked for since the last call."""
        needs_room, self._needs_room = self._needs_room, False
        return needs_room

    # --- what sweeps learn for the poll loop ---

    def note_sweep(self, quiet_since: float | None) -> None:
        """Note what a sweep learned.

        Args:
            quiet_since: When the Cloud was asked and had no flow run that is due (monotonic); None if it may have some.
        """
        self._quiet.append(quiet_since)

    def take_sweeps(self) -> list[float | None]:
        """Return what sweeps have learned since the last call, in order."""
        return [self._quiet.popleft() for _ in range(len(self._quiet))]

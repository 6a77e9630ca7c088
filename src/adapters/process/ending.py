"""Finds out whether a unit has ended, that is, whether none of its processes executes; and ends units."""

import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from datetime import datetime
from typing import Final

import attrs

from prefect.agent.adapters.process import processes
from prefect.agent.adapters.process.processes import Process
from prefect.agent.adapters.process.reaper import Reaper
from prefect.agent.adapters.process.unit_dir import UnitDir
from prefect.agent.domain.errors import PlatformForbidden, PlatformUnavailable
from prefect.agent.domain.model.units import Unit, UnitStatus

FIRST_LOOK: Final = 0.005
"""Shortest pause in seconds between two looks at a unit that is about to end."""

LAST_LOOK: Final = 0.05
"""Longest pause in seconds between two looks at a unit that is about to end."""

ROUND: Final = 1.0
"""Seconds after which the processes of a unit that is about to end are searched again."""

BEING_KILLED: Final = 0.5
"""Seconds within which a command disappears that is killed together with its shell."""

LEFT_OVER: Final = 1.0
"""Seconds that what a failed command left behind has for ending by itself."""

KILLED_WITHIN: Final = 10.0
"""Seconds within which killed processes must disappear."""


class UnitEnding:
    """Finds out which units have ended, and ends units. Thread-safe.

    By its lock and files a unit may have ended although a child that released both still lives. To find such children,
    the environments of other processes are read, once for each end. For a unit that this agent started, only processes
    whose parent has ended need to be read.
    """

    def __init__(self, reaper: Reaper) -> None:
        self._reaper = reaper
        self._guard = threading.Lock()
        self._own: set[str] = set()
        self._over: dict[str, datetime | None] = {}
        self._one_look = threading.Lock()
        self._next_look = _Look()

    def began(self, name: str, child: "subprocess.Popen[bytes]") -> None:
        """Record that this agent started the unit."""
        with self._guard:
            self._own.add(name)
        self._reaper.add(name, child)

    def judged(self, units: Sequence[Unit], again: Callable[[str], Unit | None], *, forget: bool = False) -> list[Unit]:
        """Return *units*; one that has ended by its files, but of which a process lives, is returned as running.

        Args:
            again: Reads a unit once more, since its last process may meanwhile have written how it ended.
            forget: Forget all other units, because these are all that exist.

        Raises:
            OSError: Processes cannot be read.
        """
        with self._guard:
            if forget:
                names = {unit.name for unit in units}
                self._over = {name: at for name, at in self._over.items() if name in names}
            known = {unit.name for unit in units if self._over.get(unit.name, 0) == unit.created_at}
            doubtful = [unit for unit in units if unit.status.has_ended and unit.name not in known]
            near = {unit.name for unit in doubtful if unit.name in self._own and _has_code(unit)}
        living = self._living(near, {unit.name for unit in doubtful} - near)
        with self._guard:
            for unit in doubtful:
                if unit.name not in living:
                    self._over[unit.name] = unit.created_at
                    self._own.discard(unit.name)
        unsaid = {unit.name for unit in doubtful if unit.name not in living and not _has_code(unit)}
        units = [(again(unit.name) or unit) if unit.name in unsaid else unit for unit in units]
        return [_runs(unit) if unit.name in living else unit for unit in units]

    def end(self, unit: UnitDir, grace: float) -> None:
        """Ask all processes of the unit to end; kill those that are left after *grace* seconds.

        Raises:
            PlatformForbidden: The processes belong to another user.
            PlatformUnavailable: The processes do not end.
            OSError: Processes cannot be read.
        """
        for number, patience in ((signal.SIGTERM, grace), (signal.SIGKILL, KILLED_WITHIN)):
            if _ended_by(unit, number, patience):
                return
        raise PlatformUnavailable(f"the processes of {unit.path.name} do not end")

    def end_left_over(self, unit: UnitDir) -> None:
        """End what a failed command has left behind; without success, nothing happens: it is seen as executing."""
        end = time.monotonic() + BEING_KILLED
        with suppress(OSError, PlatformForbidden, PlatformUnavailable):
            while (left_over := unit.is_left_over()) is None and time.monotonic() < end:
                time.sleep(FIRST_LOOK)
            if left_over:
                self.end(unit, LEFT_OVER)

    def _living(self, near: Collection[str], far: Collection[str]) -> set[str]:
        """Return the units of which a process lives. Callers that wait for a look in progress share the next one.

        A look begins after its units have ended by their files, so that their remaining processes are orphans by then.
        """
        if not (near or far) or not processes.can_look():
            return set()
        with self._guard:
            look = self._next_look
            look.near.update(near)
            look.far.update(far)
        with self._one_look:
            if look.found is None:
                with self._guard:
                    if self._next_look is look:
                        self._next_look = _Look()
                look.found = self._look(look)
        return look.found & {*near, *far}

    def _look(self, look: "_Look") -> set[str]:
        among = None if look.far else processes.orphans()
        if among is not None:
            among -= self._reaper.children()
        return processes.living(look.near | look.far, among)


@attrs.define
class _Look:
    """One look at processes, for several units.

    Attributes:
        near: Units that this agent started; their remaining processes are among the orphans.
        far: Other units.
        found: The units of which a process lives; None before the look.
    """

    near: set[str] = attrs.field(factory=set)
    far: set[str] = attrs.field(factory=set)
    found: set[str] | None = None


def _ended_by(unit: UnitDir, number: int, patience: float) -> bool:
    """Send a signal to each process of the unit, also to new ones; return whether all have ended in time.

    The unit's shell gets it last, since it records how the command ended.
    """
    end = time.monotonic() + patience
    asked: set[tuple[int, int]] = set()
    while True:
        members = _members(unit)
        if not members and not unit.is_alive():
            return True
        shell = unit.shell()
        for one in [one for one in members if one.pid != shell] or members:
            if (one.pid, one.start) not in asked:
                asked.add((one.pid, one.start))
                _send(unit, one, number)
        _wait_gone(unit, members, min(end, time.monotonic() + ROUND))
        if time.monotonic() >= end:
            return not unit.is_alive() and not _members(unit)


def _members(unit: UnitDir) -> list[Process]:
    """Return the unit's processes; on a system that does not show processes, only its shell."""
    if processes.can_look():
        return processes.members(unit.path.name) or (processes.holders(unit.lock) if unit.is_alive() else [])
    shell = unit.shell() if unit.is_alive() else None
    return [Process(pid=shell, group=shell)] if shell is not None and _leads_its_session(shell) else []


def _leads_its_session(pid: int) -> bool:
    """Return whether the process leads a session other than this agent's, as the shell of a unit does."""
    try:
        return pid > 1 and os.getsid(pid) == pid != os.getsid(0)
    except OSError:
        return False


def _send(unit: UnitDir, one: Process, number: int) -> None:
    try:
        if processes.can_look():
            processes.send(one, number)
        else:
            with suppress(ProcessLookupError):
                os.killpg(one.group, number)
    except PermissionError as problem:
        raise PlatformForbidden(f"the agent may not signal process {one.pid} of {unit.path.name}") from problem


def _wait_gone(unit: UnitDir, members: Sequence[Process], end: float) -> None:
    """Wait until *end* for these processes to end and the unit's lock to be free."""
    pause = FIRST_LOOK
    while time.monotonic() < end:
        left = any(map(processes.is_alive, members)) if processes.can_look() else False
        if not left and not unit.is_alive():
            return
        time.sleep(pause)
        pause = min(2 * pause, LAST_LOOK)


def _has_code(unit: Unit) -> bool:
    """Return whether the unit's shell saw its command end; remaining processes then have another parent."""
    return unit.evidence is not None and unit.evidence.exit_code is not None


def _runs(unit: Unit) -> Unit:
    return attrs.evolve(unit, status=UnitStatus.RUNNING, evidence=None, ended_at=None)

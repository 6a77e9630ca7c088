"""Which process of which machine an agent is, and whether another one is gone."""

import hashlib
import os
import re
from pathlib import Path
from typing import Final

import attrs

from prefect.agent.ports.presence import Presence

FIRST_NAMESPACE: Final = 0xEFFFFFFC
"""Number of the machine's first process namespace, on every Linux: a process in it is in no container."""

CONTAINER_SIGNS: Final = (Path("/.dockerenv"), Path("/run/.containerenv"))

_PLACE: Final = re.compile(r"pid:([0-9a-f]{12})?:([0-9a-f-]{1,40}):(\d{1,20}):(\d{1,10}):(\d{1,20})", re.ASCII)
_LONGEST: Final = 4096


@attrs.frozen
class Place:
    """Where one process executes.

    Attributes:
        machine: A digest of the machine's id; empty if it has none, or if a container's says nothing of the machine.
        boot: Id of this start of the machine's kernel.
        namespace: Number of the process namespace that *pid* is counted in.
        start: When the process was started, in clock ticks since the boot: tells it from a later one of the same id.
    """

    machine: str
    boot: str
    namespace: int
    pid: int
    start: int

    def __str__(self) -> str:
        return f"pid:{self.machine}:{self.boot}:{self.namespace}:{self.pid}:{self.start}"

    @classmethod
    def parse(cls, text: str) -> "Place | None":
        """Read what ``str`` wrote; None if it is anything else."""
        found = _PLACE.fullmatch(text)
        if found is None:
            return None
        return cls(found[1] or "", found[2], int(found[3]), int(found[4]), int(found[5]))


class SystemPresence(Presence):
    """Knows processes by the kernel's own records in /proc; without it, nothing.

    A process is proven gone if its machine was started anew since (known outside of containers only), or if it is
    counted in our own process namespace and is not there any more.

    Args:
        proc: Where the kernel's records are.
        machine_id: Where the machine's own id is.
        container_signs: Files that only containers have.
    """

    def __init__(
        self,
        proc: Path = Path("/proc"),
        machine_id: Path = Path("/etc/machine-id"),
        container_signs: tuple[Path, ...] = CONTAINER_SIGNS,
    ) -> None:
        self._proc, self._machine_id, self._signs = proc, machine_id, container_signs

    @property
    def place(self) -> str:
        here = self._here()
        return str(here) if here else ""

    def is_gone(self, place: str) -> bool:
        other, here = Place.parse(place), self._here()
        if other is None or here is None:
            return False
        if other.boot != here.boot:
            return bool(here.machine) and here.machine == other.machine
        return other.namespace == here.namespace and self._has_ended(other)

    def _here(self) -> Place | None:
        pid = os.getpid()
        stat = self._stat(pid)
        boot = _text(self._proc / "sys/kernel/random/boot_id")
        try:
            namespace = (self._proc / "self/ns/pid").stat().st_ino
        except OSError:
            return None
        if stat is None or not boot:
            return None
        here = Place(self._machine(namespace), boot, namespace, pid, stat[1])
        return here if Place.parse(str(here)) else None

    def _machine(self, namespace: int) -> str:
        if namespace != FIRST_NAMESPACE or any(sign.exists() for sign in self._signs):
            return ""
        name = _text(self._machine_id)
        if not name or name == "uninitialized":
            return ""
        return hashlib.sha256(b"prefect-agent-presence:" + name.encode()).hexdigest()[:12]

    def _has_ended(self, other: Place) -> bool:
        try:
            os.kill(other.pid, 0)
        except ProcessLookupError:
            return other.pid > 0
        except (OSError, OverflowError):
            pass  # it is another user's, or no number of a process
        stat = self._stat(other.pid)
        if stat is None:  # hidden from us
            return False
        state, start = stat
        return start != other.start or state in {"Z", "X"}

    def _stat(self, pid: int) -> tuple[str, int] | None:
        """State and start of a process; None if they cannot be read."""
        words = _text(self._proc / str(pid) / "stat").rpartition(")")[2].split()
        try:
            return words[0], int(words[19])
        except (IndexError, ValueError):
            return None


def _text(path: Path) -> str:
    try:
        with path.open(encoding="utf-8", errors="replace") as file:
            return file.read(_LONGEST).strip()
    except OSError:
        return ""

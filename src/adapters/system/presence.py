"""Identifies an agent's process and machine, and finds out whether another agent's process has ended."""

import hashlib
import os
import re
from pathlib import Path
from typing import Final

import attrs

from prefect.agent.ports.presence import Presence

FIRST_NAMESPACE: Final = 0xEFFFFFFC
"""Number of the machine's first process namespace on every Linux; a process in it is not in a container."""

CONTAINER_SIGNS: Final = (Path("/.dockerenv"), Path("/run/.containerenv"))

_PLACE: Final = re.compile(r"pid:([0-9a-f]{12})?:([0-9a-f-]{1,40}):(\d{1,20}):(\d{1,10}):(\d{1,20})", re.ASCII)
_LONGEST: Final = 4096


@attrs.frozen
class ProcessPlace:
    """The identity of one process: its machine, boot, namespace, id and start.

    Attributes:
        machine: A digest of the machine's id; empty if it is unknown, as in a container.
        boot: Id of the current boot of the machine's kernel.
        namespace: Number of the process namespace of *pid*.
        start: When the process started, in clock ticks since the boot; a later process with the same id differs in it.
    """

    machine: str
    boot: str
    namespace: int
    pid: int
    start: int

    def __str__(self) -> str:
        return f"pid:{self.machine}:{self.boot}:{self.namespace}:{self.pid}:{self.start}"

    @classmethod
    def parse(cls, text: str) -> "ProcessPlace | None":
        """Read the text that ``str`` returned; None if it is something else."""
        found = _PLACE.fullmatch(text)
        if found is None:
            return None
        return cls(found[1] or "", found[2], int(found[3]), int(found[4]), int(found[5]))


class SystemPresence(Presence):
    """Identifies processes by the kernel's records in /proc; without /proc, it knows nothing.

    A process has certainly ended if its machine was rebooted since (known only outside of containers), or if it belongs
    to this process's namespace and does not exist there any more.

    Args:
        proc: Folder of the kernel's records.
        machine_id: File with the machine's id.
        container_signs: Files that exist only in containers.
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
        other, here = ProcessPlace.parse(place), self._here()
        if other is None or here is None:
            return False
        if other.boot != here.boot:
            return bool(here.machine) and here.machine == other.machine
        return other.namespace == here.namespace and self._has_ended(other)

    def _here(self) -> ProcessPlace | None:
        pid = os.getpid()
        stat = self._stat(pid)
        boot = _text(self._proc / "sys/kernel/random/boot_id")
        try:
            namespace = (self._proc / "self/ns/pid").stat().st_ino
        except OSError:
            return None
        if stat is None or not boot:
            return None
        here = ProcessPlace(self._machine(namespace), boot, namespace, pid, stat[1])
        return here if ProcessPlace.parse(str(here)) else None

    def _machine(self, namespace: int) -> str:
        if namespace != FIRST_NAMESPACE or any(sign.exists() for sign in self._signs):
            return ""
        name = _text(self._machine_id)
        if not name or name == "uninitialized":
            return ""
        return hashlib.sha256(b"prefect-agent-presence:" + name.encode()).hexdigest()[:12]

    def _has_ended(self, other: ProcessPlace) -> bool:
        try:
            os.kill(other.pid, 0)
        except ProcessLookupError:
            return other.pid > 0
        except (OSError, OverflowError):
            pass  # the process is another user's, or the number is impossible
        stat = self._stat(other.pid)
        if stat is None:  # this user may not see the process
            return False
        state, start = stat
        return start != other.start or state in {"Z", "X"}

    def _stat(self, pid: int) -> tuple[str, int] | None:
        """Return state and start of a process; None if they cannot be read."""
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

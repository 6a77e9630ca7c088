"""Identifies this machine and its current boot."""

import hashlib
from pathlib import Path
from typing import Final

import attrs

_ID_FILES: Final = (Path("/etc/machine-id"), Path("/var/lib/dbus/machine-id"))
_BOOT_FILE: Final = Path("/proc/sys/kernel/random/boot_id")
_LONGEST: Final = 64
"""Characters of such a file that are read."""


@attrs.frozen
class Machine:
    """The identity of a machine and of its current boot.

    Attributes:
        id: A digest of the machine's id, which is private; empty if it has none (as in many container images).
        boot: Id of the kernel's current boot, which all containers share; empty if the system has none.
    """

    id: str = ""
    boot: str = ""

    def is_elsewhere(self, other: "Machine") -> bool:
        """Return whether *other* is certainly another machine. All containers of one kernel are on the same machine."""
        if self.boot and self.boot == other.boot:
            return False
        return bool(self.id and other.id and self.id != other.id)


def this_machine() -> Machine:
    """Return the identity of this machine. Never raises."""
    name = next((text for text in map(_text, _ID_FILES) if text and text != "uninitialized"), "")
    digest = hashlib.sha256(b"prefect-agent:" + name.encode()).hexdigest()[:12] if name else ""
    return Machine(id=digest, boot=_text(_BOOT_FILE))


def _text(path: Path) -> str:
    try:
        with path.open(encoding="ascii") as file:
            return file.read(_LONGEST).strip()
    except (OSError, ValueError):
        return ""

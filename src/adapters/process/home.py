"""The identity of a state directory, which survives restarts, renamed hosts and damaged files."""

import fcntl
import json
import os
import re
import socket
import time
import uuid
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import attrs

from prefect.agent.adapters import state_files
from prefect.agent.adapters.process.machine import Machine, this_machine
from prefect.agent.domain.errors import PlatformUnavailable

KEPT: Final = 32
"""Most identities that a directory remembers."""

LOCKED_WITHIN: Final = 10.0
"""Seconds within which another agent must release the files of the identity."""

PAUSE: Final = 0.01
"""Seconds between two tries to lock the files of the identity."""

_ID: Final = re.compile(r"[0-9a-z]{1,64}")


@attrs.frozen
class Known:
    """An identity that a directory once had, and the machine on which it had it."""

    identity: str
    id: str
    machine: Machine


class Home:
    """Reads and keeps the identity of a state directory. Not thread-safe: the caller locks.

    It uses two files: ``id``, created once, and ``identities``, all that the directory ever had, so that a damaged
    ``id`` can be repaired and claims under an older identity are still recognized.
    """

    def __init__(self, directory: Path, machine: Machine | None = None) -> None:
        self.directory = directory
        self.machine = machine or this_machine()
        self._own: Known | None = None
        self._aliases: tuple[str, ...] = ()

    def identity(self) -> str:
        """Return the directory's identity on this machine; create the directory and its id if they are missing.

        Raises:
            ConfigurationError: Another user owns the directory or can write in it.
            OSError: The directory cannot be read or written.
            PlatformUnavailable: Another agent holds the lock of the identity.
        """
        return self._known().identity

    def aliases(self) -> Sequence[str]:
        """Return older identities of the directory on this machine. Raises as :meth:`identity`."""
        self._known()
        return self._aliases

    def ensure(self) -> None:
        """Create the directory again, with its identity, if it was deleted. Raises as :meth:`identity`."""
        if self._own is None or not (self.directory / "id").exists():
            self._own = self._settled(self._own)

    def _known(self) -> Known:
        if self._own is None:
            self._own = self._settled(None)
        return self._own

    def _settled(self, before: Known | None) -> Known:
        """Read or create the identity; *before* is the identity that this agent read first, if any."""
        state_files.make_private(self.directory)
        with self._locked():
            history = self._history()
            here = [known for known in history if not self.machine.is_elsewhere(known.machine)]
            name = self._read_id() or self._repaired(before, here)
            own = self._called(f"{self.machine.id}:{name}" if self.machine.id else name, name)
            legacy = self._called(f"{socket.gethostname()}:{name}", name)
            self._aliases = tuple(dict.fromkeys(k.identity for k in (*here, legacy) if k.identity != own.identity))
            self._remember(history, own, legacy)
        return own

    def _called(self, rest: str, name: str) -> Known:
        return Known(f"process:{rest}", name, self.machine)

    def _read_id(self) -> str:
        try:
            content = state_files.read(self.directory / "id") or b""
        except state_files.NotAFile:
            return ""
        text = content.decode("ascii", errors="replace").strip()
        return text if _ID.fullmatch(text) else ""

    def _repaired(self, before: Known | None, here: Sequence[Known]) -> str:
        """Write the id again, with its former value if that is known."""
        known = before or (here[-1] if here else None)
        name = known.id if known else uuid.uuid4().hex[:12]
        state_files.write(self.directory / "id", name.encode(), synced=True)
        return name

    def _history(self) -> list[Known]:
        try:
            found = json.loads(state_files.read(self.directory / "identities") or b"[]")
        except (state_files.NotAFile, ValueError, RecursionError):
            return []
        entries = found if isinstance(found, list) else []
        return [known for entry in entries if (known := _known(entry)) is not None]

    def _remember(self, history: Sequence[Known], *now: Known) -> None:
        kept = [known for known in history if known.identity not in {each.identity for each in now}]
        wanted = [*kept, *reversed(now)][-KEPT:]
        if wanted == history:
            return
        rows = [{"identity": k.identity, "id": k.id, "machine": k.machine.id, "boot": k.machine.boot} for k in wanted]
        state_files.write(self.directory / "identities", json.dumps(rows).encode(), synced=True)

    @contextmanager
    def _locked(self) -> Generator[None]:
        handle = state_files.opened(self.directory / "identity.lock", os.O_RDWR | os.O_CREAT)
        try:
            end = time.monotonic() + LOCKED_WITHIN
            while not _is_locked(handle):
                if time.monotonic() >= end:
                    raise PlatformUnavailable(f"another agent holds the lock {self.directory / 'identity.lock'}")
                time.sleep(PAUSE)
            yield
        finally:
            os.close(handle)


def _is_locked(handle: int) -> bool:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _known(entry: Any) -> Known | None:
    if not isinstance(entry, dict):
        return None
    words = [entry.get(name) for name in ("identity", "id", "machine", "boot")]
    if not all(isinstance(word, str) for word in words) or not _ID.fullmatch(str(words[1])):
        return None
    identity, name, machine, boot = map(str, words)
    return Known(identity, name, Machine(machine, boot))

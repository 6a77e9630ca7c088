"""The platform of agents that start flow runs by their own code: it never has units."""

import hashlib
import socket
import threading
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

from prefect.agent.domain.errors import SubmissionRefused
from prefect.agent.domain.model.submissions import PlatformTraits, Submission
from prefect.agent.domain.model.units import Unit
from prefect.agent.ports.platform import ExecutionPlatform

TRAITS: Final = PlatformTraits(kind="none", has_units=False, runs_images=False, units_are="its deploy_flow does")

MACHINE_ID: Final = Path("/etc/machine-id")


class NullPlatform(ExecutionPlatform):
    """Shows no units, so that their absence proves nothing, and refuses to create any.

    Args:
        agent_name: Agents with this name on one machine have the same identity.
        machine_id: File with this machine's id; if it is missing or empty, the host name is used.
    """

    def __init__(self, agent_name: str, *, machine_id: Path = MACHINE_ID) -> None:
        self._identity = f"none:{_machine(machine_id)}:{agent_name}"
        self._closed = threading.Event()

    @property
    def traits(self) -> PlatformTraits:
        return TRAITS

    @property
    def identity(self) -> str:
        return self._identity

    def check(self) -> None:
        """Do nothing: this platform cannot be unavailable."""

    def create(self, submission: Submission) -> Unit:
        raise SubmissionRefused(
            f"this agent has no platform to start {submission.name} on: pass platform=..., or override deploy_flow"
        )

    def units(self) -> Sequence[Unit]:
        return ()

    def unit(self, name: str) -> Unit | None:  # noqa: ARG002 - there is none
        return None

    def watch(self, *, seconds: float) -> Iterator[Unit]:
        self._closed.wait(seconds)
        return iter(())

    def stop(self, name: str, *, grace: float) -> None:
        """Do nothing: a unit that does not exist has ended."""

    def remove(self, name: str) -> None:
        """Do nothing: a unit that does not exist is removed."""

    def logs_tail(self, name: str, *, lines: int = 50) -> str:  # noqa: ARG002 - there is none
        return ""

    def close(self) -> None:
        """End all watches."""
        self._closed.set()


def _machine(path: Path) -> str:
    """Return a text that identifies this machine, and stays the same after a restart."""
    found = ""
    with suppress(OSError, UnicodeDecodeError):
        found = path.read_text(encoding="ascii").strip()
    # Hashed, because the id of a machine is confidential.
    return hashlib.sha256(found.encode()).hexdigest()[:12] if found else socket.gethostname()

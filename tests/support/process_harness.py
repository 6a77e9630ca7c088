"""A state directory of process units, for tests of what only processes can do wrong."""

import os
import signal
import uuid
from collections.abc import Mapping
from pathlib import Path

import attrs

from prefect.agent.adapters.process import ProcessPlatform
from prefect.agent.domain.model.flow_runs import FlowRunId, SimpleAttempt
from prefect.agent.domain.model.submissions import Submission
from prefect.agent.domain.model.units import Unit, unit_name
from support.waiting import wait_until


@attrs.frozen
class ProcessHarness:
    """A state directory, and a folder where units leave their traces."""

    folder: Path

    @property
    def units(self) -> Path:
        """The state directory."""
        return self.folder / "units"

    def agent(self) -> ProcessPlatform:
        """One more agent's platform."""
        return ProcessPlatform(self.units, environ={"PATH": os.environ["PATH"], "LANG": "C.UTF-8"})

    def submission(self, *command: str, env: Mapping[str, str] | None = None) -> Submission:
        """A new flow run."""
        run_id = FlowRunId(str(uuid.uuid4()))
        name = unit_name(run_id, SimpleAttempt("1"))
        return Submission(name=name, flow_run_id=run_id, attempt="1", command=command, env=env or {})

    def sleeper(self) -> Submission:
        """One that notes each of its starts, and waits."""
        return self.submission("/bin/sh", "-c", f"echo $$ >> {self.folder}/starts; exec sleep 600")

    def starts(self) -> list[int]:
        """Process ids of all starts of sleepers."""
        path = self.folder / "starts"
        return [int(word) for word in path.read_text(encoding="ascii").split()] if path.exists() else []

    def clean(self) -> None:
        """End all that was started here."""
        for path in Path("/proc").glob("[0-9]*/cmdline"):
            try:
                words = path.read_bytes()
            except OSError:
                continue
            if f"{self.folder}/".encode() in words:
                for pid in (int(path.parent.name), *_children(path.parent)):
                    try:
                        os.kill(pid, signal.SIGKILL)
                    except ProcessLookupError:
                        continue


def _children(process: Path) -> list[int]:
    try:
        return [int(word) for word in (process / "task" / process.name / "children").read_text().split()]
    except OSError:
        return []


def over(agent: ProcessPlatform, name: str) -> Unit:
    """The unit, once it has ended."""
    found: list[Unit] = []

    def check() -> bool:
        unit = agent.unit(name)
        assert unit is not None
        found.append(unit)
        return unit.status.has_ended

    wait_until(check, 60, f"{name} has ended")
    return found[-1]

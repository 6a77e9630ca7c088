"""Every execution platform against the one contract: in memory, processes of this machine, containers."""

import contextlib
import gc
import io
import os
import shlex
import shutil
import signal
import subprocess
import sys
import tarfile
from collections.abc import Generator, Mapping
from contextlib import ExitStack
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING

import attrs
import pytest

from prefect.agent.adapters.fakes import InMemoryPlatform
from prefect.agent.adapters.fakes.contracts import ExecutionPlatformContract, PatientPlatformContract, PlatformHarness
from prefect.agent.adapters.process import ProcessPlatform
from prefect.agent.adapters.process.unit_dir import UnitDir
from prefect.agent.domain.model.run_configs import DockerRun, LocalRun, RunConfig
from prefect.agent.domain.model.submissions import Submission
from prefect.agent.domain.model.units import UnitStatus
from prefect.agent.ports.platform import ExecutionPlatform
from support.submissions import PAD, Submissions

if TYPE_CHECKING:
    from docker import APIClient


@attrs.define
class MemoryPlatformHarness(Submissions, PlatformHarness):
    """Units in memory."""

    place: InMemoryPlatform = attrs.field(factory=InMemoryPlatform)
    stuck: set[str] = attrs.field(factory=set)
    left: set[str] = attrs.field(factory=set)

    def platform(self) -> ExecutionPlatform:
        """One more object on the same place."""
        return InMemoryPlatform(beside=self.place)

    def let_end(self, submission: Submission) -> None:
        """Do what the submission wants."""
        wish = self.wishes[submission.name]
        if wish.detaches:  # the child goes on
            self.left.add(submission.name)
            return
        self.place.tell(submission.name, "Container  Ended")
        self.place.write(submission.name, wish.padding * (PAD * "0" + "\n") + wish.prints)
        self.place.end(submission.name, wish.exit_code or 0)

    def starts(self, name: str) -> int:
        """Count starts; what waits for an image has none."""
        return 0 if name in self.stuck else sum(submission.name == name for submission in self.place.created)

    def is_executing(self, name: str) -> bool:
        """Look at the unit."""
        unit = self.place.unit(name)
        return unit is not None and unit.status is UnitStatus.RUNNING

    def is_detached(self, name: str) -> bool:
        """A unit whose command is to go on has its child too."""
        is_left = name in self.left or self.wishes[name].exit_code is None
        return is_left and self.wishes[name].detaches and self.is_executing(name)

    def environment(self, name: str) -> Mapping[str, str]:
        """What the submission says."""
        (submission,) = (each for each in self.place.created if each.name == name)
        return {**submission.env, **submission.secret_env}

    def kill(self, name: str) -> None:
        """End it."""
        self.place.end(name, 137)

    def vanish(self, name: str) -> None:
        """Delete it."""
        self.place.vanish(name)

    def take_name(self, name: str) -> None:
        """Take its name."""
        self.place.take_name(name)

    def is_taken(self, name: str) -> bool:
        """Whether the name is taken."""
        return self.place.is_taken(name)

    def leave_unstarted(self, submission: Submission) -> bool:
        """Leave half a unit."""
        self.place.leave_unstarted(submission)
        return True

    def cannot_start(self) -> Submission:
        """One that will wait for an image."""
        submission = self.submission()
        self.stuck.add(submission.name)
        self.place.wait(submission.name, "ImagePullBackOff", "no such image", datetime.now(timezone.utc))
        return submission


DETACHED = """
import os, sys, time
if os.fork():
    os._exit(0)
os.setsid()
if os.fork():
    os._exit(0)
os.closerange(0, 65536)

def executes(pid):
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False

while sys.argv[2] != "0" and executes(sys.argv[2]):
    time.sleep(0.005)
with open(sys.argv[1] + ".new", "w") as file:
    file.write(f"{os.getpid()}\\n")
os.rename(sys.argv[1] + ".new", sys.argv[1])
time.sleep(600)
"""
"""A child that has nothing in common with the unit. Leaves its process id in a file once another process has ended."""


@attrs.define(kw_only=True)
class ProcessPlatformHarness(Submissions, PlatformHarness):
    """Processes, known by the traces that they leave in a folder, and by /proc."""

    folder: Path

    @property
    def run_config(self) -> RunConfig:
        """A local one."""
        return LocalRun(working_dir=str(self.folder))

    def platform(self) -> ExecutionPlatform:
        """One more object on the same directory; a program called prefect is there for its check."""
        programs = self.folder / "bin"
        programs.mkdir(exist_ok=True)
        (programs / "prefect").write_text("#!/bin/sh\necho 1.4.1\n", encoding="ascii")
        (programs / "prefect").chmod(0o755)
        environ = {**os.environ, "PATH": f"{programs}:{os.environ['PATH']}"}
        platform = ProcessPlatform(self.folder / "units", environ=environ)
        self.stack.callback(platform.close)
        return platform

    def trace(self, name: str) -> Path:
        """Where a unit writes a line with its process id when it starts."""
        return self.folder / f"{name}.trace"

    def record(self, name: str) -> str:  # type: ignore[override] # needs the folder
        """Environment first: whoever sees the start may look at it."""
        trace = shlex.quote(str(self.trace(name)))
        return f"env -0 > {trace}.env; echo $$ >> {trace}"

    def child_trace(self, name: str) -> str:
        """Beside it."""
        return str(self.folder / f"{name}.child")

    def detach(self, name: str, after: str) -> str:
        """A child of Python: a shell cannot close all descriptors."""
        words = [sys.executable, "-I", "-S", "-c", DETACHED, self.child_trace(name)]
        return f"{shlex.join(words)} {after or 0}"

    def pids(self, name: str) -> list[int]:
        """Process ids of all starts."""
        return self._numbers(self.trace(name))

    def let_end(self, submission: Submission) -> None:
        """It does so itself."""

    def starts(self, name: str) -> int:
        """Count starts."""
        return len(self.pids(name))

    def is_executing(self, name: str) -> bool:
        """Look for the processes; a zombie executes nothing."""
        return any(map(self._is_alive, self.pids(name))) or self.is_detached(name)

    def is_detached(self, name: str) -> bool:
        """Look for the child."""
        return any(map(self._is_alive, self._numbers(Path(self.child_trace(name)))))

    def environment(self, name: str) -> Mapping[str, str]:
        """What the process was given."""
        words = Path(f"{self.trace(name)}.env").read_bytes().decode().split("\0")
        return dict(word.split("=", 1) for word in words if word)

    def kill(self, name: str) -> None:
        """Kill all of its processes."""
        for pid in filter(self._is_alive, [*self.pids(name), *self._numbers(Path(self.child_trace(name)))]):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(os.getpgid(pid), signal.SIGKILL)

    def vanish(self, name: str) -> None:
        """Kill it and delete its directory."""
        self.kill(name)
        shutil.rmtree(self.folder / "units" / name)

    def take_name(self, name: str) -> None:
        """A file where the unit's directory would be."""
        (self.folder / "units").mkdir(exist_ok=True)
        (self.folder / "units" / name).write_text("not yours")

    def is_taken(self, name: str) -> bool:
        """Look at the file."""
        path = self.folder / "units" / name
        return path.is_file() and path.read_text() == "not yours"

    def leave_unstarted(self, submission: Submission) -> bool:
        """The directory whose lock nobody holds, without the first act of a process."""
        lock = UnitDir(self.folder / "units" / submission.name).begin(submission)
        assert lock is not None
        os.close(lock)
        return True

    def clean(self) -> None:
        """Kill everything, units too that have not come as far as to leave a trace."""
        for name in self.wishes:
            self.kill(name)
        for path in (self.folder / "units").glob("*/pid"):
            for pid in filter(self._is_alive, map(int, path.read_text().split())):
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(os.getpgid(pid), signal.SIGKILL)
        for child in gc.get_objects():  # a platform that was closed reaps nobody: we do
            if isinstance(child, subprocess.Popen) and str(self.folder) in repr(child.args):
                child.wait(60)

    @staticmethod
    def _numbers(trace: Path) -> list[int]:
        return [int(line) for line in trace.read_text().splitlines()] if trace.exists() else []

    def _is_alive(self, pid: int) -> bool:
        try:
            words = Path(f"/proc/{pid}/cmdline").read_bytes()
        except OSError:
            return False
        return str(self.folder).encode() in words  # empty of a zombie; another process's is not ours


@attrs.define(kw_only=True)
class DockerPlatformHarness(Submissions, PlatformHarness):
    """Containers, through the engine's own API."""

    client: "APIClient"
    small_image: str

    @property
    def image(self) -> str:
        """A small one."""
        return self.small_image

    @property
    def run_config(self) -> RunConfig:
        """Without a network, which takes time to make."""
        return DockerRun(host_config={"network_mode": "none"})

    @staticmethod
    def record(_name: str) -> str:
        """A line in a file of the container's own."""
        return "echo x >> /trace"

    def platform(self) -> ExecutionPlatform:
        """One more object on the same engine."""
        from prefect.agent.adapters.docker import DockerPlatform  # noqa: PLC0415 - only those who need it pay for it

        platform = DockerPlatform(no_pull=True)
        self.stack.callback(platform.close)
        return platform

    def let_end(self, submission: Submission) -> None:
        """It does so itself."""

    def starts(self, name: str) -> int:
        """Lines in its file."""
        return self._lines(name, "/trace")

    def is_detached(self, name: str) -> bool:
        """The container's end is the child's."""
        return self.is_executing(name) and self._lines(name, self.child_trace(name)) > 0

    def _lines(self, name: str, path: str) -> int:
        from docker.errors import NotFound  # noqa: PLC0415

        try:
            chunks, _ = self.client.get_archive(name, path)
        except NotFound:
            return 0
        with tarfile.open(fileobj=io.BytesIO(b"".join(chunks))) as archive:
            file = archive.extractfile(path.lstrip("/"))
            return 0 if file is None else len(file.read().splitlines())

    def is_executing(self, name: str) -> bool:
        """Ask the engine."""
        from docker.errors import NotFound  # noqa: PLC0415

        try:
            return bool(self.client.inspect_container(name)["State"]["Running"])
        except NotFound:
            return False

    def environment(self, name: str) -> Mapping[str, str]:
        """Ask the engine."""
        return dict(word.split("=", 1) for word in self.client.inspect_container(name)["Config"]["Env"])

    def kill(self, name: str) -> None:
        """Kill it."""
        self.client.kill(name)

    def vanish(self, name: str) -> None:
        """Delete it."""
        self.client.remove_container(name, force=True)

    def take_name(self, name: str) -> None:
        """A container without our labels."""
        self.client.create_container(self.small_image, "true", name=name)

    def is_taken(self, name: str) -> bool:
        """Look at the container."""
        return bool(self.client.inspect_container(name)["State"]["Status"] == "created")

    def leave_unstarted(self, submission: Submission) -> bool:
        """A container with our labels that nobody starts."""
        from prefect.agent.adapters.docker.containers import labels  # noqa: PLC0415

        config = self.client.create_host_config(network_mode="none")
        self.client.create_container(
            self.small_image,
            list(submission.command),
            name=submission.name,
            labels=labels(submission),
            host_config=config,
        )
        return True

    def clean(self) -> None:
        """Delete every container whose name was given out."""
        from docker.errors import NotFound  # noqa: PLC0415

        for name in self.wishes:
            with contextlib.suppress(NotFound):
                self.client.remove_container(name, force=True)


class TestInMemoryPlatform(PatientPlatformContract):
    """The fake."""

    @pytest.fixture
    def harness(self) -> PlatformHarness:
        """A new place."""
        return MemoryPlatformHarness(ExitStack())


class TestProcessPlatform(ExecutionPlatformContract):
    """Real processes."""

    @pytest.fixture
    def harness(self, tmp_path: Path) -> Generator[PlatformHarness]:
        """A new directory."""
        with ExitStack() as stack:
            harness = ProcessPlatformHarness(stack, folder=tmp_path)
            yield harness
            harness.clean()


@pytest.mark.docker
class TestDockerPlatform(ExecutionPlatformContract):
    """Real containers."""

    @pytest.fixture
    def harness(self, small_image: str) -> Generator[PlatformHarness]:
        """The engine there is."""
        import docker  # noqa: PLC0415

        with ExitStack() as stack:
            client = docker.from_env(timeout=60)
            stack.callback(client.close)
            harness = DockerPlatformHarness(stack, client=client.api, small_image=small_image)
            yield harness
            harness.clean()

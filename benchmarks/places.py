"""Where the units of ``agents.py`` execute: they note that they were started, and wait."""

import io
import os
import signal
import subprocess
import sys
import tarfile
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from side_by_side import OFFICIAL, OFFICIAL_PYTHON, OWN, official_has

IMAGE: Final = "prefect-agent-benchmark"
DOCKERFILE: Final = "FROM {}\nCOPY prefect /bin/prefect\n"


_NOTE: Final = """import os, time
with open("{}/" + os.environ["PREFECT__CONTEXT__FLOW_RUN_ID"], "a") as note:
    note.write(f"{{time.time()}} {{os.getpid()}}\\n")
os.execv("/bin/sleep", ["sleep", "600"])
"""


class Place(ABC):
    """Where units execute, and what is seen of them there.

    Attributes:
        runs: How many flow runs are drained.
    """

    name: str
    runs: int
    run_config: Mapping[str, Any]

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @abstractmethod
    def own(self) -> list[str]:
        """Command of our agent."""

    @abstractmethod
    def official(self) -> list[str]:
        """Command of the official one."""

    @abstractmethod
    def starts(self) -> dict[str, list[float]]:
        """When units were started, for each flow run that has any."""

    @abstractmethod
    def clear(self) -> None:
        """End all units and forget them."""

    @abstractmethod
    def bare(self, count: int) -> float:
        """Units per second that the platform itself starts, without any agent."""

    def agents(self) -> dict[str, list[str]]:
        """All commands there are."""
        found = {f"prefect agent start {self.name}": self.own()}
        if official_has():
            found["official 1.4.1"] = self.official()
        return found

    def started(self, count: int, within: float, process: "subprocess.Popen[bytes]") -> bool:
        """Wait until so many flow runs have a unit."""
        end = time.monotonic() + within
        while self.count() < count:
            if time.monotonic() > end or process.poll() is not None:
                return False
            time.sleep(0.05)
        return True

    @abstractmethod
    def count(self) -> int:
        """How many flow runs have a unit."""


class Processes(Place):
    """A module ``prefect`` in the run's working directory that leaves a line in a file of its flow run."""

    name = "process"
    runs = 1000

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self._notes, self._modules = folder / "starts", folder / "modules"
        self._notes.mkdir()
        (self._modules / "prefect").mkdir(parents=True)
        (self._modules / "prefect" / "__init__.py").touch()
        (self._modules / "prefect" / "__main__.py").write_text(_NOTE.format(self._notes), encoding="utf-8")
        self.run_config = {"type": "LocalRun", "working_dir": str(self._modules)}

    def own(self) -> list[str]:
        python = str(OFFICIAL_PYTHON) if official_has() else sys.executable
        return [*OWN, "agent", "start", "process", "--no-hostname-label", "--interpreter", python]

    def official(self) -> list[str]:
        return [*OFFICIAL, "agent", "local", "start", "--no-hostname-label"]

    def count(self) -> int:
        return sum(1 for _ in self._notes.iterdir())

    def starts(self) -> dict[str, list[float]]:
        return {each.name: [float(line.split()[0]) for line in _lines(each)] for each in self._notes.iterdir()}

    def clear(self) -> None:
        for note in self._notes.iterdir():
            for line in _lines(note):
                with suppress(ProcessLookupError):
                    os.kill(int(line.split()[1]), signal.SIGKILL)
            note.unlink()

    def bare(self, count: int) -> float:
        words = [self.own()[-1], "-m", "prefect", "execute", "flow-run"]
        began, made = time.perf_counter(), []
        for number in range(count):
            env = {"PATH": os.environ["PATH"], "PREFECT__CONTEXT__FLOW_RUN_ID": f"bare-{number}"}
            made.append(subprocess.Popen(words, env=env, cwd=self._modules, start_new_session=True))
        while self.count() < count:
            time.sleep(0.01)
        took = time.perf_counter() - began
        self.clear()
        for process in made:
            process.wait()
        return count / took


class Containers(Place):
    """An image whose ``prefect`` only waits."""

    name = "docker"
    runs = 60
    run_config: Mapping[str, Any] = {"type": "DockerRun", "image": IMAGE}

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        import docker  # noqa: PLC0415

        self._client = docker.from_env(timeout=120)
        self._api = self._client.api
        if not self._client.images.list(name=IMAGE):
            content, script = io.BytesIO(), b"#!/bin/sh\nexec sleep 600\n"
            base = "lab/busybox" if self._client.images.list(name="lab/busybox") else "busybox"
            with tarfile.open(fileobj=content, mode="w") as tar:
                for name, data in (("prefect", script), ("Dockerfile", DOCKERFILE.format(base).encode())):
                    info = tarfile.TarInfo(name)
                    info.size, info.mode = len(data), 0o755
                    tar.addfile(info, io.BytesIO(data))
            content.seek(0)
            self._client.images.build(fileobj=content, custom_context=True, tag=IMAGE, rm=True)

    def own(self) -> list[str]:
        return [*OWN, "agent", "start", "docker", "--no-pull", "--network", "host"]

    def official(self) -> list[str]:
        return [*OFFICIAL, "agent", "docker", "start", "--no-pull", "--network", "host"]

    def count(self) -> int:
        return sum(each["State"] == "running" for each in self._containers())

    def starts(self) -> dict[str, list[float]]:
        found: dict[str, list[float]] = {}
        for each in self._containers():
            details = self._api.inspect_container(each["Id"])
            variables = dict(pair.split("=", 1) for pair in details["Config"]["Env"])
            run = variables["PREFECT__CONTEXT__FLOW_RUN_ID"]
            found.setdefault(run, []).append(_seconds(details["State"]["StartedAt"]))
        return found

    def _containers(self) -> list[dict[str, Any]]:
        return list(self._api.containers(all=True, filters={"ancestor": IMAGE}))

    def clear(self) -> None:
        with ThreadPoolExecutor(8) as pool:
            ids = [each["Id"] for each in self._containers()]
            list(pool.map(lambda one: self._api.remove_container(one, force=True), ids))

    def bare(self, count: int) -> float:
        host = self._api.create_host_config(network_mode="host")

        def make(number: int) -> None:
            env = {"PREFECT__CONTEXT__FLOW_RUN_ID": f"bare-{number}"}
            made = self._api.create_container(IMAGE, ["prefect"], environment=env, host_config=host)
            self._api.start(made["Id"])

        with ThreadPoolExecutor(8) as pool:
            began = time.perf_counter()
            list(pool.map(make, range(count)))
            took = time.perf_counter() - began
        self.clear()
        return count / took


def _lines(note: Path) -> list[str]:
    return [line for line in note.read_text(encoding="ascii").splitlines() if " " in line]


def _seconds(moment: str) -> float:
    """Of Docker, which has nanoseconds."""
    whole, _, fraction = moment.rstrip("Z").partition(".")
    return datetime.fromisoformat(f"{whole}+00:00").timestamp() + float(f"0.{fraction or 0}")


PLACES: Final[Mapping[str, type[Place]]] = {"process": Processes, "docker": Containers}

"""Whole agents beside the official one: ``python benchmarks/agents.py [process] [docker] [RUNS]``.

A unit of execution notes that it was started, and waits: what is measured is the agent. Agent, embedded Cloud and units
share the machine's cores, and all numbers of a table are of one run. The official agent of 1.4.1 takes part if it is in
.venv-prefect (``make dev-prefect``).
"""

import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Final

import attrs
from places import PLACES, Place
from side_by_side import Cloud, Door, agent, cpu, resident, served, settings

from prefect.agent.entrypoints.server.testing import running_server

IDLE_SECONDS: Final = 60
SAMPLES: Final = 12
QUIET: Final = 14.0
"""Seconds before each run of its own is created: more than the longest pause of either agent."""

GOLDEN: Final = 0.618
AGENTS_BESIDE: Final = 300
GIVE_UP: Final = 60.0
"""Seconds after a restart within which every claimed run must have been started."""


@attrs.frozen
class Bench:
    """One place, one folder, one agent after the other."""

    place: Place
    folder: Path
    runs: int

    @contextmanager
    def cloud(self) -> Iterator[tuple[Cloud, str]]:
        """A new Cloud in a process of its own, with a flow."""
        with tempfile.TemporaryDirectory(dir=self.folder) as name, served(Path(name) / "cloud.db") as url:
            cloud = Cloud(url)
            yield cloud, cloud.register(self.place.run_config)

    @contextmanager
    def agent(self, command: Sequence[str], api: str) -> Iterator["subprocess.Popen[bytes]"]:
        """A running agent with a home of its own."""
        with (
            tempfile.TemporaryDirectory(dir=self.folder) as home,
            agent(command, settings(api, Path(home)), self.folder / "agent.log") as process,
        ):
            yield process

    def start_and_idle(self) -> None:
        """What it costs to start an agent, and to have one that waits."""
        _head("Start and idle", "CPU s to 1st poll", "wall s", "RSS MB", "requests/min", "CPU ms/min")
        for name, command in self.place.agents().items():
            with (
                tempfile.TemporaryDirectory(dir=self.folder) as folder,
                running_server(Path(folder) / "idle.db") as url,
                closing(Door(url)) as door,
            ):
                began = time.perf_counter()
                with self.agent(command, door.url) as process:
                    assert door.polled.wait(60), (self.folder / "agent.log").read_text()
                    used, wall = cpu(process.pid), time.perf_counter() - began
                    time.sleep(QUIET)
                    requests, before = door.requests, cpu(process.pid)
                    time.sleep(IDLE_SECONDS)
                    per_minute = 60 / IDLE_SECONDS
                    _row(
                        name, f"{used:.2f}", f"{wall:.2f}", f"{resident(process.pid):.0f}",
                        f"{(door.requests - requests) * per_minute:.0f}",
                        f"{(cpu(process.pid) - before) * 1e3 * per_minute:.0f}",
                    )  # fmt: skip

    def drain(self) -> None:
        """Many runs are due; how fast are they started, and with how many requests."""
        _head("Drain", "runs", "starts/s", "of the platform", "CPU ms/run", "peak MB", "requests/run")
        bare = self.place.bare(self.runs)
        _row("the platform itself", f"{self.runs}", f"{bare:.1f}", "1.00")
        for name, command in self.place.agents().items():
            rate, used, peak = self._drained(command)
            asked = self._requests(command)
            _row(
                name, f"{self.runs}", f"{rate:.1f}", f"{rate / bare:.2f}", f"{used:.1f}", f"{peak:.0f}", f"{asked:.2f}"
            )

    def _drained(self, command: Sequence[str]) -> tuple[float, float, float]:
        """Starts per second, CPU milliseconds per run, and peak memory."""
        with self.cloud() as (cloud, flow_id):
            cloud.create_runs(flow_id, self.runs)
            with self.agent(command, cloud.url) as process:
                assert self.place.started(self.runs, 600, process), (self.folder / "agent.log").read_text()[-2000:]
                used, peak = cpu(process.pid), resident(process.pid, "VmHWM")
            moments = sorted(moment for started in self.place.starts().values() for moment in started)
            self.place.clear()
        return (len(moments) - 1) / (moments[-1] - moments[0]), used / self.runs * 1e3, peak

    def _requests(self, command: Sequence[str]) -> float:
        """Requests per run until the last one is started; apart, because counting costs."""
        with self.cloud() as (cloud, flow_id), closing(Door(cloud.url)) as door:
            cloud.create_runs(flow_id, self.runs)
            with self.agent(command, door.url) as process:
                assert self.place.started(self.runs, 600, process), (self.folder / "agent.log").read_text()[-2000:]
                asked = door.requests
            self.place.clear()
        return asked / self.runs

    def one_by_one(self) -> None:
        """A run is created while the agent has nothing to do; all agents wait at the same time, each at its Cloud."""
        _head("One run, created to started, seconds", "runs", "p50", "max")
        with ExitStack() as stack:
            waiting = {}
            for name, command in self.place.agents().items():
                cloud, flow_id = stack.enter_context(self.cloud())
                stack.enter_context(self.agent(command, cloud.url))
                waiting[name] = (cloud, flow_id)
            waits: dict[str, list[float]] = {name: [] for name in waiting}
            for sample in range(SAMPLES):
                time.sleep(QUIET + 10 * (sample * GOLDEN % 1))  # not in step with anybody's pauses
                created = {
                    name: (time.time(), cloud.create_runs(flow, 1)[0]) for name, (cloud, flow) in waiting.items()
                }
                end = time.monotonic() + 60
                while not {run for _, run in created.values()} <= self.place.starts().keys():
                    assert time.monotonic() < end, (self.folder / "agent.log").read_text()[-2000:]
                    time.sleep(0.1)
                for name, (moment, run) in created.items():
                    waits[name].append(self.place.starts()[run][0] - moment)
            self.place.clear()
        for name, values in waits.items():
            _row(name, f"{len(values)}", f"{statistics.median(values):.2f}", f"{max(values):.2f}")

    def killed(self) -> None:
        """Kill it with SIGKILL in the middle of a drain, then a new agent with the same home."""
        _head("kill -9 while draining, then a restart", "runs", "never started", "started twice", "seconds to the last")
        count = self.runs
        for name, command in self.place.agents().items():
            with self.cloud() as (cloud, flow_id), tempfile.TemporaryDirectory(dir=self.folder) as home:
                cloud.create_runs(flow_id, count)
                env = settings(cloud.url, Path(home))
                with agent(command, env, self.folder / "agent.log") as process:
                    assert self.place.started(count // 3, 600, process)
                    process.kill()
                with agent(command, env, self.folder / "agent.log") as process:
                    began = time.monotonic()
                    while cloud.ask(_WAITING)["flow_run"]:
                        time.sleep(0.1)
                    self.place.started(count, GIVE_UP, process)
                    took = time.monotonic() - began
                self._fates(name, count, f"{took:.1f}" if self.place.count() >= count else "-")

    def beside(self) -> None:
        """Two agents at one queue."""
        _head("Two agents, one queue", "runs", "never started", "started twice", "requests/run")
        for name, command in self.place.agents().items():
            count = min(AGENTS_BESIDE, self.runs)
            with self.cloud() as (cloud, flow_id), closing(Door(cloud.url)) as door:
                cloud.create_runs(flow_id, count)
                with self.agent(command, door.url) as process, self.agent(command, door.url):
                    self.place.started(count, 120, process)
                    asked = door.requests
                    time.sleep(2)  # for those that are started once more
                self._fates(name, count, f"{asked / count:.2f}")

    def _fates(self, name: str, count: int, more: str) -> None:
        starts = self.place.starts()
        self.place.clear()
        doubled = sum(len(moments) > 1 for moments in starts.values())
        _row(name, f"{count}", f"{count - len(starts)}", f"{doubled}", more)


_WAITING: Final = 'query { flow_run(where: { state: { _eq: "Scheduled" } }, limit: 1) { id } }'


def _head(title: str, *columns: str) -> None:
    print(f"\n{title}\n  {'':<28}" + "".join(f"{column:>{max(10, len(column) + 2)}}" for column in columns))
    _widths[:] = [max(10, len(column) + 2) for column in columns]


def _row(name: str, *values: str) -> None:
    print(
        f"  {name:<28}" + "".join(f"{text:>{width}}" for text, width in zip(values, _widths, strict=False)), flush=True
    )


_widths: list[int] = []


def main(words: Sequence[str]) -> None:
    """Print all tables."""
    print(f"Python {sys.version.split()[0]}, {os.cpu_count()} cores", flush=True)
    runs = next((int(word) for word in words if word.isdecimal()), None)
    for name in [word for word in words if word in PLACES] or PLACES:
        print(f"\n=== {name} ===")
        with tempfile.TemporaryDirectory(prefix="benchmark-") as folder:
            place = PLACES[name](Path(folder))
            bench = Bench(place, Path(folder), runs or place.runs)
            for measure in (bench.start_and_idle, bench.drain, bench.one_by_one, bench.killed, bench.beside):
                try:
                    measure()
                finally:
                    bench.place.clear()


if __name__ == "__main__":
    main(sys.argv[1:])

"""How fast the agent makes Kubernetes Jobs and follows them: ``benchmarks/kubernetes_jobs.py [JOBS] [TABLE...]``.

Needs KUBEBUILDER_ASSETS: a folder with etcd, kube-apiserver, kube-controller-manager and kube-scheduler. All of it, the
node that the tests play included, shares the machine's cores with what is measured; so rates are given next to those of
bare clients that make the same Jobs with as many threads in the same run, turn by turn. The official agent of 1.4.1 is
measured too if .venv-prefect has it with the package kubernetes.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, ExitStack, closing
from pathlib import Path
from typing import Final

import attrs
from side_by_side import OFFICIAL, OWN, ROOT, Cloud, Door, agent, cpu, official_has, resident, served, settings

sys.path.insert(0, str(ROOT / "tests"))

from prefect.agent.entrypoints.library.kinds import KUBERNETES_PARALLEL
from prefect.agent.entrypoints.server.testing import running_server
from support.kubernetes.api import Api
from support.kubernetes.control_plane import ControlPlane
from support.kubernetes.kubelet import ProcessKubelet

LOADS: Final = str(Path(__file__).with_name("kubernetes_loads.py"))
THREADS: Final = KUBERNETES_PARALLEL
ROUNDS: Final = 10
IDLE_SECONDS: Final = 20
OFFICIAL_JOBS: Final = 300
SIZES: Final = (200, 1000, 10_000)
SETTLED_AFTER: Final = 60.0
IDLE_MINUTES: Final = 2
LOAD: Final = "benchmark/load"
"""Label of the node, and what pods ask for: they stay Pending until the node is given their value."""


@attrs.frozen
class Lab:
    """A control plane with a node that plays, and a folder."""

    plane: ControlPlane
    folder: Path
    node: str

    @property
    def api(self) -> Api:
        """The administrator's."""
        return self.plane.api

    def template(self, load: str) -> str:
        """File of a Job template whose pods wait for the node's label, and then succeed at once."""
        path = self.folder / f"{load}.json"
        pod = {"containers": [{"name": "flow", "image": "none"}], "nodeSelector": {LOAD: load}}
        template = {"metadata": {"annotations": {"lab.test/ending": "complete"}}, "spec": pod}
        path.write_text(json.dumps({"apiVersion": "batch/v1", "kind": "Job", "spec": {"template": template}}))
        return str(path)

    def let_run(self, load: str) -> None:
        """Have the node take pods of this load."""
        self.api.patch(f"/api/v1/nodes/{self.node}", {"metadata": {"labels": {LOAD: load}}})

    def env(self, **more: str) -> dict[str, str]:
        """Variables of a process that is measured."""
        home = {"HOME": str(self.folder), "KUBECONFIG": str(self.plane.kubeconfig)}
        return {"PATH": os.environ["PATH"], "LANG": "C.UTF-8", **home, **more}

    def count(self, namespace: str) -> int:
        """How many Jobs there are."""
        found = self.api.get(f"/apis/batch/v1/namespaces/{namespace}/jobs", limit=1)
        return len(found["items"]) + int(found["metadata"].get("remainingItemCount") or 0)

    def settle(self, namespace: str) -> None:
        """Wait until every Job has its pod: the next load finds a quiet cluster."""
        path = f"/apis/batch/v1/namespaces/{namespace}/jobs"
        while not all(job["status"].get("active") for job in self.api.list(path)):
            time.sleep(1)


# --- making Jobs ---


class Load:
    """A process of ``kubernetes_loads.py`` with a namespace of its own."""

    def __init__(self, lab: Lab, kind: str) -> None:
        self.kind, self._lab, self.namespace = kind, lab, lab.api.new_namespace("load-")
        spec = {"namespace": self.namespace, "threads": THREADS, "template": lab.template(kind)}
        self._process = subprocess.Popen(
            [sys.executable, LOADS, kind, json.dumps(spec)],
            env=lab.env(), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        self.told: list[dict[str, float]] = []
        self._answer()

    def turn(self, count: int) -> None:
        """Have it make so many."""
        self.told.append(self._ask(str(count)))
        self._lab.settle(self.namespace)

    def follow(self) -> float:
        """Let all of them run; seconds until it has seen the ends of all."""
        self._lab.let_run(self.kind)
        return self._ask("follow")["followed"]

    def close(self) -> None:
        """End it."""
        self._process.communicate()

    def _ask(self, line: str) -> dict[str, float]:
        assert self._process.stdin is not None
        self._process.stdin.write(f"{line}\n")
        self._process.stdin.flush()
        return self._answer()

    def _answer(self) -> dict[str, float]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise SystemExit(f"the load {self.kind} ended")
        found: dict[str, float] = json.loads(line)
        return found


def rates(lab: Lab, jobs: int) -> None:
    """Bare clients and the platform, turn by turn."""
    with ExitStack() as stack:
        loads = [stack.enter_context(closing(Load(lab, kind))) for kind in ("urllib3", "sdk", "platform")]
        for _ in range(ROUNDS):
            for load in loads:
                load.turn(jobs // ROUNDS)
        print(f"\n{jobs} Jobs each, {THREADS} threads, {ROUNDS} turns; no pod runs meanwhile")
        print(f"  {'':<34}{'Jobs/s':>8}{'requests/Job':>14}{'CPU ms/Job':>12}{'peak MB':>9}")
        made = {}
        for load in loads:
            totals = {name: sum(told[name] for told in load.told) for name in ("made", "requests", "cpu")}
            made[load.kind] = jobs / totals["made"]
            asked = totals["requests"] / jobs if load.kind == "platform" else 1.0
            print(
                f"  {load.kind:<34}{made[load.kind]:>8.0f}{asked:>14.2f}{totals['cpu'] / jobs * 1e3:>12.2f}"
                f"{load.told[-1]['peak_mb']:>9.0f}"
            )
        for kind in ("urllib3", "sdk"):
            print(f"  platform / {kind:<23}{made['platform'] / made[kind]:>8.2f}")
        print(f"  platform, until all have ended    {jobs / loads[-1].follow():>8.0f}", flush=True)


# --- whole agents ---


def commands() -> dict[str, list[str]]:
    """How agents are started, those there are."""
    found = {"prefect agent start kubernetes": [*OWN, "agent", "start", "kubernetes"]}
    if official_has("kubernetes"):
        found["official 1.4.1"] = [*OFFICIAL, "agent", "kubernetes", "start"]
    return found


def started(
    lab: Lab, command: Sequence[str], api: str, namespace: str
) -> AbstractContextManager["subprocess.Popen[bytes]"]:
    """A running agent."""
    env = settings(api, lab.folder, KUBECONFIG=str(lab.plane.kubeconfig), NAMESPACE=namespace)
    return agent(command, env, lab.folder / "agent.log")


def starts(lab: Lab) -> None:
    """What it costs to start an agent, and to have one that waits."""
    print("\nStart and idle")
    print(f"  {'':<34}{'CPU s to first poll':>20}{'wall s':>8}{'idle RSS MB':>13}")
    for name, command in commands().items():
        with running_server(lab.folder / f"{name.partition(' ')[0]}.db") as url, closing(Door(url)) as door:
            namespace = lab.api.new_namespace("idle-")
            began = time.perf_counter()
            with started(lab, command, door.url, namespace) as process:
                assert door.polled.wait(60), (lab.folder / "agent.log").read_text()
                used, wall = cpu(process.pid), time.perf_counter() - began
                time.sleep(IDLE_SECONDS)
                print(f"  {name:<34}{used:>20.2f}{wall:>8.2f}{resident(process.pid):>13.0f}", flush=True)


def whole(lab: Lab, jobs: int) -> None:
    """Flow runs of an embedded Cloud, from Scheduled to the agent's last word on each."""
    print("\nWhole agents with the embedded Cloud; then all pods end without a word to it")
    print(f"  {'':<34}{'Jobs':>6}{'Jobs/s':>8}{'ends/s':>8}{'requests/Job':>14}{'CPU ms/Job':>12}{'peak MB':>9}")
    for name, command in commands().items():
        own = name != "official 1.4.1"
        count, counts = (jobs if own else min(jobs, OFFICIAL_JOBS)), lab.folder / "counts.json"
        load = name.partition(" ")[0]
        words = [sys.executable, LOADS, "agent", str(counts), *command[3:]] if own else command
        namespace = lab.api.new_namespace("agent-")
        with served(lab.folder / f"whole-{load}.db") as url:
            cloud = Cloud(url)
            cloud.create_runs(cloud.register({"type": "UniversalRun"}), count)
            with started(lab, [*words, "--job-template", lab.template(load)], url, namespace) as process:
                made = follow(lab, namespace, count)
                used = cpu(process.pid)
                ended = ends(lab, load, cloud) if own else float("nan")
                peak = resident(process.pid, "VmHWM")
            asked = json.loads(counts.read_text())["requests"] / count if own else float("nan")
            print(
                f"  {name:<34}{count:>6}{count / made:>8.0f}{count / ended:>8.0f}"
                f"{asked:>14.2f}{used / count * 1e3:>12.1f}{peak:>9.0f}",
                flush=True,
            )


def growth(lab: Lab, jobs: int) -> None:
    """What a flow run costs in requests to the Cloud, and an agent with so many living Jobs that has nothing to do."""
    print("\nRequests to the Cloud until every run is started; then idle with all Jobs alive")
    print(f"  {'':<34}{'Jobs':>6}{'Jobs/s':>8}{'requests/run':>14}{'idle/min':>10}{'CPU ms/min':>12}{'kB/unit':>9}")
    for name, command in commands().items():
        own = name != "official 1.4.1"
        rest = 0.0
        for count in (0, *(size for size in SIZES if size <= (jobs if own else OFFICIAL_JOBS))):
            made, asked, idle, used, memory = _grown(lab, command, count)
            rest = rest if count else memory
            of_runs = (f"{count / made:.0f}", f"{asked / count:.2f}") if count else ("", "")
            unit = f"{(memory - rest) * 1024 / count:.1f}" if count else ""
            print(
                f"  {name:<34}{count:>6}{of_runs[0]:>8}{of_runs[1]:>14}{idle:>10.1f}{used:>12.0f}{unit:>9}", flush=True
            )


def _grown(lab: Lab, command: Sequence[str], count: int) -> tuple[float, int, float, float, float]:
    """Seconds to make all Jobs, requests for that, requests and CPU milliseconds a minute afterwards, resident MB."""
    namespace = lab.api.new_namespace("growth-")
    with tempfile.TemporaryDirectory(dir=lab.folder) as folder, served(Path(folder) / "cloud.db") as url:
        cloud = Cloud(url)
        cloud.create_runs(cloud.register({"type": "UniversalRun"}), count)
        with (
            closing(Door(url)) as door,
            started(lab, [*command, "--job-template", lab.template("never")], door.url, namespace) as process,
        ):
            assert door.polled.wait(60), (lab.folder / "agent.log").read_text()
            made = follow(lab, namespace, count) if count else 0.0
            asked = door.requests
            time.sleep(SETTLED_AFTER)
            before, used = door.requests, cpu(process.pid)
            time.sleep(IDLE_MINUTES * 60)
            idle = (door.requests - before) / IDLE_MINUTES
            return made, asked, idle, (cpu(process.pid) - used) * 1e3 / IDLE_MINUTES, resident(process.pid)


def follow(lab: Lab, namespace: str, count: int) -> float:
    """Seconds from the first Job to the last."""
    while not lab.count(namespace):
        time.sleep(0.01)
    began = time.perf_counter()
    while lab.count(namespace) < count:
        time.sleep(0.02)
    return time.perf_counter() - began


def ends(lab: Lab, load: str, cloud: Cloud) -> float:
    """Seconds from letting all pods run until every flow run has an end."""
    lab.let_run(load)
    began = time.perf_counter()
    while cloud.unfinished():
        time.sleep(0.5)
    return time.perf_counter() - began


def main(words: Sequence[str]) -> None:
    """Print all tables, or those named: starts, rates, whole, growth."""
    jobs = next((int(word) for word in words if word.isdecimal()), 1000)
    tables: dict[str, Callable[[Lab], None]] = {
        "starts": starts,
        "rates": lambda lab: rates(lab, jobs),
        "whole": lambda lab: whole(lab, jobs),
        "growth": lambda lab: growth(lab, jobs),
    }
    assets = os.environ.get("KUBEBUILDER_ASSETS") or sys.exit("set KUBEBUILDER_ASSETS to the programs' folder")
    print(f"Python {sys.version.split()[0]}, {os.cpu_count()} cores, {jobs} Jobs", flush=True)
    with tempfile.TemporaryDirectory(prefix="benchmark-") as name, ExitStack() as stack:
        folder = Path(name)
        plane = stack.enter_context(closing(ControlPlane(Path(assets), folder / "plane")))
        plane.start()
        stack.enter_context(closing(kubelet := ProcessKubelet(plane, folder / "kubelet")))
        kubelet.start()
        lab = Lab(plane, folder, kubelet.node)
        for table in [word for word in words if word in tables] or tables:
            tables[table](lab)


if __name__ == "__main__":
    main(sys.argv[1:])

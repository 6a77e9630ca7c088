"""A kubelet for tests: one node whose pods are processes of this machine, or end as their annotation says."""

import asyncio
import contextlib
import threading
import uuid
from collections.abc import Callable, Mapping
from datetime import datetime, timezone
from http.client import HTTPException
from pathlib import Path
from typing import Final

import requests

from support.kubernetes.api import STRATEGIC, ApiRefused, Object, Watch
from support.kubernetes.container_logs import ContainerLogs
from support.kubernetes.control_plane import ControlPlane
from support.kubernetes.kubelet_calls import Calls
from support.kubernetes.pod_lives import PodLife
from support.kubernetes.pods import now
from support.waiting import wait_until

LEASES: Final = "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases"
HEARTBEAT: Final = 10
"""Seconds between two renewals of the lease; the node is given up after 50."""
UNIT_LABEL: Final = "prefect.io/unit"
CLOSE_SECONDS: Final = 30


class ProcessKubelet:
    """Plays one node: executes the first container of each pod as a process and reports as a kubelet does.

    A pod template that has the annotation ``lab.test/ending`` is not executed but plays that ending; see
    :mod:`support.kubernetes.pod_lives`. Restart policies, probes, volumes and init containers are not for it.

    Attributes:
        node: Name of the node.
        folder: Where processes execute that ask for no other folder; their output is there too.
    """

    def __init__(self, control_plane: ControlPlane, folder: Path, *, label: str = UNIT_LABEL) -> None:
        """Prepare; *label* is the one by whose value pods are asked for."""
        folder.mkdir(parents=True, exist_ok=True)
        self.node = f"node-{uuid.uuid4().hex[:8]}"
        self._api = control_plane.api
        self._label, self.folder = label, folder
        self._lives: dict[str, PodLife] = {}
        self._starts: dict[str, list[PodLife]] = {}
        self._closing = threading.Event()
        self._watch: Watch | None = None
        self._loop = asyncio.new_event_loop()
        self._calls = Calls(self._api, control_plane.guard, self._loop)
        self._thread = threading.Thread(target=self._loop.run_forever, name="kubelet")
        self._watcher = threading.Thread(target=self._follow, name="kubelet-watch")
        self._logs = ContainerLogs(self._find, control_plane.pki, self.node)

    def start(self) -> None:
        """Join the cluster and return once pods are scheduled onto the node."""
        self._api.post("/api/v1/nodes", self._node())
        self._api.post(LEASES, {"metadata": {"name": self.node}, "spec": self._lease()})
        self._thread.start()
        self._watcher.start()
        self._loop.call_soon_threadsafe(self._heartbeat)
        node = f"/api/v1/nodes/{self.node}"
        wait_until(lambda: not self._api.get(node)["spec"].get("taints"), 60, f"{self.node} is fit for pods")

    def close(self) -> None:
        """Kill every process and leave the cluster. May be repeated.

        Raises:
            RuntimeError: This kubelet itself is broken.
        """
        self._closing.set()
        if self._watch is not None:
            self._watch.interrupt()
        if self._thread.is_alive():
            self._watcher.join(CLOSE_SECONDS)
            self._stop()
            self._thread.join(CLOSE_SECONDS)
        if not self._loop.is_closed():
            self._calls.close()
            self._logs.close()
            self._loop.close()
            with contextlib.suppress(requests.RequestException, ApiRefused):
                self._api.delete(f"{LEASES}/{self.node}")
                self._api.delete(f"/api/v1/nodes/{self.node}")
        if self._calls.broken:
            raise RuntimeError("this kubelet is broken") from self._calls.broken[0]

    # --- the back door ---

    def play(self, pod: str, status: Object) -> None:
        """Patch the status of a pod, given by its uid or name; use the ending ``creating`` to have it for yourself."""
        life = next(each for each in list(self._lives.values()) if pod in {each.uid, each.name})
        self._api.patch(f"{life.path}/status", {"status": status}, kind=STRATEGIC)

    def starts(self, unit: str) -> int:
        """How many processes were started for pods whose label has this value."""
        return len(self._starts.get(unit, ()))

    def is_executing(self, unit: str) -> bool:
        """Whether any of those processes executes."""
        return any(life.is_executing for life in self._starts.get(unit, ()))

    def environment(self, unit: str) -> Mapping[str, str]:
        """The variables that the process started last was given."""
        return dict(self._starts[unit][-1].environment)

    def kill(self, unit: str, *, reason: str = "OOMKilled") -> None:
        """End the unit's processes at once; the pod ends with 137 and this reason."""
        for life in self._starts.get(unit, ()):
            life.kill(reason)

    # --- the node ---

    def _node(self) -> Object:
        capacity = {"cpu": "64", "memory": "64Gi", "pods": "10000", "ephemeral-storage": "100Gi"}
        times = {"lastHeartbeatTime": now(), "lastTransitionTime": now()}
        return {
            "metadata": {
                "name": self.node,
                "labels": {"kubernetes.io/hostname": self.node, "kubernetes.io/os": "linux"},
            },
            "status": {
                "capacity": capacity,
                "allocatable": capacity,
                "conditions": [{"type": "Ready", "status": "True", "reason": "KubeletReady", **times}],
                "addresses": [{"type": "InternalIP", "address": "127.0.0.1"}],
                "daemonEndpoints": {"kubeletEndpoint": {"Port": self._logs.port}},
            },
        }

    def _lease(self) -> Object:
        renewed = datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        return {"holderIdentity": self.node, "leaseDurationSeconds": 40, "renewTime": renewed}

    def _heartbeat(self) -> None:
        if self._closing.is_set():  # nothing may begin after the end of everything
            return
        self._calls.in_background(self._renew())
        self._loop.call_later(HEARTBEAT, self._heartbeat)

    async def _renew(self) -> None:
        await self._calls.ask(self._api.patch, f"{LEASES}/{self.node}", {"spec": self._lease()})

    # --- its pods ---

    def _follow(self) -> None:
        while not self._closing.is_set():
            try:
                self._list_and_watch()
            except (ApiRefused, requests.RequestException, HTTPException, OSError, ValueError):
                self._closing.wait(0.1)
            except BaseException as error:  # noqa: BLE001 - a thread has nobody else to tell
                self._calls.broken.append(error)
                return

    def _list_and_watch(self) -> None:
        mine = {"fieldSelector": f"spec.nodeName={self.node}"}
        found = self._api.get("/api/v1/pods", **mine)
        self._tell(self._all, found["items"])
        version = found["metadata"]["resourceVersion"]
        with contextlib.closing(self._api.watch("/api/v1/pods", resourceVersion=version, **mine)) as watch:
            self._watch = watch
            if self._closing.is_set():
                return
            for event in watch:
                if event["type"] == "ERROR":
                    return
                self._tell(self._gone if event["type"] == "DELETED" else self._seen, event["object"])

    def _tell(self, handler: Callable[..., None], what: object) -> None:
        self._loop.call_soon_threadsafe(handler, what)

    def _all(self, pods: list[Object]) -> None:
        there = {pod["metadata"]["uid"] for pod in pods}
        for life in [life for uid, life in self._lives.items() if uid not in there]:
            self._lives.pop(life.uid).vanish()
        for pod in pods:
            self._seen(pod)

    def _seen(self, pod: Object) -> None:
        uid = pod["metadata"]["uid"]
        if uid not in self._lives:
            self._lives[uid] = PodLife(pod, self._calls, self.folder / f"{uid}.log", self._started)
            self._lives[uid].begin()
        self._lives[uid].see(pod)

    def _gone(self, pod: Object) -> None:
        life = self._lives.pop(pod["metadata"]["uid"], None)
        if life is not None:
            life.vanish()

    def _started(self, life: PodLife) -> None:
        self._starts.setdefault(life.labels.get(self._label, ""), []).append(life)

    def _find(self, namespace: str, name: str) -> PodLife | None:
        lives = list(self._lives.values())
        return next((life for life in lives if (life.namespace, life.name) == (namespace, name)), None)

    def _stop(self) -> None:
        asyncio.run_coroutine_threadsafe(self._calls.end_all(), self._loop).result(CLOSE_SECONDS)
        self._loop.call_soon_threadsafe(self._loop.stop)

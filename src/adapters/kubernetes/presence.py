"""Finds out whether an agent in a pod of this cluster still executes, by reading its pod."""

import contextlib
import os
import re
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

import attrs
import urllib3

from prefect.agent.adapters.kubernetes.api_server import Cluster, items_of, path_of
from prefect.agent.adapters.kubernetes.errors import RAISED
from prefect.agent.domain.errors import AgentError
from prefect.agent.ports.presence import Presence

VARIABLES: Final = ("POD_NAMESPACE", "POD_NAME", "POD_UID")
"""Variables that the Deployment of ``prefect agent install kubernetes`` sets (downward API)."""

CONTAINER: Final = "POD_CONTAINER"
"""Variable with the name of the agent's container, which must differ for two agents in one pod."""

FRESH: Final = 1.0
"""Seconds for which an answer is reused."""

MOST_ANSWERS: Final = 1000
"""Answers about other pods that are remembered."""

_PROC: Final = Path("/proc")
_PLACE: Final = re.compile(r"pod:([^/]+)/([^/]+)/([^/]+)/([^/]*)/([0-9a-z]+)\.(\d+)\.(\d+)\.(\d+)")


@attrs.frozen(kw_only=True)
class PodProcess:
    """A process in a pod.

    Attributes:
        uid: Uid of the pod.
        container: See :data:`CONTAINER`; may be empty.
        boot: Id of the current boot of the node's kernel.
        first: When the container's first process started, in ticks since the boot: a container that is restarted in
            its pod differs in it.
        pid: Id of the process inside its container.
        start: When it started, in ticks since the boot.
    """

    namespace: str
    name: str
    uid: str
    container: str
    boot: str
    first: int
    pid: int
    start: int

    @classmethod
    def this(cls, env: Mapping[str, str], *, proc: Path = _PROC) -> "PodProcess | None":
        """Return this process; None unless it is in a pod whose variables identify it."""
        namespace, name, uid = (env.get(each, "") for each in VARIABLES)
        try:
            boot = (proc / "sys/kernel/random/boot_id").read_text(encoding="ascii").replace("-", "")[:12]
            first, start = _start(proc, 1) or 0, _start(proc, os.getpid()) or 0
        except (OSError, ValueError):
            return None
        words = {"namespace": namespace, "name": name, "uid": uid, "container": env.get(CONTAINER, "")}
        made = cls(**words, boot=boot, first=first, pid=os.getpid(), start=start)
        return made if start and cls.read(made.place) == made else None

    @classmethod
    def read(cls, place: str) -> "PodProcess | None":
        """Return the process that *place* names; None if *place* has another form."""
        found = _PLACE.fullmatch(place)
        if found is None:
            return None
        namespace, name, uid, container, boot, *numbers = found.groups()
        first, pid, start = map(int, numbers)
        words = {"namespace": namespace, "name": name, "uid": uid, "container": container}
        return cls(**words, boot=boot, first=first, pid=pid, start=start)

    @property
    def place(self) -> str:
        """The process as one text, which :meth:`read` reads."""
        pod = f"pod:{self.namespace}/{self.name}/{self.uid}"
        return f"{pod}/{self.container}/{self.boot}.{self.first}.{self.pid}.{self.start}"

    def is_same_pod(self, other: "PodProcess") -> bool:
        """Return whether both processes are in the same pod."""
        return (self.namespace, self.name, self.uid) == (other.namespace, other.name, other.uid)


class PodPresence(Presence):
    """Identifies this process in its pod, and finds out whether another agent's process has ended.

    The answer of an API server counts only if it knows this agent's own pod, since another cluster has other pods.

    Args:
        cluster: The cluster whose API server is used.
        this: This process.
        clock: Returns the monotonic time in seconds.
    """

    def __init__(
        self, cluster: Cluster, this: PodProcess, *, clock: Callable[[], float] = time.monotonic, proc: Path = _PROC
    ) -> None:
        self._cluster, self._this, self._clock, self._proc = cluster, this, clock, proc
        self._guard = threading.Lock()
        self._answers: dict[tuple[str, str, str], tuple[float, bool]] = {}
        self._is_known = False

    @property
    def place(self) -> str:
        return self._this.place

    def is_gone(self, place: str) -> bool:
        other = PodProcess.read(place)
        if other is None or other == self._this:
            return False
        if self._this.is_same_pod(other):
            return other.container == self._this.container and self._has_ended(other)
        return self._is_pod_gone(other)

    def _has_ended(self, other: PodProcess) -> bool:
        """Return whether another process of this container has ended, also by a restart of the container."""
        if (other.boot, other.first) != (self._this.boot, self._this.first):
            return True
        try:
            return _start(self._proc, other.pid) != other.start
        except (OSError, ValueError):  # cannot look
            return False

    def _is_pod_gone(self, pod: PodProcess) -> bool:
        key = (pod.namespace, pod.name, pod.uid)
        with self._guard:
            known = self._answers.get(key)
        if known is not None and self._clock() - known[0] < FRESH:
            return known[1]
        answer = False
        with contextlib.suppress(AgentError, *RAISED):
            answer = self._knows_us() and not self._lives(pod)
        with self._guard:
            if len(self._answers) >= MOST_ANSWERS:
                self._answers.clear()
            self._answers[key] = (self._clock(), answer)
        return answer

    def _knows_us(self) -> bool:
        self._is_known = self._is_known or self._lives(self._this)
        return self._is_known

    def _lives(self, pod: PodProcess) -> bool:
        """Return whether the pod with that uid exists and has not ended. Raises the errors of requests."""
        # A list of one: the agent's Role lets it list pods, not get them.
        path, query = (
            path_of("api/v1", "namespaces", pod.namespace, "pods"),
            {"fieldSelector": f"metadata.name={pod.name}"},
        )
        for each in items_of(self._cluster.send("GET", path, query=query)):
            metadata, status = each.get("metadata"), each.get("status")
            if not isinstance(metadata, dict) or not metadata.get("uid"):
                raise urllib3.exceptions.HTTPError("a pod without a uid")
            if metadata["uid"] == pod.uid:
                return not isinstance(status, dict) or status.get("phase") not in {"Succeeded", "Failed"}
        return False


def _start(proc: Path, pid: int) -> int | None:
    """Return when a process started, in ticks since the boot; None if there is none. Raises OSError, ValueError."""
    try:
        text = (proc / str(pid) / "stat").read_text(encoding="utf-8", errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return None
    fields = text.rpartition(")")[2].split()
    if len(fields) < 20:
        raise ValueError("a stat file that cannot be read")
    return None if fields[0] in {"Z", "X"} else int(fields[19])

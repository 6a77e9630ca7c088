"""Jobs, pods and an API server as the Kubernetes adapter's unit tests need them: no more than the adapter looks at."""

import contextlib
import queue
from collections import defaultdict
from collections.abc import Generator, Iterator, Mapping, Sequence
from datetime import datetime, timedelta, timezone
from typing import Any, cast

import attrs

from prefect.agent.adapters.kubernetes.api_server import Cluster
from prefect.agent.adapters.kubernetes.facts import JobFacts, PodFacts, job_facts, pod_facts

Object = dict[str, Any]

BEGIN = datetime(2026, 1, 1, tzinfo=timezone.utc)


def moment(seconds: float) -> str:
    """So many seconds after the beginning, as Kubernetes writes it."""
    return (BEGIN + timedelta(seconds=seconds)).strftime("%Y-%m-%dT%H:%M:%SZ")


def metadata(name: str, uid: str, version: int, unit: str, **more: object) -> Object:
    """Of an object that belongs to a unit."""
    return {
        "name": name,
        "namespace": "metrics",
        "uid": uid,
        "resourceVersion": str(version),
        "creationTimestamp": moment(0),
        "labels": {"prefect.io/unit": unit, "prefect.io/flow_run_id": "run"},
        "annotations": {"prefect.io/attempt": "1", "prefect.io/flow-run-id": "run"},
        **more,
    }


def a_job_object(
    name: str = "unit", *, uid: str = "", version: int = 1, end: str = "", reason: str = "", **status: object
) -> Object:
    """A Job; *end* is the type of the condition that holds."""
    conditions = [{"type": end, "status": "True", "reason": reason, "lastTransitionTime": moment(9)}] if end else []
    return {
        "metadata": metadata(name, uid or f"job-{name}", version, name),
        "spec": {},
        "status": {"conditions": conditions, **status},
    }


def a_pod_object(
    uid: str = "pod-1", *, unit: str = "unit", version: int = 1, phase: str = "Running", **status: object
) -> Object:
    """A pod with one container."""
    return {
        "metadata": metadata(uid, uid, version, unit),
        "spec": {"containers": [{"name": "flow", "resources": {"limits": {"memory": "1Gi"}}}], "nodeName": "node-1"},
        "status": {"phase": phase, **status},
    }


def the_job(facts: Mapping[str, Any] | None = None, **about: Any) -> JobFacts:
    """Facts of such a Job, with changes."""
    found = job_facts(a_job_object(**about))
    assert found is not None
    return attrs.evolve(found, **(facts or {}))


def the_pod(facts: Mapping[str, Any] | None = None, **about: Any) -> PodFacts:
    """Facts of such a pod, with changes."""
    found = pod_facts(a_pod_object(**about))
    assert found is not None
    return attrs.evolve(found, **(facts or {}))


def state(kind: str, *, container: str = "flow", **about: object) -> Object:
    """Status of a container: ``state("terminated", exitCode=1)``."""
    return {"name": container, "state": {kind: about}, "restartCount": 0}


@attrs.define
class ScriptedCluster:
    """Answers what it was told to, in order; then it waits. Not for requests that change anything.

    Attributes:
        lists: Answers to plain requests, by path; an exception is raised.
        watches: For each watch its lines, with an exception at the end if it is cut; further ones say nothing.
        asked: Parameters of all requests, with ``path`` added.
    """

    lists: "dict[str, queue.Queue[Object | Exception]]" = attrs.field(factory=lambda: defaultdict(queue.Queue))
    watches: "queue.Queue[Sequence[bytes | Exception]]" = attrs.field(factory=queue.Queue)
    asked: list[Object] = attrs.field(factory=list)
    server: str = "https://test"

    def as_cluster(self) -> Cluster:
        """For the type checker."""
        return cast("Cluster", self)

    def send(self, method: str, path: str, *, query: Object | None = None, body: object = None, **_: object) -> Object:
        """Give the next answer."""
        self.asked.append({"path": path, **(query or {}), **({"body": body} if body else {})})
        answer = self.lists[path].get(timeout=60)
        if isinstance(answer, Exception):
            raise answer
        return answer

    @contextlib.contextmanager
    def stream(self, path: str, *, query: Object, silence: float, deadline: float) -> Generator["ScriptedStream"]:
        """Give the next watch."""
        self.asked.append({"path": path, **query})
        stream = ScriptedStream()
        with contextlib.suppress(queue.Empty):
            stream.script = self.watches.get_nowait()
        yield stream


class ScriptedStream:
    """The lines of a watch; then nothing until it is cut."""

    script: Sequence[bytes | Exception] | None = None

    def __init__(self) -> None:
        self._cut: queue.Queue[None] = queue.Queue()

    def lines(self) -> Iterator[bytes]:
        """Give them."""
        for line in self.script or ():
            if isinstance(line, Exception):
                raise line
            yield line
        if self.script is None:
            self._cut.get(timeout=60)

    def cut(self) -> None:
        """End it."""
        self._cut.put(None)

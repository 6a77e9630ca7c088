"""Where the flow runs of `make demo PLATFORM=kubernetes` execute: Jobs in a namespace of the demo's own."""

import ipaddress
import os
import secrets
import socket
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from datetime import datetime, timezone
from typing import Any, Final
from urllib.parse import urlsplit

from demo_places import FLOW, Place, Unsuitable

from prefect.agent.adapters.kubernetes.api_server import Cluster, path_of
from prefect.agent.adapters.kubernetes.options import BURST, QPS
from prefect.agent.adapters.kubernetes.throttle import Throttle
from prefect.agent.domain.errors import AgentError
from prefect.agent.domain.model.flow_runs import FlowRunId
from prefect.agent.domain.model.submissions import Submission
from prefect.agent.domain.model.units import Unit
from prefect.agent.ports.platform import ExecutionPlatform

IMAGE: Final = "prefecthq/prefect:1.4.1"
FOLDER: Final = "/flows"
NAMESPACES: Final = path_of("api/v1", "namespaces")

START_TROUBLE: Final = 10.0
"""Seconds that an image which cannot be pulled is given."""

TRY_SECONDS: Final = 240.0
"""How long the first pod may take: its image may have to be pulled."""

GONE_SECONDS: Final = 60.0
LOOK_EVERY: Final = 0.5

TRY: Final = "import socket, sys; socket.create_connection((sys.argv[1], int(sys.argv[2])), 10).close()"
"""What the first pod does: connect to the embedded Cloud."""


@contextmanager
def place_in_cluster(image: str | None, cloud_host: str | None) -> Generator[Place]:
    """A namespace with the flow in it; it is removed at the end.

    Args:
        cloud_host: Address of this machine by which pods reach it; None to find it.

    Raises:
        Unsuitable, AgentError: There is no cluster, or not one for this.
    """
    cluster = Cluster(throttle=Throttle(QPS, BURST))
    try:
        host = cloud_host or _own_address(cluster.server)
        name = f"prefect-agent-demo-{secrets.token_hex(3)}"
        with cluster.asked("make a namespace for the demo"):
            cluster.send("POST", NAMESPACES, body={"metadata": {"name": name}})
        try:
            files = {FLOW.name: FLOW.read_text(encoding="utf-8")}
            with cluster.asked("make the ConfigMap with the flow"):
                path = path_of("api/v1", "namespaces", name, "configmaps")
                cluster.send("POST", path, body={"metadata": {"name": "flows"}, "data": files})
            yield Place(
                kind="kubernetes",
                why=f"asked for; the cluster is {cluster.server}",
                image=image or os.environ.get("PREFECT_AGENT_TEST_CLUSTER_IMAGE") or IMAGE,
                options=_options(name),
                run_config="KubernetesRun",
                path=f"{FOLDER}/{FLOW.name}",
                cloud_host=host,
                key=f"pak_{secrets.token_urlsafe(24)}",
            )
        finally:
            _remove(cluster, name)
    finally:
        cluster.close()


def rehearse(place: Place, url: str, pause: Callable[[], None]) -> None:
    """Have a first pod connect to the embedded Cloud, so that what cannot work is said before anything begins.

    Args:
        pause: Called between two looks; whatever it raises ends this.

    Raises:
        Unsuitable: The image does not start, or the pod does not reach the Cloud.
    """
    platform = place.platform()
    cloud = urlsplit(url)
    command = ("python", "-c", TRY, str(cloud.hostname), str(cloud.port))
    trial = Submission(name="prefect-demo-trial", flow_run_id=FlowRunId("trial"), attempt="1", command=command,
                       image=place.image)  # fmt: skip
    try:
        platform.check()
        platform.create(trial)
        unit = _ended(platform, trial.name, place, pause)
        if unit.status.name != "SUCCEEDED":
            said = platform.logs_tail(trial.name, lines=1).strip() or str(unit.evidence)
            raise Unsuitable(
                f"Pods do not reach the embedded Cloud at {url} ({said}): name another address of this machine with "
                "CLOUD_HOST=..., and let its firewall pass"
            )
        platform.remove(trial.name)
    finally:
        platform.close()


def _ended(platform: ExecutionPlatform, name: str, place: Place, pause: Callable[[], None]) -> Unit:
    end = time.monotonic() + TRY_SECONDS
    while True:
        unit = platform.unit(name)
        if unit is None:
            raise Unsuitable(f"Somebody removed {name}, the first pod's Job")
        if unit.status.has_ended:
            return unit
        hopeless = unit.hopeless_at is not None and unit.hopeless_at <= datetime.now(timezone.utc)
        if hopeless or time.monotonic() > end:
            raise Unsuitable(f"No pod starts with the image {place.image}: {unit.evidence or 'nobody says why'}")
        pause()


def _options(namespace: str) -> dict[str, Any]:
    return {
        "namespace": namespace,
        "volumes": [{"name": "flows", "configMap": {"name": "flows"}}],
        "volume_mounts": [{"name": "flows", "mountPath": FOLDER, "readOnly": True}],
        "start_trouble": START_TROUBLE,
    }


def _own_address(server: str) -> str:
    """The address of this machine on the way to the API server. Nothing is sent."""
    where = urlsplit(server)
    try:
        family, kind, _, _, address = socket.getaddrinfo(where.hostname, where.port or 443, type=socket.SOCK_DGRAM)[0]
        with socket.socket(family, kind) as probe:
            probe.connect(address)
            found = str(probe.getsockname()[0])
    except OSError as problem:
        raise Unsuitable(f"There is no way to the API server at {server}: {problem}") from problem
    if ipaddress.ip_address(found).is_loopback:
        raise Unsuitable(
            f"The API server at {server} is on this machine's loopback, so its pods know this machine by another "
            "address: name it with CLOUD_HOST=... (of kind, the gateway of its Docker network)"
        )
    return found


def _remove(cluster: Cluster, namespace: str) -> None:
    """Delete the namespace and all that is in it, and wait until it is gone."""
    path = path_of("api/v1", "namespaces", namespace)
    end = time.monotonic() + GONE_SECONDS
    with suppress(AgentError), cluster.asked("remove the demo's namespace"):
        cluster.send("DELETE", path, body={"propagationPolicy": "Background"})
        while cluster.find(path) is not None and time.monotonic() < end:
            time.sleep(LOOK_EVERY)
        if time.monotonic() < end:
            return
    print(f"Is the namespace {namespace} gone? If not: kubectl delete namespace {namespace}", flush=True)

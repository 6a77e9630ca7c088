"""Finds objects in the cluster that ``kubectl apply`` could not replace, if the cluster can be reached."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from prefect.agent.domain.errors import AgentError
from prefect.agent.entrypoints.install.plan import NAME, SELECTOR, Install

PATIENCE: Final = 3.0
"""Seconds to wait for the API server."""

KUBECONFIG: Final = Path(".kube/config")
HELM: Final = "meta.helm.sh/release-name"


def obstacle(install: Install) -> str:
    """Return why ``kubectl apply`` would fail, and what to run first; empty if no reason is known."""
    found = _deployment(install.namespace)
    spec = found.get("spec")
    selector = (spec.get("selector") if isinstance(spec, Mapping) else None) or {}
    if not found or selector.get("matchLabels") == SELECTOR:
        return ""
    release = (found["metadata"].get("annotations") or {}).get(HELM)
    place = f"--namespace {install.namespace}"
    remove = f"helm uninstall {release} {place}" if release else f"kubectl delete deployment {NAME} {place}"
    return (
        f"the Deployment {NAME} in the namespace {install.namespace!r} has another selector, which Kubernetes cannot "
        f"change. Remove that agent first; its flow runs go on: {remove}. To print the YAML anyway, give --offline"
    )


def _deployment(namespace: str) -> Mapping[str, Any]:
    """Return the Deployment ``prefect-agent``; empty if there is none or the cluster cannot be reached."""
    kubeconfig = os.path.expanduser(os.environ.get("KUBECONFIG") or f"~/{KUBECONFIG}")  # noqa: PTH111 - never raises
    if not os.environ.get("KUBECONFIG") and not Path(kubeconfig).exists():
        return {}
    from prefect.agent.adapters.kubernetes.api_server import Cluster, path_of  # noqa: PLC0415 - slow to import
    from prefect.agent.adapters.kubernetes.errors import RAISED  # noqa: PLC0415
    from prefect.agent.adapters.kubernetes.throttle import Throttle  # noqa: PLC0415

    path = path_of("apis/apps/v1", "namespaces", namespace, "deployments", NAME)
    try:
        cluster = Cluster(kubeconfig=kubeconfig, throttle=Throttle(10, 10))
        try:
            found = cluster.send("GET", path, timeout=PATIENCE, deadline=2 * PATIENCE)
        finally:
            cluster.close()
    except (AgentError, *RAISED):
        return {}
    return found if isinstance(found.get("metadata"), dict) else {}

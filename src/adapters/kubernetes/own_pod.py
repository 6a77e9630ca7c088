"""Finds the current name of the agent's Secret in its own pod, the only place where tools update a renamed Secret."""

import contextlib
from collections.abc import Iterator, Mapping
from typing import Any

from prefect.agent.adapters.kubernetes.api_server import Cluster, items_of, path_of
from prefect.agent.adapters.kubernetes.errors import RAISED
from prefect.agent.adapters.kubernetes.manifest import SecretReference
from prefect.agent.adapters.kubernetes.presence import PodProcess
from prefect.agent.domain.errors import AgentError


def renamed_secret(cluster: Cluster, process: PodProcess, configured: SecretReference) -> SecretReference:
    """Return the pod's name of the *configured* Secret, which may be renamed (kustomize's ``namePrefix``).

    Returns:
        *configured* if the pod refers to that one, or to none like it.
    """
    path = path_of("api/v1", "namespaces", process.namespace, "pods")
    query = {"fieldSelector": f"metadata.name={process.name}"}  # a list of one: the agent may list pods, not get them
    found: list[SecretReference] = []
    with contextlib.suppress(AgentError, *RAISED):
        found = [each for pod in items_of(cluster.send("GET", path, query=query)) for each in _references(pod)]
    alike = [each for each in found if each.key == configured.key and configured.name in each.name]
    return configured if configured in alike or not alike else alike[0]


def _references(pod: Mapping[str, Any]) -> Iterator[SecretReference]:
    spec = pod.get("spec")
    for container in _maps(spec.get("containers") if isinstance(spec, Mapping) else None):
        for entry in _maps(container.get("env")):
            source = entry.get("valueFrom")
            reference = source.get("secretKeyRef") if isinstance(source, Mapping) else None
            if isinstance(reference, Mapping):
                yield SecretReference(name=str(reference.get("name")), key=str(reference.get("key")))


def _maps(value: object) -> list[Mapping[str, Any]]:
    return [each for each in value if isinstance(each, Mapping)] if isinstance(value, list) else []

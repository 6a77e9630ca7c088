"""Checks ``ownerReferences`` of Job templates: Kubernetes deletes a Job at once if its owners do not exist.

A template that was exported from a Job with kubectl often refers to an owner that was deleted long ago.
"""

from collections.abc import Callable, Mapping
from typing import Any

from prefect.agent.adapters.kubernetes.api_server import Cluster, items_of, path_of
from prefect.agent.adapters.kubernetes.errors import StatusError
from prefect.agent.domain.errors import SubmissionRefused


class OwnerReferences:
    """Checks whether owners exist. Safe to use from several threads.

    Args:
        warn: Called with a sentence for the agent's log.
    """

    def __init__(self, cluster: Cluster, *, warn: Callable[[str], None]) -> None:
        self._cluster, self._warn = cluster, warn
        self._kinds: dict[tuple[str, str], tuple[str, bool]] = {}

    def check(self, body: dict[str, Any], *, quotes: bool = True) -> None:
        """Remove, with a warning, references to owners that the agent may not read; refuse those to missing owners.

        Args:
            body: The Job, with name and namespace; its references are changed in place.
            quotes: Whether errors and warnings may show the references.

        Raises:
            SubmissionRefused: An owner does not exist.
            PlatformUnavailable: The API server does not answer now.
        """
        metadata = body["metadata"]
        given = metadata.get("ownerReferences")
        if not isinstance(given, list):  # nothing there, or nothing that Kubernetes takes
            return
        place = metadata["namespace"]
        kept = [each for each in given if not isinstance(each, Mapping) or self._is_kept(each, place, quotes=quotes)]
        metadata["ownerReferences"] = kept

    def _is_kept(self, reference: Mapping[str, Any], namespace: str, *, quotes: bool) -> bool:
        shown = f"{reference.get('kind')} {reference.get('name')}"[:200] if quotes else "object"
        with self._cluster.asked(f"look for the {shown} that the job template's ownerReferences name"):
            try:
                uid = self._uid(reference, namespace)
            except StatusError as failure:
                if failure.code != 403:
                    raise
                self._warn(
                    f"The job template's ownerReferences name the {shown}, which the agent may not look at: left out, "
                    "for if it does not exist Kubernetes deletes each Job at once. Let the agent get it to keep it"
                )
                return False
        if uid != reference.get("uid"):
            raise SubmissionRefused(
                f"the job template's metadata.ownerReferences name the {shown} with the uid {reference.get('uid')}, "
                f"which does not exist in the namespace {namespace!r}: Kubernetes would delete the Job at once. "
                "Take the ownerReferences out of the template"
            )
        return True

    def _uid(self, reference: Mapping[str, Any], namespace: str) -> str | None:
        """Return the uid of the owner that now has the reference's kind and name; None if there is none."""
        version, kind, name = (str(reference.get(key) or "") for key in ("apiVersion", "kind", "name"))
        if not version or not kind or not name:
            return None
        found = self._resource(version, kind)
        if found is None:
            return None
        resource, is_namespaced = found
        place = ("namespaces", namespace, resource) if is_namespaced else (resource,)
        owner = self._cluster.find(path_of(_group(version), *place, name))
        return None if owner is None else str(owner["metadata"].get("uid"))

    def _resource(self, version: str, kind: str) -> tuple[str, bool] | None:
        """Return the resource name of a kind, and whether it is namespaced; None if the API does not have the kind."""
        if (version, kind) not in self._kinds:
            try:
                answer = self._cluster.send("GET", path_of(_group(version)))
            except StatusError as failure:
                if failure.code != 404 or self._has(version):
                    raise
                return None
            for each in items_of({"items": answer.get("resources")}):
                name = str(each.get("name"))
                if "/" not in name:
                    self._kinds[version, str(each.get("kind"))] = (name, each.get("namespaced") is True)
        return self._kinds.get((version, kind))

    def _has(self, version: str) -> bool:
        """Return whether the API has that group and version; its 404 for an unknown one is not a Status."""
        groups = items_of({"items": self._cluster.send("GET", path_of("apis")).get("groups")})
        return "/" not in version or any(
            each.get("groupVersion") == version for group in groups for each in group.get("versions") or ()
        )


def _group(version: str) -> str:
    return f"apis/{version}" if "/" in version else f"api/{version}"

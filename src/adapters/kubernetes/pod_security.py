"""Adds the settings of the restricted Pod Security Standard that a template does not set.

https://kubernetes.io/docs/concepts/security/pod-security-standards/
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from prefect.agent.adapters.kubernetes.fields import TemplateSection

_USER: Final[Mapping[str, Any]] = {"runAsNonRoot": True, "runAsUser": 1000, "runAsGroup": 1000}


def restrict(pod: TemplateSection, flow: TemplateSection) -> bool:
    """Add missing settings, key by key, to *pod* (a PodSpec) and its containers.

    No ``fsGroup``: with it Kubernetes changes the group of every file in the volumes that a template mounts.

    If the template asks for root anywhere, user and groups stay unchanged. A pod for Windows is not changed at all:
    there these fields are errors.

    Args:
        flow: The container that runs the flow.

    Returns:
        Whether *flow* now runs as a user that the template did not name.

    Raises:
        BadTemplate: A security context is invalid.
    """
    if pod.peek("os").get("name") == "windows":
        return False
    contexts = [item.peek("securityContext") for item in _containers(pod)]
    own = pod.peek("securityContext")
    wanted: dict[str, Any] = {"seccompProfile": {"type": "RuntimeDefault"}}
    if not any(_asks_for_root(context) for context in (own, *contexts)):
        wanted |= _USER
    missing = {key: value for key, value in wanted.items() if _is_silent(key, own, contexts)}
    if missing:
        pod.section("securityContext").data.update(missing)
    for container in _containers(pod):
        _restrict_container(container)
    return "runAsUser" in missing and flow.peek("securityContext").get("runAsUser") is None


def _containers(pod: TemplateSection) -> list[TemplateSection]:
    return [*pod.entries("containers"), *pod.entries("initContainers")]


def _asks_for_root(context: TemplateSection) -> bool:
    user, non_root = context.get("runAsUser"), context.get("runAsNonRoot")
    return (user == 0 and user is not False) or non_root is False or context.get("privileged") is True


def _is_silent(key: str, pod: TemplateSection, containers: Sequence[TemplateSection]) -> bool:
    """Return whether neither the pod nor some container sets *key*."""
    if pod.get(key) is not None:
        return False
    return any(context.get(key) is None for context in containers)


def _restrict_container(container: TemplateSection) -> None:
    context = container.section("securityContext")
    added = context.peek("capabilities").get("add")
    strong = context.get("privileged") is True or (isinstance(added, list) and any(_is_admin(name) for name in added))
    if not strong:  # Kubernetes refuses the pair
        context.default("allowPrivilegeEscalation", value=False)
    context.default("capabilities", {"drop": ["ALL"]})


def _is_admin(name: object) -> bool:
    return name in ("SYS_ADMIN", "CAP_SYS_ADMIN")  # a set would choke on what cannot be hashed

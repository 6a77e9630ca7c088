"""Demands name what a unit would be given because its flow run asks for it, in the same terms for every platform."""

import posixpath
import re
from collections.abc import Sequence
from typing import Final

import attrs

from prefect.agent.domain.model.images import image_reference
from prefect.agent.domain.model.run_configs import KubernetesRun
from prefect.agent.domain.model.submissions import Submission

SOCKETS: Final = (
    "/run/docker.sock",
    "/run/containerd/containerd.sock",
    "/run/k3s/containerd/containerd.sock",
    "/run/crio/crio.sock",
    "/run/podman/podman.sock",
    "/run/cri-dockerd.sock",
)
"""Where engines listen. Their other spelling, below ``/var/run``, is the same place."""

_OF_USERS: Final = re.compile(r"/run/user/[^/]+(/docker\.sock|/podman(/podman\.sock)?)?")
"""Sockets of engines without root."""


@attrs.frozen(kw_only=True)
class Demands:
    """Everything that the run config asks for; the operator's own options and template are not part of it.

    Each attribute has the name of the rule that judges it, see :data:`~.policy.RULES`.

    Attributes:
        images: From :func:`image_reference`.
        image_sources: ``pulled``, or ``local`` for an image that has to be there already.
        environment: Names of variables.
        host_paths: Absolute paths of the machine that the unit would see.
        engine_sockets: Those of *host_paths* that hold or lead to an engine's socket.
        volumes: Volumes as ``kind`` or ``kind/name``.
        host_config: Keys that have no rule of their own.
        privileges: ``privileged``, ``escalation``, ``root``, ``host-process``.
        capabilities: Linux capabilities, without the prefix ``CAP_``.
        host_namespaces: ``pid``, ``network``, ``ipc``, ``uts``, ``user``, ``cgroup``; ``pid/container:NAME`` for
            those of another unit.
        networks: Names of networks other than the operator's, ``port/N`` for ports of the host,
            ``probe/HOST`` for a host that the node is to ask.
        security_options: ``name=value``.
        agent_account: The service account that the agent itself uses.
        secrets: Names of Secrets, for whatever use.
        owner_references: Owners as ``kind/name``.
        pod_fields: Fields of the pod and its containers that have no rule of their own.
        template_paths: Where the run config says that its template is.
        quotable: Whether a sentence may repeat the values; not if they come out of a file that the author only named.
    """

    images: frozenset[str] = frozenset()
    image_sources: frozenset[str] = frozenset()
    environment: frozenset[str] = frozenset()
    host_paths: frozenset[str] = frozenset()
    engine_sockets: frozenset[str] = frozenset()
    volumes: frozenset[str] = frozenset()
    host_config: frozenset[str] = frozenset()
    privileges: frozenset[str] = frozenset()
    capabilities: frozenset[str] = frozenset()
    devices: frozenset[str] = frozenset()
    host_namespaces: frozenset[str] = frozenset()
    networks: frozenset[str] = frozenset()
    security_options: frozenset[str] = frozenset()
    namespaces: frozenset[str] = frozenset()
    service_accounts: frozenset[str] = frozenset()
    agent_account: frozenset[str] = frozenset()
    secrets: frozenset[str] = frozenset()
    owner_references: frozenset[str] = frozenset()
    finalizers: frozenset[str] = frozenset()
    nodes: frozenset[str] = frozenset()
    pod_fields: frozenset[str] = frozenset()
    template_paths: frozenset[str] = frozenset()
    quotable: bool = True


def asked(submission: Submission, *, is_final: bool = False) -> Demands:
    """Return what any submission shows, whatever its platform: image, variables, where a template is.

    Args:
        is_final: Whether the image is used even if it is a default; else the platform may have a better one.
    """
    image = submission.image if is_final or not submission.image_is_default else None
    config = submission.run_config
    path = config.job_template_path if isinstance(config, KubernetesRun) and not config.job_template else None
    return Demands(
        images=frozenset([image_reference(image)] if image else []),
        environment=frozenset(name for name, value in config.env.items() if submission.env.get(name) == value),
        template_paths=frozenset([path] if path else []),
    )


def host_path(path: str) -> str:
    """Return the *path* of a host in one spelling: no ``..``, no doubled slashes, ``/run`` for ``/var/run``."""
    plain = posixpath.normpath("/" + path.lstrip("/")) if path.startswith("/") else path
    return "/run" + plain.removeprefix("/var/run") if plain == "/var/run" or plain.startswith("/var/run/") else plain


def leads_to_a_socket(path: str, sockets: Sequence[str] = SOCKETS) -> bool:
    """Return whether a unit that sees *path* of the host could connect to an engine.

    Args:
        path: From :func:`host_path`; also a folder above a socket.
        sockets: Likewise.
    """
    below = path.rstrip("/") + "/"
    return _OF_USERS.fullmatch(path) is not None or any(
        path == socket or socket.startswith(below) for socket in sockets
    )

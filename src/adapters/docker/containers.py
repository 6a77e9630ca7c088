"""From a submission to what the engine is told to make (protocol 6.3, 6.4). Pure."""

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final
from urllib.parse import urlsplit

from docker.errors import DockerException

from prefect.agent.adapters.docker.merging import merged
from prefect.agent.adapters.docker.volumes import Volume
from prefect.agent.domain.addresses import is_loopback
from prefect.agent.domain.errors import SubmissionRefused
from prefect.agent.domain.model.run_configs import DockerRun
from prefect.agent.domain.model.submissions import Submission

UNIT: Final = "io.prefect.agent.unit"
"""The mark of this product: a container whose label of this name holds the container's own name is a unit."""

ATTEMPT: Final = "io.prefect.agent.attempt"
CLOUD: Final = "io.prefect.agent.cloud"
OWNER: Final = "io.prefect.agent.owner"
"""Marks of the owner. Empty on a container without one: else an image could bring marks of its own."""

FLOW_RUN_ID: Final = "io.prefect.flow-run-id"

HOST: Final = "host.docker.internal"
"""The engine's machine, as its containers know it."""

_BAD_OPTION: Final = (TypeError, ValueError, AttributeError, LookupError, DockerException)
"""What the SDK raises for a host_config that makes no sense."""


_CLASS: Final = re.compile(r"<class '([\w.]+)'>")


def labels(submission: Submission) -> dict[str, str]:
    """Labels of the container. They win over those of its image."""
    owner = submission.owner
    return {
        "io.prefect.flow-name": submission.flow_name,
        "io.prefect.flow-id": submission.flow_id,
        FLOW_RUN_ID: submission.flow_run_id,
        UNIT: submission.name,
        ATTEMPT: submission.attempt,
        CLOUD: owner.cloud if owner else "",
        OWNER: owner.agent if owner else "",
    }


def environment(submission: Submission, network_mode: str) -> dict[str, str]:
    """Environment of the container; addresses in it made right for where it is."""
    env = {**submission.env, **submission.secret_env}
    if network_mode != "host":
        for name in submission.address_variables & set(env):
            env[name] = from_inside(env[name])
    return env


def from_inside(url: str) -> str:
    """*url* as a container must write it: a loopback host becomes the engine's machine, all else stays."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        return url
    if not parts.scheme or host is None or not is_loopback(host):
        return url
    user, at, _ = parts.netloc.rpartition("@")
    return parts._replace(netloc=f"{user}{at}{HOST}" + ("" if port is None else f":{port}")).geturl()


def options(
    submission: Submission, *, volumes: Sequence[Volume], networks: Sequence[str], has_gateway: bool
) -> dict[str, Any]:
    """The host config in the words of the SDK: the agent's own and the run config's, as ``merging.py`` merges them.

    Args:
        volumes: Of the agent, for every container.
        networks: Of the agent; the first is the container's own, the others are joined later (:func:`joins`).
        has_gateway: Whether the engine knows ``host-gateway`` (20.10 and newer).

    Raises:
        SubmissionRefused: It asks for restarts.
    """
    config = submission.run_config
    wanted = dict(config.host_config) if isinstance(config, DockerRun) else {}
    for name in ("auto_remove", "AutoRemove"):  # would take the exit code away with the container
        wanted.pop(name, None)
    if _asks_for_restarts(wanted.get("restart_policy")):
        raise SubmissionRefused(
            "the run config's host_config asks for a restart_policy, but a flow run is started once; "
            "use the flow's retries"
        )
    mode = wanted.pop("network_mode", None) or (networks[0] if networks else None)
    own: dict[str, Any] = {"network_mode": mode} if mode else {}
    if volumes:
        own["binds"] = [volume.bind for volume in volumes]
    if has_gateway and mode != "host" and not str(mode).startswith("container:"):
        own["extra_hosts"] = {HOST: "host-gateway"}
    return merged(own, wanted)


def _asks_for_restarts(policy: object) -> bool:
    """Whether any spelling of the name, of which the engine takes the last, is that of a policy that restarts."""
    if not isinstance(policy, Mapping):
        return False
    names = [value for key, value in policy.items() if str(key).casefold() == "name"]
    return any(name not in (None, "", "no") for name in names)  # a set would choke on what cannot be hashed


def joins(networks: Sequence[str], network_mode: str) -> list[str]:
    """Networks to join besides the one of *network_mode*; none for a container without a network of its own."""
    if network_mode in {"host", "none"} or network_mode.startswith("container:"):
        return []
    return [name for name in dict.fromkeys(networks) if name not in {network_mode, "host", "none"}]


def host_config(make: Callable[..., dict[str, Any]], wanted: Mapping[str, Any]) -> dict[str, Any]:
    """Let the SDK make the engine's host config of *wanted*.

    Args:
        make: ``APIClient.create_host_config``.

    Raises:
        SubmissionRefused: The SDK does not take it; the message names the key.
    """
    try:
        return make(**wanted)
    except _BAD_OPTION as problem:
        culprit = next((name for name, value in wanted.items() if not _takes(make, name, value)), None)
        where = "host_config" if culprit is None else f"host_config key {culprit!r}"
        raise SubmissionRefused(f"the run config's {where} makes no sense to Docker: {_why(problem)}") from problem


def _why(problem: Exception) -> str:
    """What is wrong with a setting, for people: without the names of the SDK's own types."""
    if isinstance(problem, TypeError) and "keyword" in str(problem):
        return "there is no such key; keys are written as in the SDK for Python, as 'extra_hosts' or 'binds'"
    if isinstance(problem, AttributeError | LookupError) or "not supported between" in str(problem):
        return "its value does not have the form that Docker takes"
    return _CLASS.sub(r"\1", str(problem))


def _takes(make: Callable[..., dict[str, Any]], name: str, value: Any) -> bool:
    try:
        make(**{name: value})
    except _BAD_OPTION:
        return False
    return True

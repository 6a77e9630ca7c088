"""Turns a submission into the settings of its container (protocol 6.3, 6.4). Pure."""

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
"""The label that marks a unit: its value is the container's own name."""

ATTEMPT: Final = "io.prefect.agent.attempt"
CLOUD: Final = "io.prefect.agent.cloud"
OWNER: Final = "io.prefect.agent.owner"
"""Labels of the owner. They are empty if a unit has none, so that an image cannot set them."""

FLOW_RUN_ID: Final = "io.prefect.flow-run-id"

HOST: Final = "host.docker.internal"
"""The name by which containers know the engine's machine."""

_BAD_OPTION: Final = (TypeError, ValueError, AttributeError, LookupError, DockerException)
"""Errors that the SDK raises for an invalid host_config."""


_CLASS: Final = re.compile(r"<class '([\w.]+)'>")


def labels(submission: Submission) -> dict[str, str]:
    """Return the labels of the container, which override those of its image."""
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
    """Return the environment of the container, with addresses as they are seen from inside it."""
    env = {**submission.env, **submission.secret_env}
    if network_mode != "host":
        for name in submission.address_variables & set(env):
            env[name] = from_inside(env[name])
    return env


def from_inside(url: str) -> str:
    """Return *url* as a container must write it: a loopback host becomes the engine's machine, all else stays."""
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
    """Return the SDK's arguments for the host config: the agent's and the run config's, as ``merging.py`` merges them.

    Args:
        volumes: The agent's volumes for every container.
        networks: The agent's networks; the first is the container's own, the others are joined later (:func:`joins`).
        has_gateway: Whether the engine supports ``host-gateway`` (20.10 and newer).

    Raises:
        SubmissionRefused: The run config asks for restarts.
    """
    config = submission.run_config
    wanted = dict(config.host_config) if isinstance(config, DockerRun) else {}
    for name in ("auto_remove", "AutoRemove"):  # would remove the exit code with the container
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
    """Return whether the policy restarts, in any spelling of its field ``name`` (the engine takes the last one)."""
    if not isinstance(policy, Mapping):
        return False
    names = [value for key, value in policy.items() if str(key).casefold() == "name"]
    return any(name not in (None, "", "no") for name in names)  # not a set: a value may not be hashable


def joins(networks: Sequence[str], network_mode: str) -> list[str]:
    """Return the networks to join besides *network_mode*; none if the container has no network of its own."""
    if network_mode in {"host", "none"} or network_mode.startswith("container:"):
        return []
    return [name for name in dict.fromkeys(networks) if name not in {network_mode, "host", "none"}]


def host_config(make: Callable[..., dict[str, Any]], wanted: Mapping[str, Any]) -> dict[str, Any]:
    """Return the engine's host config, which the SDK makes from *wanted*.

    Args:
        make: ``APIClient.create_host_config``.

    Raises:
        SubmissionRefused: The SDK refuses it; the message names the key.
    """
    try:
        return make(**wanted)
    except _BAD_OPTION as problem:
        culprit = next((name for name, value in wanted.items() if not _takes(make, name, value)), None)
        where = "host_config" if culprit is None else f"host_config key {culprit!r}"
        raise SubmissionRefused(f"the run config's {where} is not valid for Docker: {_why(problem)}") from problem


def _why(problem: Exception) -> str:
    """Return what is wrong with a setting, without the names of the SDK's own types."""
    if isinstance(problem, TypeError) and "keyword" in str(problem):
        return "there is no such key; write keys as in Docker's SDK for Python, for example 'extra_hosts' or 'binds'"
    if isinstance(problem, AttributeError | LookupError) or "not supported between" in str(problem):
        return "its value does not have the form that Docker requires"
    return _CLASS.sub(r"\1", str(problem))


def _takes(make: Callable[..., dict[str, Any]], name: str, value: Any) -> bool:
    try:
        make(**{name: value})
    except _BAD_OPTION:
        return False
    return True

"""What a kubelet knows about pods: their words and variables, and how it reports on them. Nothing here waits."""

import base64
import re
from collections.abc import Mapping, Sequence
from datetime import datetime, timezone
from typing import Final

from support.kubernetes.api import Api, ApiRefused, Object

ADDRESSES: Final = {"hostIP": "127.0.0.1", "podIP": "127.0.0.1"}
ENTRY: Final = re.compile(r"(\w+)\['(.+)'\]")
REFERENCE: Final = re.compile(r"\$(?:\$|\(([^)]*)\))")
SIGNALLED: Final = 128
KILLED: Final = 137


class ConfigError(Exception):
    """The container cannot be made as its pod wants it; the message is Kubernetes' own."""


# --- what to execute ---


def words(container: Object, env: Mapping[str, str]) -> list[str]:
    """The program and its arguments, references to variables replaced."""
    return [expand(word, env) for word in (*container.get("command", ()), *container.get("args", ()))]


def expand(text: str, env: Mapping[str, str]) -> str:
    """Replace ``$(NAME)`` by the variable if there is one, and ``$$`` by ``$``, as Kubernetes does."""

    def value(found: re.Match[str]) -> str:
        return "$" if found[1] is None else env.get(found[1], found[0])

    return REFERENCE.sub(value, text)


def environment(api: Api, pod: Object) -> dict[str, str]:
    """The variables of the pod's first container.

    Raises:
        ConfigError: A Secret or ConfigMap that they come from is missing.
    """
    container, env = pod["spec"]["containers"][0], dict[str, str]()
    for source in container.get("envFrom", ()):
        kind = "secret" if "secretRef" in source else "configMap"
        found = _data(api, pod, kind, source[f"{kind}Ref"])
        env.update({source.get("prefix", "") + key: value for key, value in found.items()})
    for each in container.get("env", ()):
        value = _sourced(api, pod, each["valueFrom"]) if "valueFrom" in each else expand(each.get("value", ""), env)
        if value is not None:
            env[each["name"]] = value
    return env


def _sourced(api: Api, pod: Object, source: Object) -> str | None:
    if "fieldRef" in source:
        return _field(pod, source["fieldRef"]["fieldPath"])
    kind = "secret" if "secretKeyRef" in source else "configMap"
    reference = source[f"{kind}KeyRef"]
    found = _data(api, pod, kind, reference)
    if reference["key"] not in found and not reference.get("optional"):
        place = f"{kind[0].upper()}{kind[1:]} {pod['metadata']['namespace']}/{reference['name']}"
        raise ConfigError(f"couldn't find key {reference['key']} in {place}")
    return found.get(reference["key"])


def _field(pod: Object, path: str) -> str:
    whole: Object = {**pod, "status": ADDRESSES}
    section, _, name = path.partition(".")
    if entry := ENTRY.fullmatch(name):
        return str(whole[section].get(entry[1], {}).get(entry[2], ""))
    return str(whole[section].get(name, ""))


def _data(api: Api, pod: Object, kind: str, reference: Object) -> dict[str, str]:
    path = f"/api/v1/namespaces/{pod['metadata']['namespace']}/{kind.lower()}s/{reference['name']}"
    try:
        data = api.get(path).get("data", {})
    except ApiRefused as refused:
        if refused.status != 404:
            raise
        if reference.get("optional"):
            return {}
        raise ConfigError(f'{kind.lower()} "{reference["name"]}" not found') from refused
    return {key: base64.b64decode(value).decode() if kind == "secret" else value for key, value in data.items()}


# --- how to report on it ---


def now() -> str:
    """The time of day as Kubernetes writes it."""
    return datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")


def waiting(reason: str, message: str = "") -> Object:
    """State of a container that has not started."""
    return {"waiting": {"reason": reason, **({"message": message} if message else {})}}


def running(since: str) -> Object:
    """State of a container that executes."""
    return {"running": {"startedAt": since}}


def terminated(exit_code: int, since: str | None, *, reason: str = "", message: str = "") -> Object:
    """State of a container that has ended just now; a negative exit code is a signal, as Python has it."""
    code = exit_code if exit_code >= 0 else SIGNALLED - exit_code
    reason = reason or ("Error" if code else "Completed")
    about = {"exitCode": code, "reason": reason, "startedAt": since or now(), "finishedAt": now()}
    return {"terminated": {**about, **({"message": message} if message else {})}}


def status(pod: Object, phase: str, state: Object | None, before: Sequence[Object] = (), **more: object) -> Object:
    """The status of a pod whose containers are all in the same state, but those that had ended *before*."""
    told = {each["name"]: each for each in before}
    ended = {name: each["state"] for name, each in told.items() if "terminated" in each.get("state", {})}
    is_running = phase == "Running"
    ready = {"Ready": is_running, "ContainersReady": is_running, "PodReadyToStartContainers": is_running}
    conditions = [
        {"type": kind, "status": str(holds), "lastTransitionTime": now()}
        for kind, holds in {"Initialized": True, **ready}.items()
    ]
    containers = [
        {
            "name": each["name"],
            "image": each.get("image", ""),
            "imageID": "",
            "containerID": "" if state and "waiting" in state else f"process://{pod['metadata']['uid']}",
            "ready": is_running,
            "started": is_running,
            "restartCount": told.get(each["name"], {}).get("restartCount", 0),
            "lastState": told.get(each["name"], {}).get("lastState", {}),
            "state": ended.get(each["name"], state),
        }
        for each in pod["spec"]["containers"]
        if state is not None
    ]
    return {"phase": phase, "conditions": conditions, "containerStatuses": containers, **ADDRESSES, **more}

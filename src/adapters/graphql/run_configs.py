"""Run configs and storage are read from JSON. What cannot be used becomes a sentence for the flow's author."""

from collections.abc import Callable, Mapping
from typing import Any, Final

from prefect.agent.domain.model.run_configs import (
    DockerRun,
    KubernetesRun,
    LocalRun,
    RunConfig,
    Storage,
    UniversalRun,
    UnusableRunConfig,
)


class _NoSenseError(Exception):
    """A run config or storage is invalid, for the reason in one sentence."""


def read_run_config(value: object) -> RunConfig:
    """Return a run config; null stands for a universal one."""
    if value is None:
        return UniversalRun()
    try:
        if not isinstance(value, Mapping):
            raise _NoSenseError(f"the run config is {_kind(value)}, not an object")
        make = _MAKERS.get(value.get("type"))  # type: ignore[arg-type]
        if make is None:
            raise _NoSenseError(
                f"the run config's type is {value.get('type')!r:.60}; this agent knows {', '.join(sorted(_MAKERS))}"
            )
        return make(value)
    except _NoSenseError as problem:
        return UnusableRunConfig(reason=str(problem))
    except TypeError:  # an unhashable type name
        return UnusableRunConfig(reason="the run config's type is not a name")


def read_storage(value: object) -> Storage:
    """Return a flow's storage, as far as an agent has to understand it."""
    if value is None:
        return Storage()
    if not isinstance(value, Mapping) or not isinstance(value.get("type"), str):
        return Storage(problem="the flow's storage is not an object with a type")
    kind = value["type"]
    if kind != "Docker":
        return Storage(type=kind)
    name, tag, registry = value.get("image_name"), value.get("image_tag"), value.get("registry_url")
    if not isinstance(name, str) or not name:
        return Storage(
            type=kind, problem="the flow is stored in a Docker image without a name: register the flow again"
        )
    image = f"{name}:{tag}" if isinstance(tag, str) and tag else name
    return Storage(
        type=kind, image=f"{registry.rstrip('/')}/{image}" if isinstance(registry, str) and registry else image
    )


def read_environment_image(value: object) -> str | None:
    """Return the image in the metadata of a flow's environment (0.11 to 0.15); None if it names none."""
    metadata = value.get("metadata") if isinstance(value, Mapping) else None
    image = metadata.get("image") if isinstance(metadata, Mapping) else None
    return image.strip() or None if isinstance(image, str) else None


def _env(config: Mapping[str, Any]) -> dict[str, str]:
    env = config.get("env")
    if env is None:
        return {}
    if not isinstance(env, Mapping):
        raise _NoSenseError(f"the run config's env is {_kind(env)}, not an object")
    for name, value in env.items():
        if isinstance(value, Mapping | list):
            raise _NoSenseError(f"the run config's env variable {name} is {_kind(value)}, not a text")
    return {str(name): _scalar(value) for name, value in env.items() if value is not None}


def _scalar(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _optional(config: Mapping[str, Any], name: str, kind: type | tuple[type, ...], words: str) -> Any:
    value = config.get(name)
    if value is None or (isinstance(value, kind) and not isinstance(value, bool)):
        return value
    raise _NoSenseError(f"the run config's {name} is {_kind(value)}, not {words}")


def _text(config: Mapping[str, Any], name: str) -> str | None:
    value: str | None = _optional(config, name, str, "a text")
    return value or None


def _quantity(config: Mapping[str, Any], name: str) -> str | None:
    value = _optional(config, name, (str, int, float), "a quantity such as '500m'")
    return None if value in {None, ""} else str(value)


def _universal(config: Mapping[str, Any]) -> RunConfig:
    return UniversalRun(env=_env(config))


def _local(config: Mapping[str, Any]) -> RunConfig:
    return LocalRun(env=_env(config), working_dir=_text(config, "working_dir"))


def _docker(config: Mapping[str, Any]) -> RunConfig:
    ports = _optional(config, "ports", list, "a list of numbers") or []
    if not all(isinstance(port, int) and not isinstance(port, bool) and 0 < port < 65536 for port in ports):
        raise _NoSenseError("the run config's ports are not all numbers from 1 to 65535")
    host_config = _optional(config, "host_config", Mapping, "an object") or {}
    return DockerRun(env=_env(config), image=_text(config, "image"), ports=tuple(ports), host_config=host_config)


def _kubernetes(config: Mapping[str, Any]) -> RunConfig:
    secrets = _optional(config, "image_pull_secrets", list, "a list of names") or []
    if not all(isinstance(secret, str) for secret in secrets):
        raise _NoSenseError("the run config's image_pull_secrets are not all names")
    return KubernetesRun(
        env=_env(config),
        image=_text(config, "image"),
        job_template=_optional(config, "job_template", Mapping, "an object"),
        job_template_path=_text(config, "job_template_path"),
        cpu_limit=_quantity(config, "cpu_limit"),
        cpu_request=_quantity(config, "cpu_request"),
        memory_limit=_quantity(config, "memory_limit"),
        memory_request=_quantity(config, "memory_request"),
        service_account_name=_text(config, "service_account_name"),
        image_pull_secrets=tuple(secrets),
        image_pull_policy=_text(config, "image_pull_policy"),
    )


def _kind(value: object) -> str:
    names = {
        dict: "an object",
        list: "a list",
        str: "a text",
        bool: "true or false",
        int: "a number",
        float: "a number",
    }
    return names.get(type(value), "null")


_MAKERS: Final[Mapping[str, Callable[[Mapping[str, Any]], RunConfig]]] = {
    "UniversalRun": _universal,
    "LocalRun": _local,
    "DockerRun": _docker,
    "KubernetesRun": _kubernetes,
}

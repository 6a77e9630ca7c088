"""What a run config asks of the engine: the host config with it, less the one without it. Pure.

Judged is what the engine would be sent, not what was typed. The engine reads names of fields in any case, so does this.
"""

import re
from collections.abc import Callable, Mapping
from typing import Any, Final

import attrs

from prefect.agent.domain.model.demands import SOCKETS, Demands, host_path, leads_to_a_socket
from prefect.agent.domain.model.images import image_reference
from prefect.agent.domain.model.run_configs import DockerRun, RunConfig

OWN_RULES: Final = frozenset(
    {
        "binds", "mounts", "privileged", "cap_add", "devices", "device_requests", "device_cgroup_rules", "pid_mode",
        "ipc_mode", "uts_mode", "userns_mode", "cgroupns", "network_mode", "security_opt",
    }
)  # fmt: skip
"""Keys of host_config whose values have rules of their own."""

NAMESPACES: Final = {
    "PidMode": "pid", "IpcMode": "ipc", "UTSMode": "uts", "UsernsMode": "user", "CgroupnsMode": "cgroup",
    "NetworkMode": "network",
}  # fmt: skip

_OF_ITS_OWN: Final = frozenset({"", "private", "none", "shareable", "default"})
"""Modes that give a container namespaces of its own; ``none`` of ``IpcMode`` too."""

_KNOWN: Final = frozenset(
    {"type", "source", "target", "readonly", "consistency", "bindoptions", "volumeoptions", "tmpfsoptions"}
)
_KNOWN_OF_VOLUMES: Final = frozenset({"nocopy", "labels", "driverconfig", "subpath"})
"""Fields of a mount; of one with another it is not known what it shows."""

_VOLUME: Final = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.-]*")


def asked_of_the_engine(
    basis: Demands, wanted: Mapping[str, Any], given: Mapping[str, Any], config: RunConfig, *, address: str
) -> Demands:
    """Add to *basis* what the engine would be asked for.

    Args:
        wanted: The engine's HostConfig for this run.
        given: The one that a run without a run config would get.
        address: Of the engine.
    """
    places = _places(wanted) - _places(given)
    places |= _places(wanted, writable=True) - _places(given, writable=True)
    paths = {place for place in places if place.startswith(("/", "?"))}
    own = [host_path(address.removeprefix("unix://"))] if address.startswith("unix://") else []
    namespaces, networks = _namespaces(wanted, given)
    mounted = {place.removeprefix("image/") for place in places if place.startswith("image/")}
    return attrs.evolve(
        basis,
        images=basis.images | {image_reference(image) for image in mounted},
        host_paths=frozenset(paths),
        engine_sockets=frozenset(path for path in paths if leads_to_a_socket(path, (*SOCKETS, *own))),
        volumes=frozenset(places - paths),
        host_config=frozenset(config.host_config if isinstance(config, DockerRun) else ()) - OWN_RULES,
        privileges=frozenset({"privileged"} if wanted.get("Privileged") and not given.get("Privileged") else ()),
        capabilities=_words(wanted, "CapAdd", _capability) - _words(given, "CapAdd", _capability),
        devices=frozenset(_devices(wanted) - _devices(given)),
        host_namespaces=frozenset(namespaces),
        networks=frozenset(networks),
        security_options=_words(wanted, "SecurityOpt", _option) - _words(given, "SecurityOpt", _option),
    )


def _places(config: Mapping[str, Any], *, writable: bool = False) -> set[str]:
    """Paths of the host that a container sees, and volumes as ``kind/name``; or only those that it may write to."""
    binds = [str(bind) for bind in _list(config.get("Binds"))]
    found = {_bound(bind) for bind in binds if not (writable and _is_read_only(bind))}
    for mount in _list(config.get("Mounts")):
        if not isinstance(mount, Mapping):
            found.add(f"?{mount}")
        elif not (writable and _all(mount, "readonly") and all(_all(mount, "readonly"))):
            found |= _mounted(mount)
    return found


def _is_read_only(bind: str) -> bool:
    return "ro" in bind.rpartition(":")[2].split(",")


def _bound(bind: str) -> str:
    source, colon, _ = bind.partition(":")
    if not colon:
        return "anonymous"
    if source.startswith("/"):
        return host_path(source)
    return f"volume/{source}" if len(source) > 1 and _VOLUME.fullmatch(source) else f"?{bind}"


def _mounted(mount: Mapping[str, Any]) -> set[str]:
    """What one entry of ``Mounts`` shows. A volume may be made of a path of the host, by its driver's options."""
    options = [each for each in _all(mount, "volumeoptions") if isinstance(each, Mapping)]
    strange = _unknown(mount, _KNOWN).union(*(_unknown(each, _KNOWN_OF_VOLUMES) for each in options))
    if strange:
        return strange
    kind = " ".join(map(str, _all(mount, "type"))) or "volume"
    sources = [str(source) for source in _all(mount, "source") if source]
    if kind in {"tmpfs", "image"}:
        return {kind if kind == "tmpfs" else f"image/{source}" for source in sources or [""]}
    if kind != "volume":
        return {host_path(source) if source.startswith("/") else f"?{source}" for source in sources or [kind]}
    drivers = [driver for each in options for driver in _below(each, "driverconfig")]
    if not any(drivers):
        return {f"volume/{source}" for source in sources} or {"anonymous"}
    driven = [each for driver in drivers for each in _below(driver, "options")]
    devices = [str(device) for each in driven for device in _below(each, "device")]
    return {host_path(device) if device.startswith("/") else f"?{device}" for device in devices or ["a volume driver"]}


def _unknown(mapping: Mapping[str, Any], known: frozenset[str]) -> set[str]:
    return {f"?{key}" for key in mapping if str(key).casefold() not in known}


def _namespaces(wanted: Mapping[str, Any], given: Mapping[str, Any]) -> tuple[set[str], set[str]]:
    """Those of the host and of other containers, and networks."""
    spaces, networks = set(), set()
    for field, name in NAMESPACES.items():
        mode, own = (str(config.get(field) or "") for config in (wanted, given))
        if field == "NetworkMode":
            mode, own = ("bridge" if each in {"", "default"} else each for each in (mode, own))
        if mode == own:
            continue
        if mode == "host" or ":" in mode:
            spaces.add(name if mode == "host" else f"{name}/{mode}")
        elif field == "NetworkMode":
            networks.add(mode)
        elif mode not in _OF_ITS_OWN:
            spaces.add(f"{name}/{mode}")
    return spaces, networks


def _devices(config: Mapping[str, Any]) -> set[str]:
    found = {str(next(iter(_below(each, "pathonhost")), each)) for each in _list(config.get("Devices"))}
    found |= {f"rule/{each}" for each in _list(config.get("DeviceCgroupRules"))}
    for each in _list(config.get("DeviceRequests")):
        driver = str(next(iter(_below(each, "driver")), "") or "any")
        found.add(f"request/{driver}")
    return found


def _capability(name: object) -> str:
    return str(name).upper().removeprefix("CAP_")


def _option(text: object) -> str:
    """The engine takes ``:`` for ``=``."""
    return re.sub(r"^([a-z-]+):", r"\1=", str(text))


def _words(config: Mapping[str, Any], field: str, read: Callable[[object], str]) -> frozenset[str]:
    return frozenset(read(each) for each in _list(config.get(field)))


def _list(value: object) -> list[Any]:
    if value is None:
        return []
    return list(value) if isinstance(value, list | tuple) else [value]


def _all(mapping: Mapping[str, Any], name: str) -> list[Any]:
    """The values of a field, however it is spelled (even with a long s); there may be several: the last one counts."""
    return [value for key, value in mapping.items() if str(key).casefold() == name]


def _below(value: object, name: str) -> list[Any]:
    return _all(value, name) if isinstance(value, Mapping) else []

"""Finds what a run config demands of the engine: its host config compared to that of a run without one. Pure.

It examines what the engine would receive, not what was typed, and ignores the case of names, as the engine does.
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
"""Modes that give a container its own namespace, also ``none`` of ``IpcMode``."""

_KNOWN: Final = frozenset(
    {"type", "source", "target", "readonly", "consistency", "bindoptions", "volumeoptions", "tmpfsoptions"}
)
_KNOWN_OF_VOLUMES: Final = frozenset({"nocopy", "labels", "driverconfig", "subpath"})
"""Known fields of a mount; a mount with another field could show anything."""

_OF_A_BIND: Final = frozenset({"", "bind", "rbind", "ro", "rw"})
"""Options of a mount that name no further folder, as the layers of an overlay would."""

_VOLUME: Final = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.-]*")


def asked_of_the_engine(
    basis: Demands, wanted: Mapping[str, Any], given: Mapping[str, Any], config: RunConfig, *, address: str
) -> Demands:
    """Return *basis* with the demands on the engine added.

    Args:
        wanted: The engine's HostConfig for this run.
        given: The HostConfig that a run without a run config would get.
        address: The engine's address.
    """
    places = _new_places(wanted, given)
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


@attrs.frozen
class _MountedPlace:
    """A path of the host or a volume (as ``kind/name``) that a container sees.

    Attributes:
        how: Special options of the mount, such as its propagation.
    """

    name: str
    may_write: bool = True
    how: str = ""


def _new_places(wanted: Mapping[str, Any], given: Mapping[str, Any]) -> set[str]:
    """Return the places that *wanted* shows and *given* does not, or only with fewer rights."""
    own = _places(given)
    return {
        place.name for place in _places(wanted) if place not in own and attrs.evolve(place, may_write=True) not in own
    }


def _places(config: Mapping[str, Any]) -> set[_MountedPlace]:
    found = {_of_bind(bind) for bind in _list(config.get("Binds"))}
    for mount in _list(config.get("Mounts")):
        found |= _of_mount(mount) if isinstance(mount, Mapping) else {_MountedPlace(f"?{mount}")}
    return found


def _of_bind(bind: object) -> _MountedPlace:
    if not isinstance(bind, str):
        return _MountedPlace(f"?{bind}")
    flags = set(",".join(bind.split(":")[2:]).split(","))
    return _MountedPlace(_bound(bind), "ro" not in flags, ",".join(sorted(flags - {"", "ro", "rw", "nocopy"})))


def _of_mount(mount: Mapping[str, Any]) -> set[_MountedPlace]:
    may_write = _all(mount, "readonly")[-1:] != [True]
    how = " ".join(str(each) for each in _all(mount, "bindoptions") if each)
    return {_MountedPlace(name, may_write, how) for name in _mounted(mount)}


def _bound(bind: str) -> str:
    source, colon, _ = bind.partition(":")
    if not colon:
        return "anonymous"
    if source.startswith("/"):
        return host_path(source)
    return f"volume/{source}" if len(source) > 1 and _VOLUME.fullmatch(source) else f"?{bind}"


def _mounted(mount: Mapping[str, Any]) -> set[str]:
    """Return the places that one entry of ``Mounts`` shows; a driver's options can make a volume from a host path."""
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
    return {place for driver in drivers for place in _driven(driver)}


def _driven(driver: object) -> set[str]:
    """Return the places that a volume's driver shows: a single path only if its options bind that and nothing else."""
    options = _below(driver, "options")
    devices = [str(device) for each in options for device in _below(each, "device")]
    found = {host_path(device) if device.startswith("/") else f"?{device}" for device in devices or ["a volume driver"]}
    flags = {flag for each in options for word in _below(each, "o") for flag in str(word).split(",")}
    kinds = {str(kind) for each in options for kind in _below(each, "type")}
    names = {str(name) for name in _below(driver, "name")}
    if names <= {"", "local"} and kinds <= {"", "none", "bind"} and flags <= _OF_A_BIND:
        return found
    return found | {f"?a volume of {' '.join(sorted(names | kinds))}"}


def _unknown(mapping: Mapping[str, Any], known: frozenset[str]) -> set[str]:
    return {f"?{key}" for key in mapping if str(key).casefold() not in known}


def _namespaces(wanted: Mapping[str, Any], given: Mapping[str, Any]) -> tuple[set[str], set[str]]:
    """Return the namespaces of the host and of other containers that are wanted, and the networks."""
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
    found = {str(path) for each in _list(config.get("Devices")) for path in _below(each, "pathonhost") or [each]}
    found |= {f"rule/{each}" for each in _list(config.get("DeviceCgroupRules"))}
    for each in _list(config.get("DeviceRequests")):
        found |= {f"request/{driver or 'any'}" for driver in _below(each, "driver") or [""]}
    return found


def _capability(name: object) -> str:
    return str(name).upper().removeprefix("CAP_")


def _option(text: object) -> str:
    """Return a security option with ``=`` for the first ``:``, which means the same to the engine."""
    return re.sub(r"^([a-z-]+):", r"\1=", str(text))


def _words(config: Mapping[str, Any], field: str, read: Callable[[object], str]) -> frozenset[str]:
    return frozenset(read(each) for each in _list(config.get(field)))


def _list(value: object) -> list[Any]:
    if value is None:
        return []
    return list(value) if isinstance(value, list | tuple) else [value]


def _all(mapping: Mapping[str, Any], name: str) -> list[Any]:
    """Return the values of a field in all its spellings (even with a long s); the engine uses the last one."""
    return [value for key, value in mapping.items() if str(key).casefold() == name]


def _below(value: object, name: str) -> list[Any]:
    return _all(value, name) if isinstance(value, Mapping) else []

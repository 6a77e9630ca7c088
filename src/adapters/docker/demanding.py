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

_OF_A_BIND: Final = frozenset({"", "bind", "rbind", "ro", "rw"})
"""Options of a mount that name no other place, as the layers of an overlay do."""

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
class _Place:
    """A path of the host that a container sees, or a volume as ``kind/name``.

    Attributes:
        how: What is special about the mount, such as its propagation.
    """

    name: str
    may_write: bool = True
    how: str = ""


def _new_places(wanted: Mapping[str, Any], given: Mapping[str, Any]) -> set[str]:
    """What *wanted* shows that *given* does not, or more freely."""
    own = _places(given)
    return {
        place.name for place in _places(wanted) if place not in own and attrs.evolve(place, may_write=True) not in own
    }


def _places(config: Mapping[str, Any]) -> set[_Place]:
    found = {_of_bind(bind) for bind in _list(config.get("Binds"))}
    for mount in _list(config.get("Mounts")):
        found |= _of_mount(mount) if isinstance(mount, Mapping) else {_Place(f"?{mount}")}
    return found


def _of_bind(bind: object) -> _Place:
    if not isinstance(bind, str):
        return _Place(f"?{bind}")
    flags = set(",".join(bind.split(":")[2:]).split(","))
    return _Place(_bound(bind), "ro" not in flags, ",".join(sorted(flags - {"", "ro", "rw", "nocopy"})))


def _of_mount(mount: Mapping[str, Any]) -> set[_Place]:
    may_write = _all(mount, "readonly")[-1:] != [True]
    how = " ".join(str(each) for each in _all(mount, "bindoptions") if each)
    return {_Place(name, may_write, how) for name in _mounted(mount)}


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
    return {place for driver in drivers for place in _driven(driver)}


def _driven(driver: object) -> set[str]:
    """What a volume's driver makes it of: a path, if it is sure to bind one and nothing else."""
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
    found = {str(path) for each in _list(config.get("Devices")) for path in _below(each, "pathonhost") or [each]}
    found |= {f"rule/{each}" for each in _list(config.get("DeviceCgroupRules"))}
    for each in _list(config.get("DeviceRequests")):
        found |= {f"request/{driver or 'any'}" for driver in _below(each, "driver") or [""]}
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

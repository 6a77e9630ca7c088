"""Merges the host config of a run into the agent's: collections by the name of each entry, and the run wins. Pure.

An agent's ``--volume`` is kept with a run's own ``binds``, and ``host.docker.internal`` with a run's ``extra_hosts``.
"""

import posixpath
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

from docker.utils import convert_volume_binds

_BAD: Final = (TypeError, ValueError, AttributeError, LookupError)
"""Errors for a value of the wrong form; such a value is not merged, and the SDK or the engine refuses it."""

Named = list[tuple[str, Any]]
"""Entries of a collection, each with the name that it sets."""


def merged(own: Mapping[str, Any], run: Mapping[str, Any]) -> dict[str, Any]:
    """Return the agent's host config with that of a run merged into it; both as the SDK's arguments.

    A key that is not a collection is taken from the run if it has it. None and an empty collection name nothing. A path
    in the container is the same name in all collections: a run's ``tmpfs`` replaces the agent's bind.
    """
    named = {key: _entries(key, run.get(key)) or [] for key in _PLACES}
    taken = {path for entries in named.values() for path, _ in entries}
    found: dict[str, Any] = {}
    for key, value in own.items():
        kept = _without(key, value, taken) if key in _PLACES else value
        if kept or key not in _PLACES:
            found[key] = kept
    for key, value in run.items():
        if value is not None or key not in found:
            found[key] = _both(key, found[key], value) if key in found else value
    return found


def _both(key: str, own: Any, run: Any) -> Any:
    """Return the value of a key that both agent and run set."""
    if key == "log_config":
        return _log_config(own, run)
    if key in _BY_KEY and isinstance(own, Mapping) and isinstance(run, Mapping):
        taken = {_BY_KEY[key](name) for name in run}
        return {**{name: value for name, value in own.items() if _BY_KEY[key](name) not in taken}, **run}
    given, asked = _entries(key, own), _entries(key, run)
    if given is None or asked is None:
        return run
    names = {name for name, _ in asked}
    return [entry for _, entry in asked] + [entry for name, entry in given if name not in names]


def _without(key: str, value: Any, taken: set[str]) -> Any:
    entries = _entries(key, value)
    return value if entries is None else [entry for path, entry in entries if path not in taken]


def _entries(key: str, value: Any) -> Named | None:
    """Return the entries of a collection; None if the key or the value is not a collection."""
    read = _ENTRIES.get(key)
    if read is None or isinstance(value, str | bytes):
        return None
    try:
        return [] if value is None else read(value)
    except _BAD:
        return None


def _hosts(value: Any) -> Named:
    lines = [f"{name}:{address}" for name, address in value.items()] if isinstance(value, Mapping) else value
    return [(re.split("[:=]", line, maxsplit=1)[0].lower(), line) for line in lines]


def _binds(value: Any) -> Named:
    lines: Iterable[str] = convert_volume_binds(value) if isinstance(value, Mapping) else value
    return [(_path([field for field in line.split(":") if field.startswith("/")][-1]), line) for line in lines]


def _tmpfs(value: Any) -> Named:
    lines = [f"{path}:{how}" if how else path for path, how in value.items()] if isinstance(value, Mapping) else value
    return [(_path(line.partition(":")[0]), line) for line in lines]


def _mounts(value: Any) -> Named:
    return [(_path(_field(mount, "target")), mount) for mount in value]


def _devices(value: Any) -> Named:
    return [(_device(each), each) for each in value]


def _device(device: Any) -> str:
    if isinstance(device, Mapping):
        return _path(_field(device, "pathincontainer") or _field(device, "pathonhost"))
    fields = device.split(":")
    return _path(fields[1] if len(fields) > 1 and fields[1].startswith("/") else fields[0])


def _ulimits(value: Any) -> Named:
    return [(_field(limit, "name"), limit) for limit in value]


def _words(value: Any) -> Named:
    """Return the entries of a list in which each entry is its own name."""
    return [(str(each), each) for each in value]


def _field(mapping: Mapping[str, Any], name: str) -> str:
    """Return the text of a field, whose name may have any case as for the engine; empty if there is none."""
    return next((str(value) for key, value in mapping.items() if key.lower() == name and value), "")


def _path(text: str) -> str:
    return re.sub("^/+", "/", posixpath.normpath(text))


def _log_config(own: Any, run: Any) -> Any:
    """Merge the options if both use the same driver, since options belong to a driver."""
    if not isinstance(own, Mapping) or not isinstance(run, Mapping):
        return run
    mine, theirs = ({str(key).lower(): value for key, value in each.items()} for each in (own, run))
    asked = theirs.get("config") or {}
    if (theirs.get("type") or mine.get("type")) != mine.get("type") or not isinstance(asked, Mapping):
        return run
    return {"type": mine.get("type"), "config": {**(mine.get("config") or {}), **asked}}


def _port(name: object) -> str:
    return str(name) if "/" in str(name) else f"{name}/tcp"


_PLACES: Final = ("binds", "mounts", "tmpfs")
"""Collections whose entries name a path in the container."""

_BY_KEY: Final[Mapping[str, Callable[[object], str]]] = {
    "sysctls": str,
    "storage_opt": str,
    "port_bindings": _port,
}
"""By key of an object in the host config: the function that returns what a key of that object names."""

_LISTS: Final = (
    "cap_add", "cap_drop", "device_cgroup_rules", "dns", "dns_opt", "dns_search", "group_add", "security_opt",
    "volumes_from",
)  # fmt: skip

_ENTRIES: Final[Mapping[str, Callable[[Any], Named]]] = {
    "extra_hosts": _hosts,
    "binds": _binds,
    "mounts": _mounts,
    "tmpfs": _tmpfs,
    "devices": _devices,
    "ulimits": _ulimits,
    **dict.fromkeys(_LISTS, _words),
}

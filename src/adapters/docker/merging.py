"""Collections of a host config, merged by what they name: the run wins per name, all else of the agent stays. Pure."""

import posixpath
import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

from docker.utils import convert_volume_binds

from prefect.agent.adapters.docker.volumes import MODES

_HOST: Final = re.compile(r"[^:=]+")


def merged(own: Mapping[str, Any], wanted: Mapping[str, Any]) -> dict[str, Any]:
    """The host config of the agent and the one of the run together, in the words of the SDK.

    Args:
        own: Of the agent: ``binds`` is a list, ``extra_hosts`` a mapping.
        wanted: Of the run, in any form that the SDK takes. What it does not take is left for it to refuse.
    """
    together = {**own, **{key: value for key, value in wanted.items() if value is not None or key not in own}}
    if "binds" in own:
        together["binds"] = _binds(own["binds"], wanted)
    if "extra_hosts" in own and wanted.get("extra_hosts") is not None:
        together["extra_hosts"] = _hosts(own["extra_hosts"], wanted["extra_hosts"])
    for key in sorted(own.keys() & wanted.keys() - {"binds", "extra_hosts"}):
        together[key] = _other(own[key], wanted[key])
    return together


def bound(options: Mapping[str, Any]) -> set[str]:
    """Paths in the container at which the binds of a merged host config are."""
    return set(map(_place, _bind_list(options.get("binds")) or ()))


def _binds(own: Sequence[str], wanted: Mapping[str, Any]) -> Any:
    """The agent's volumes, without those whose place in the container the run uses for something else."""
    given = wanted.get("binds")
    of_run = _bind_list(given)
    if of_run is None:
        return given
    taken = {*map(_place, of_run), *_mounted(wanted.get("mounts")), *_temporary(wanted.get("tmpfs"))}
    return [*(bind for bind in own if _place(bind) not in taken), *of_run]


def _bind_list(binds: object) -> list[str] | None:
    """Binds in the form of the engine; None if they make no sense."""
    if binds is None:
        return []
    if not isinstance(binds, Mapping | list | tuple):
        return None
    try:
        found = [str(bind) for bind in convert_volume_binds(dict(binds) if isinstance(binds, Mapping) else list(binds))]
    except (TypeError, ValueError, AttributeError, LookupError):
        return None
    return found


def _place(bind: str) -> str:
    """The path in the container of ``external:internal``, ``external:internal:mode`` or ``internal``."""
    fields = bind.split(":")
    if len(fields) > 2 and set(fields[-1].split(",")) <= MODES:
        fields.pop()
    return posixpath.normpath(fields[-1])


def _mounted(mounts: object) -> set[str]:
    entries = mounts if isinstance(mounts, list) else []
    return {
        _normal(value)  # the engine reads names of fields in any case
        for entry in entries
        if isinstance(entry, Mapping)
        for key, value in entry.items()
        if str(key).lower() == "target" and value
    }


def _temporary(tmpfs: object) -> set[str]:
    if isinstance(tmpfs, Mapping):
        return set(map(_normal, tmpfs))
    return {_normal(str(entry).partition(":")[0]) for entry in tmpfs} if isinstance(tmpfs, list) else set()


def _normal(path: object) -> str:
    return posixpath.normpath(str(path))


def _hosts(own: Mapping[str, str], wanted: object) -> Any:
    """Names of hosts: a mapping, or a list of ``name:address``, in which a name may stand several times."""
    if isinstance(wanted, Mapping):
        names = {str(name).lower() for name in wanted}
        return {**{name: address for name, address in own.items() if name.lower() not in names}, **wanted}
    if not isinstance(wanted, list | tuple):
        return wanted
    names = {match[0].strip().lower() for match in map(_HOST.match, map(str, wanted)) if match}
    return [*(f"{name}:{address}" for name, address in own.items() if name.lower() not in names), *wanted]


def _other(own: Any, wanted: Any) -> Any:
    """Any other setting that both have: mappings by key, lists by what their entries name, else the run's."""
    if wanted is None:
        return own
    if isinstance(own, Mapping) and isinstance(wanted, Mapping):
        return {**own, **{key: _other(own[key], value) if key in own else value for key, value in wanted.items()}}
    if isinstance(own, list) and isinstance(wanted, list):
        taken = set(map(_name, wanted))
        return [*(entry for entry in own if _name(entry) not in taken), *wanted]
    return wanted


_NAMES: Final = ("Name", "name", "PathInContainer", "Target", "Path")


def _name(entry: Any) -> str:
    """What an entry of a list is about: a ulimit by its name, a device by its path in the container."""
    if isinstance(entry, Mapping):
        return next((str(entry[key]) for key in _NAMES if entry.get(key)), repr(dict(entry)))
    fields = str(entry).split(":")
    return fields[1] if len(fields) > 1 and str(entry).startswith("/") else fields[0].partition("=")[0]

"""Reads ``--volume``: ``internal``, ``external:internal`` or ``external:internal:mode`` (protocol 6.4)."""

import ntpath
import os
import posixpath
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Final

import attrs

from prefect.agent.domain.errors import ConfigurationError

_PROPAGATION: Final = frozenset({"shared", "rshared", "slave", "rslave", "private", "rprivate"})

MODES: Final = _PROPAGATION | {"ro", "rw", "z", "Z", "nocopy", "consistent", "cached", "delegated"}
"""Options of the mode field, which commas separate."""

_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]+")
_WINDOWS_FIELD: Final = re.compile(r"[A-Za-z]:[\\/][^:]*|[^:]*")
_DRIVE: Final = re.compile(r"[A-Za-z]:[\\/]")


@attrs.frozen(kw_only=True)
class Volume:
    """A folder of the engine's machine, or a named volume, that every container mounts.

    Attributes:
        external: Absolute path on the engine's machine, or the volume's name.
        internal: Absolute path in the container.
        is_named: Whether *external* is a name.
    """

    external: str
    internal: str
    mode: str = "rw"
    is_named: bool = False

    @property
    def bind(self) -> str:
        """The volume as an entry of the engine's ``Binds``."""
        return f"{self.external}:{self.internal}:{self.mode}"


def parse_volumes(specs: Iterable[str], *, windows: bool = os.name == "nt") -> tuple[Volume, ...]:
    """Return the volumes that *specs* describe.

    Args:
        specs: Values of ``--volume``.
        windows: Whether paths of this machine have drive letters and backslashes.

    Raises:
        ConfigurationError: A value is invalid, or two volumes have the same path in the container.
    """
    volumes: dict[str, Volume] = {}
    for spec in specs:
        volume = parse_volume(spec, windows=windows)
        if volume.internal in volumes:
            raise _wrong(spec, f"another volume already has the path {volume.internal}")
        volumes[volume.internal] = volume
    return tuple(volumes.values())


def parse_volume(spec: str, *, windows: bool = False) -> Volume:
    """Return the volume that *spec* describes. Raises as :func:`parse_volumes`."""
    fields = _windows_fields(spec) if windows else spec.split(":")
    if not 1 <= len(fields) <= 3 or not all(fields):
        raise _wrong(spec, "write internal, external:internal or external:internal:mode")
    mode = fields.pop() if len(fields) == 3 or (windows and fields[-1] in {"ro", "rw"} and len(fields) > 1) else "rw"
    if not set(mode.split(",")) <= MODES:
        raise _wrong(spec, f"{mode!r} is not a mode such as ro or rw")
    external = fields[0]
    is_named = not external.startswith((".", "/", "~")) and not (windows and _is_windows_path(external))
    if is_named:
        if len(fields) == 1 or not _NAME.fullmatch(external):
            raise _wrong(spec, "begin a path with '/', '.' or '~', or give the name of a volume without '/'")
        if mode != "rw":
            raise _wrong(spec, "a named volume can only have the mode rw")
    else:
        external = _outside(external, windows=windows)
    internal = _inside(fields[1] if len(fields) > 1 else external, windows=windows)
    if not internal.startswith("/"):
        raise _wrong(spec, f"{internal!r} is not an absolute path in the container")
    return Volume(external=external, internal=internal, mode=mode, is_named=is_named)


def _windows_fields(spec: str) -> list[str]:
    """Split *spec* at colons, except those after a drive letter."""
    fields, at = [], 0
    while at <= len(spec):
        field = _WINDOWS_FIELD.match(spec, at)
        assert field is not None  # the pattern matches an empty text, too
        fields.append(field.group())
        at = field.end() + 1
    return fields


def _is_windows_path(path: str) -> bool:
    return path.startswith("\\") or _DRIVE.match(path) is not None


def _outside(path: str, *, windows: bool) -> str:
    if windows and _is_windows_path(path):
        return ntpath.normpath(path)
    if path.startswith(("~", ".")):
        try:
            path = str(Path(path).expanduser().absolute())
        except (RuntimeError, OSError) as problem:  # no such home, or the current folder was removed
            raise _wrong(path, f"{problem}; write the whole path") from problem
    return ntpath.normpath(path) if windows and _is_windows_path(path) else posixpath.normpath(path)


def _inside(path: str, *, windows: bool) -> str:
    if windows:
        if _DRIVE.match(path):
            path = f"/{path[0].lower()}{path[2:]}"
        path = path.replace("\\", "/")
    return posixpath.normpath(path)


def _wrong(spec: str, why: str) -> ConfigurationError:
    return ConfigurationError(f"the volume {spec!r} is not valid: {why}")

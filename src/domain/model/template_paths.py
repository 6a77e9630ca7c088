"""Rules for the places where a run config's job template may be, as the operator listed them.

They judge the spelling alone.
"""

import posixpath
import re
from collections.abc import Iterable
from typing import Final
from urllib.parse import unquote, urlsplit

PUBLIC: Final = "public"
"""In a list of places: every http and https address of the public Internet."""

WEB: Final = frozenset({"http", "https"})
FILES: Final = frozenset({"file", "local", "agent"})
_PORTS: Final = {"http": 80, "https": 443}


def split_path(path: str) -> tuple[str, str]:
    """Return the scheme in lower case, and the rest; a path without a scheme is a file's."""
    match = re.fullmatch(r"([A-Za-z][A-Za-z0-9+.-]*)://(?:localhost(?=/))?(.*)", path, re.DOTALL)
    return (match[1].lower(), match[2]) if match else ("file", path)


def is_listed(path: str, places: Iterable[str]) -> bool:
    """Return whether *path* is one of *places*, or below one.

    Whole names count: ``/srv/jobs2`` is not below ``/srv/jobs``.

    :data:`PUBLIC` lists every web address here: whether it is public is seen when its host is looked up.
    """
    chosen = list(places)
    if PUBLIC in chosen and split_path(path)[0] in WEB:
        return True
    return is_below(path, [place for place in chosen if place != PUBLIC])


def is_place(text: str) -> bool:
    """Return whether *text* can be in a list of places."""
    return text == PUBLIC or _plain(text) is not None


def is_below(path: str, places: Iterable[str]) -> bool:
    """Return whether a place that is spelled out is listed; see :func:`is_listed`."""
    wanted = _plain(path)
    return wanted is not None and any(_covers(_plain(place), wanted) for place in places)


def _covers(place: "tuple[str, tuple[str, ...]] | None", wanted: tuple[str, tuple[str, ...]]) -> bool:
    if place is None or place[0] != wanted[0]:
        return False
    return wanted[1][: len(place[1])] == place[1]


def _plain(path: str) -> tuple[str, tuple[str, ...]] | None:
    """Return the root and the names on the way; None for a path with two readings: relative, ``..``, a bad address."""
    scheme, rest = split_path(path)
    if scheme in FILES:
        return ("file", _names(posixpath.normpath(rest))) if rest.startswith("/") and "\0" not in rest else None
    if not path.isascii() or not path.isprintable() or " " in path or "\\" in path:
        return None  # parsers of addresses differ about these
    if "::" in path and scheme not in WEB:
        return None  # the library that reads object stores chains addresses by it
    try:
        parts = urlsplit(path)
        host, port = parts.hostname, parts.port
    except ValueError:
        return None
    names = _names(parts.path)
    if not host or parts.username is not None or ".." in _names(unquote(unquote(parts.path))):
        return None
    return f"{scheme}://{host}:{port or _PORTS.get(scheme, '')}", names


def _names(path: str) -> tuple[str, ...]:
    return tuple(name for name in path.split("/") if name not in {"", "."})

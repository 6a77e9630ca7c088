"""Docker's own configuration file, ``~/.docker/config.json``, as people and programs really write it.

The only place that reads it. What makes no sense is left out, and said once in the log: an entry of one registry says
nothing about another.
"""

import json
import logging
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import attrs
from docker.auth import AuthConfig
from docker.utils.config import find_config_file
from requests.exceptions import InvalidHeader
from requests.utils import check_header_validity

_log = logging.getLogger("prefect.agent.docker")

_SECTIONS: Final = ("auths", "credsStore", "credHelpers")


@attrs.frozen
class DockerConfig:
    """What the file says.

    Attributes:
        path: Where it is; empty if there is none.
        auths: Entries by registry, as they are written: of any type.
        decoded: Entries of a file of two lines, from before Docker 1.7, as the SDK returns them.
        helpers: Names of credential helpers by registry.
        helper: Name of the helper for all other registries; None if there is none.
        proxies: By address of an engine or ``default``: variables for containers.
        headers: For every request to the engine.
    """

    path: str = ""
    auths: Mapping[str, Any] = attrs.field(factory=dict, repr=False)
    decoded: Mapping[str, Any] = attrs.field(factory=dict, repr=False)
    helpers: Mapping[str, str] = attrs.field(factory=dict)
    helper: str | None = None
    proxies: Mapping[str, Mapping[str, str]] = attrs.field(factory=dict, repr=False)
    headers: Mapping[str, str] = attrs.field(factory=dict, repr=False)

    @property
    def for_sdk(self) -> dict[str, Any]:
        """What the SDK's client may see of it. It has no credentials: see ``credentials.py``."""
        # A helper for no registry keeps the SDK from reading the file by itself.
        return {"proxies": dict(self.proxies), "HttpHeaders": dict(self.headers), "credHelpers": {"": "none"}}


def load() -> DockerConfig:
    """Read the file anew. Never fails: what cannot be understood is left out."""
    found = find_config_file()
    if not found:
        return DockerConfig()
    path = str(found)
    try:
        content = json.loads(Path(path).read_text(encoding="utf-8-sig"))
    except RecursionError:
        _doubt(path, "is nested too deeply, and is ignored")
        return DockerConfig(path)
    except (OSError, ValueError) as problem:
        return _of_two_lines(path, problem)
    if not isinstance(content, Mapping):
        _doubt(path, f"is no JSON object, and is ignored: {type(content).__name__}")
        return DockerConfig(path)
    return _read(path, content)


def _read(path: str, content: Mapping[str, Any]) -> DockerConfig:
    has_sections = any(name in content for name in _SECTIONS)
    helper = content.get("credsStore")
    if helper and not isinstance(helper, str):
        _doubt(path, "has a credsStore that is no name, which is ignored")
    return DockerConfig(
        path=path,
        auths=_section(path, content, "auths") if has_sections else _bare(content),
        helpers=_texts(path, content, "credHelpers"),
        helper=helper if helper and isinstance(helper, str) else None,
        proxies=_proxies(path, content),
        headers=_headers(path, content),
    )


def _bare(content: Mapping[str, Any]) -> Mapping[str, Any]:
    """Entries of a file that is nothing but entries, as before Docker 1.7."""
    return {name: entry for name, entry in content.items() if isinstance(entry, Mapping) and "auth" in entry}


def _section(path: str, content: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    found = content.get(name)
    if found is None or isinstance(found, Mapping):
        return found or {}
    _doubt(path, f"has {name} that are no JSON object, which are ignored")
    return {}


def _texts(path: str, content: Mapping[str, Any], name: str) -> dict[str, str]:
    """The entries of a section that are texts."""
    return _only_texts(path, name, _section(path, content, name))


def _only_texts(path: str, name: str, found: Mapping[str, Any]) -> dict[str, str]:
    for key, value in found.items():
        if value is not None and not isinstance(value, str):
            _doubt(path, f"has the entry {key!r} in {name} that is no text, which is ignored")
    return {key: value for key, value in found.items() if isinstance(value, str) and value}


def _proxies(path: str, content: Mapping[str, Any]) -> dict[str, dict[str, str]]:
    found: dict[str, dict[str, str]] = {}
    for address, entry in _section(path, content, "proxies").items():
        if isinstance(entry, Mapping):
            found[address] = _only_texts(path, f"the proxies of {address}", entry)
        elif entry is not None:
            _doubt(path, f"has proxies of {address!r} that are no JSON object, which are ignored")
    return found


def _headers(path: str, content: Mapping[str, Any]) -> dict[str, str]:
    found = _texts(path, content, "HttpHeaders")
    return {name: value for name, value in found.items() if _is_header(path, name, value)}


def _is_header(path: str, name: str, value: str) -> bool:
    try:
        check_header_validity((name, value))
        (name + value).encode("latin-1")
    except (InvalidHeader, UnicodeEncodeError):
        _doubt(path, f"has the entry {name!r} in HttpHeaders that no header can be, which is ignored")
        return False
    return True


def _of_two_lines(path: str, problem: Exception) -> DockerConfig:
    """A file that is no JSON: the oldest form has two lines, ``auth = ...`` and ``email = ...``."""
    decoded = AuthConfig.load_config(path, None).auths
    if not decoded:
        why = problem.strerror if isinstance(problem, OSError) else "no JSON"
        _doubt(path, f"cannot be read, and is ignored: {why}")
    return DockerConfig(path, decoded=decoded)


_guard: Final = threading.Lock()
_said: Final[set[str]] = set()


def _doubt(path: str, words: str) -> None:
    """Log what is left out, once in the life of this process. Never a value: it may be a secret."""
    text = f"Docker's {path} {words}"
    with _guard:
        is_new = text not in _said and len(_said) < 1000
        _said.add(text)
    if is_new:
        _log.warning("%s", text)

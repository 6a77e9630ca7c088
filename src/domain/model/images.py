"""Names of images in one canonical form, so that no other spelling evades a rule."""

import re
from typing import Final

HUB: Final = "docker.io"
_LIBRARY: Final = "library/"
_OF_THE_HUB: Final = frozenset({HUB, f"index.{HUB}", f"registry-1.{HUB}", "registry.hub.docker.com"})
"""Hosts that serve the images of Docker Hub."""

_HOST: Final = re.compile(r"(?:[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?|\[[0-9a-fA-F:]+\])(?::[0-9]+)?")
_PATH: Final = re.compile(r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*(?:/[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*)*")
_PARTS: Final = re.compile(
    r"(?P<name>[^@]+?)(?::(?P<tag>\w[\w.-]{0,127}))?(?:@(?P<digest>\w[\w+.-]*:[0-9a-fA-F]{32,}))?"
)
_ID: Final = re.compile(r"(?:sha256:)?([0-9a-f]{1,64})")
_MOST: Final = 255
"""Characters of a name."""


def image_reference(text: str) -> str:
    """Return *text* as ``registry/repository:tag`` or ``registry/repository@digest``, as a Docker engine completes it.

    What an engine may take for the id of an image that it has (``a1b2c3``) becomes ``sha256:a1b2c3``; write a tag
    (``cafe:latest``) to mean the name. What is no name of an image gets a ``?`` before it, which only ``*`` matches.
    """
    found = _ID.fullmatch(text)
    if found is not None:
        return f"sha256:{found[1]}"
    parts = _PARTS.fullmatch(text)
    if parts is None or len(parts["name"]) > _MOST:
        return f"?{text}"
    host, path = _split(parts["name"])
    if not _HOST.fullmatch(host) or not _PATH.fullmatch(path):
        return f"?{text}"
    tag, digest = parts["tag"], parts["digest"]
    tag = f":{tag or 'latest'}" if tag or not digest else ""
    return f"{host}/{path}{tag}{f'@{digest}' if digest else ''}"


def image_name(reference: str) -> str:
    """Return a reference (from :func:`image_reference`) without tag and digest."""
    name = reference.partition("@")[0]
    head, slash, last = name.rpartition("/")
    return f"{head}{slash}{last.partition(':')[0]}" if slash else name


def _split(name: str) -> tuple[str, str]:
    first, slash, rest = name.partition("/")
    if not slash or not is_host(first):
        first, rest = HUB, name
    if first in {HUB, f"index.{HUB}"}:
        return HUB, rest if "/" in rest else _LIBRARY + rest
    return _one_spelling(first), rest


def _one_spelling(host: str) -> str:
    """Return the host in lower case and without the port of https: both spellings reach the same registry."""
    plain = host.lower().removesuffix(":443") if "." in host or ":" in host else host
    return HUB if plain in _OF_THE_HUB else plain


def is_host(first: str) -> bool:
    """Return whether the first part of an image's name is a registry; else it is a user of Docker Hub."""
    return "." in first or ":" in first or first == "localhost" or first != first.lower()

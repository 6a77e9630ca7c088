"""Addresses to answer with: none that leads to another host."""

from collections.abc import Iterable
from typing import Final
from urllib.parse import quote

from starlette.requests import Request
from starlette.routing import BaseRoute, Match

_READS: Final = frozenset({"GET", "HEAD"})


def query_of(request: Request) -> str:
    """The end of the address, with its question mark; empty if there is none."""
    return f"?{request.url.query}" if request.url.query else ""


def local(target: str) -> str:
    """An address on this host, or the front page."""
    is_local = target.startswith("/") and not target.startswith(("//", "/\\")) and target.isprintable()
    return target if is_local else "/"


def without_slash(request: Request, pages: Iterable[BaseRoute]) -> str | None:
    """The address of the page that is there without the slash that was asked for; None if there is none.

    Programs, which ask for all else, are not led elsewhere. The address does not name a host: the client's
    ``Host`` is not repeated, and ``//host/`` leads nowhere.
    """
    asked = str(request.scope["path"])
    path = asked.rstrip("/")
    if request.method not in _READS or path == asked or local(path) != path:
        return None
    scope = {**request.scope, "path": path}
    is_there = any(route.matches(scope)[0] is Match.FULL for route in pages)
    return quote(path) + query_of(request) if is_there else None

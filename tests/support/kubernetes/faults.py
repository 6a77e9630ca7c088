"""Requests to the fault proxy, and what may happen to them."""

import re
import threading
from collections.abc import Mapping
from typing import Final

import attrs

HOLD_SECONDS: Final = 60
OBJECT_PATH: Final = re.compile(r"(?:/api/v1|/apis/[^/]+/[^/]+)(?:/namespaces/[^/]+(?=/.))?/([^/]+)(?:/[^/]+(/.+)?)?")


@attrs.frozen
class Request:
    """A request that came to the proxy.

    Attributes:
        authorization: The header as it was sent.
    """

    method: str
    path: str
    query: Mapping[str, str]
    authorization: str

    @property
    def kind(self) -> str:
        """What it is about: ``jobs``, ``pods/log``; or the whole path if it is about no object."""
        found = OBJECT_PATH.fullmatch(self.path)
        return found[1] + (found[2] or "") if found else self.path

    @property
    def is_watch(self) -> bool:
        """Whether its answer goes on."""
        return self.query.get("watch") in {"1", "true", "True"}


@attrs.define(eq=False, kw_only=True)
class Fault:
    """What happens to the next requests of a kind, for as many *times*; None is for ever.

    Attributes:
        status: Answer this; 0 for breaking the connection off.
        forwards: The request is forwarded all the same, but its answer is lost.
        hold: The request only waits until :meth:`release`; then it is forwarded.
        reached: Set when a request has met this fault.
    """

    method: str
    path: str
    query: Mapping[str, str]
    watch: bool | None
    times: int | None
    status: int = 0
    body: bytes = b""
    headers: Mapping[str, str] = attrs.field(factory=dict)
    forwards: bool = False
    hold: bool = False
    reached: threading.Event = attrs.field(factory=threading.Event)
    _released: threading.Event = attrs.field(factory=threading.Event)

    def fits(self, request: Request) -> bool:
        """Whether it is such a request."""
        return (
            self.method in {"", request.method}
            and re.search(self.path, request.path) is not None
            and self.query.items() <= request.query.items()
            and self.watch in {None, request.is_watch}
        )

    def release(self) -> None:
        """Let the requests go that are held, and those to come."""
        self._released.set()

    def wait(self) -> None:
        """Be held."""
        self._released.wait(HOLD_SECONDS)

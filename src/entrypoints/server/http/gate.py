"""Which requests are looked at: those to a host that this Cloud is, from no page of another site, with JSON. Pure.

A web page in a browser on this machine can send requests to the loopback. It cannot choose ``Host`` freely, cannot
leave out ``Origin`` of a POST, and cannot send ``application/json`` elsewhere without asking first.
"""

import ipaddress
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Final
from urllib.parse import urlsplit

import attrs

LOOPBACK: Final = frozenset({"127.0.0.1", "localhost", "::1"})
"""What this machine calls itself."""

CONTAINERS: Final = frozenset({"host.docker.internal"})
"""What containers call this machine. No name below ``internal`` can be had in the public DNS."""

JSON_TYPE: Final = "application/json"

_AUTHORITY: Final = re.compile(r"(\[[0-9a-fA-F:.]+\]|[^\[\]:@/?#%\\\s]+)(?::([0-9]{1,5}))?")
_PORTS: Final = {"http": "80", "https": "443"}
_SINGLE: Final = (
    "host", "origin", "content-type", "authorization", "sec-fetch-site", "sec-fetch-mode", "sec-fetch-dest",
)  # fmt: skip
"""Headers that decide: of two of them another reader may see the other one."""

_MAX_ADVICE: Final = 100
"""Characters of a foreign name that an answer repeats."""


_POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; base-uri 'none'; "
    "form-action 'self'; frame-ancestors 'none'"
)

SECURITY_HEADERS: Final = (
    ("X-Content-Type-Options", "nosniff"),
    ("X-Frame-Options", "DENY"),
    ("Referrer-Policy", "same-origin"),  # with "no-referrer" a browser hides the Origin of our own forms as well
    ("Cross-Origin-Resource-Policy", "same-origin"),
    ("Content-Security-Policy", _POLICY),
)
"""Of every answer: pages need their own styles, scripts and addresses, and nothing inline or from elsewhere."""

NOT_KEPT: Final = ("Cache-Control", "no-store")
"""Of every answer that does not say for how long it may be kept."""


@attrs.frozen
class Refusal:
    """Why a request is not looked at.

    Attributes:
        status: Of HTTP.
        code: Of the error in the protocol's shape.
    """

    status: int
    code: str
    message: str


@attrs.frozen
class Hosts:
    """Names and addresses that this Cloud answers to.

    Attributes:
        names: In lower case, without port.
        every_address: Whether every IP address is one of them: it listens at all of this machine's.
    """

    names: frozenset[str]
    every_address: bool = False

    def has(self, host: str) -> bool:
        """Whether *host*, without port and brackets, is one of them."""
        address = _address(host)
        if address is not None:
            return self.every_address or address.is_loopback or str(address) in self.names
        return host.lower().removesuffix(".") in self.names


def hosts_of(bound: str, allowed: Iterable[str] = (), own_names: Iterable[str] = ()) -> Hosts:
    """What a Cloud answers to that listens at *bound*.

    Args:
        allowed: Names or addresses to answer to as well, without port.
        own_names: Of this machine: they count if it listens at all of its addresses.
    """
    address = _address(bound)
    every = address is not None and address.is_unspecified
    names = {bound, *LOOPBACK, *CONTAINERS, *allowed, *(own_names if every else ())}
    return Hosts(frozenset(_plain(name) for name in names if name), every_address=every)


def host_name(text: str) -> str:
    """The name or address in *text*, as ``--allow-host`` takes it.

    Raises:
        ValueError: It is none, or it has a port.
    """
    plain = text.strip()
    if _address(plain.strip("[]")) is None and (_AUTHORITY.fullmatch(plain) is None or ":" in plain or "*" in plain):
        raise ValueError(f"{text!r:.80} is not the name of a host; leave out scheme, port and wildcards")
    return plain


def refusal(method: str, headers: Sequence[tuple[str, str]], hosts: Hosts, *, graphql: bool) -> Refusal | None:
    """Why a request is not looked at; None if it is.

    Args:
        headers: Lower-case names and values; a name may come twice.
        graphql: Whether it is for the GraphQL API.
    """
    twice = next((name for name in _SINGLE if sum(name == one for one, _ in headers) > 1), None)
    if twice is not None:
        return Refusal(400, "BAD_REQUEST", f"The header {twice} comes more than once")
    host = _one(headers, "host")
    if host is None or (found := _AUTHORITY.fullmatch(host)) is None or not hosts.has(found[1].strip("[]")):
        shown = (found[1] if host is not None and (found := _AUTHORITY.fullmatch(host)) else "")[:_MAX_ADVICE]
        advice = f"; start it with --allow-host {shown}" if shown else ""
        return Refusal(421, "MISDIRECTED_REQUEST", f"This Cloud does not answer to that Host{advice}")
    given = dict(headers)
    if "content-length" in given and "transfer-encoding" in given:
        return Refusal(400, "BAD_REQUEST", "Content-Length and Transfer-Encoding contradict each other")
    if _is_foreign(method, given, host):
        return Refusal(403, "FORBIDDEN", "Pages of other sites may not ask this Cloud")
    if graphql and given.get("content-type", "").partition(";")[0].strip().lower() != JSON_TYPE:
        return Refusal(415, "UNSUPPORTED_MEDIA_TYPE", f"Send Content-Type: {JSON_TYPE}")
    return None


def _one(headers: Sequence[tuple[str, str]], name: str) -> str | None:
    found = [value for one, value in headers if one == name]
    return found[0] if len(found) == 1 else None


def _is_foreign(method: str, given: Mapping[str, str], host: str) -> bool:
    """Whether a page of another origin asks. A person who follows a link to this Cloud's page is no such page."""
    origin = given.get("origin")
    if origin is not None:
        return not _is_same(origin, host)
    if given.get("sec-fetch-site", "none") in {"none", "same-origin"}:
        return False
    visit = (given.get("sec-fetch-mode"), given.get("sec-fetch-dest")) == ("navigate", "document")
    return not (visit and method in {"GET", "HEAD"})


def _is_same(origin: str, host: str) -> bool:
    """Whether *origin* is the address that the request was sent to."""
    try:
        parts = urlsplit(origin)
    except ValueError:
        return False
    port = _PORTS.get(parts.scheme)
    if port is None or origin != f"{parts.scheme}://{parts.netloc}":
        return False
    return parts.netloc.lower().removesuffix(f":{port}") == host.lower().removesuffix(f":{port}")


def _plain(name: str) -> str:
    address = _address(name.strip("[]").partition("%")[0])  # clients leave the zone of a local address out
    return str(address) if address else name.lower().removesuffix(".")


def _address(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(text)
    except ValueError:
        return None

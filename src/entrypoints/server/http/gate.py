"""Which requests are accepted: those for a host name of this Cloud, not from a page of another site, with JSON. Pure.

A web page in a browser on this machine can send requests to the loopback. It cannot choose ``Host`` freely, cannot
omit ``Origin`` in a POST, and cannot send ``application/json`` to another origin without a preflight request.
"""

import ipaddress
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Final
from urllib.parse import urlsplit

import attrs

from prefect.agent.domain.addresses import THIS_MACHINE, is_loopback_address

CONTAINERS: Final = frozenset({"host.docker.internal"})
"""The name of this machine inside containers. The public DNS has no names below ``internal``."""

JSON_TYPE: Final = "application/json"

_AUTHORITY: Final = re.compile(r"(\[[0-9a-fA-F:.]+\]|[^\[\]:@/?#%\\\s]+)(?::([0-9]{1,5}))?")
_MAX_PORT: Final = 65535
_PORTS: Final = {"http": "80", "https": "443"}
_SINGLE: Final = (
    "host", "origin", "content-type", "authorization", "sec-fetch-site", "sec-fetch-mode", "sec-fetch-dest",
)  # fmt: skip
"""Headers that must not be repeated: another reader of the request may use the other value."""

_MAX_ADVICE: Final = 100
"""How many characters of an unknown host name an answer repeats."""


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
    """Why a request is not accepted.

    Attributes:
        status: The HTTP status.
        code: The code of the error in the protocol's shape.
    """

    status: int
    code: str
    message: str


@attrs.frozen
class Hosts:
    """Names and addresses that this Cloud answers to.

    Attributes:
        names: In lower case, without port.
        every_address: Whether every IP address is accepted, because the Cloud listens at all addresses of this machine.
    """

    names: frozenset[str]
    every_address: bool = False

    def has(self, host: str) -> bool:
        """Return whether the Cloud answers to *host*, given without port and brackets."""
        address = _address(host)
        if address is not None:
            return self.every_address or is_loopback_address(host) or str(address) in self.names
        return host.lower().removesuffix(".") in self.names


def hosts_of(bound: str, allowed: Iterable[str] = (), own_names: Iterable[str] = ()) -> Hosts:
    """Return the hosts that a Cloud answers to if it listens at *bound*.

    Args:
        allowed: Further names or addresses to answer to, without port.
        own_names: Host names of this machine, accepted if the Cloud listens at all of its addresses.
    """
    address = _address(bound)
    every = address is not None and address.is_unspecified
    names = {bound, *THIS_MACHINE, *CONTAINERS, *allowed, *(own_names if every else ())}
    return Hosts(frozenset(_plain(name) for name in names if name), every_address=every)


def host_name(text: str) -> str:
    """Return the host name or address in *text*, a value of ``--allow-host``.

    Raises:
        ValueError: The text is no host name or address, or it has a port.
    """
    plain = text.strip()
    if _address(plain.strip("[]")) is None and (_AUTHORITY.fullmatch(plain) is None or ":" in plain or "*" in plain):
        raise ValueError(f"{text!r:.80} is not a host name; leave out scheme, port and wildcards")
    return plain


def refusal(method: str, headers: Sequence[tuple[str, str]], hosts: Hosts, *, graphql: bool) -> Refusal | None:
    """Return why a request is not accepted; None if it is.

    Args:
        headers: Lower-case names and values; a name may occur twice.
        graphql: Whether the request is for the GraphQL API.
    """
    twice = next((name for name in _SINGLE if sum(name == one for one, _ in headers) > 1), None)
    if twice is not None:
        return Refusal(400, "BAD_REQUEST", f"The header {twice} occurs more than once")
    host = _one(headers, "host") or ""
    name = _host_of(host)
    if name is None or not hosts.has(name.strip("[]")):
        advice = f"; start it with --allow-host {name[:_MAX_ADVICE]}" if name else ""
        return Refusal(421, "MISDIRECTED_REQUEST", f"This Cloud does not answer to that Host{advice}")
    given = dict(headers)
    if "content-length" in given and "transfer-encoding" in given:
        return Refusal(400, "BAD_REQUEST", "Content-Length and Transfer-Encoding contradict each other")
    if _is_foreign(method, given, host):
        return Refusal(403, "FORBIDDEN", "Pages of other sites may not use this Cloud")
    if graphql and given.get("content-type", "").partition(";")[0].strip().lower() != JSON_TYPE:
        return Refusal(415, "UNSUPPORTED_MEDIA_TYPE", f"Send Content-Type: {JSON_TYPE}")
    return None


def _host_of(authority: str) -> str | None:
    """The name or address in a value of Host; None if it is none, or if its port is not one."""
    found = _AUTHORITY.fullmatch(authority)
    return found[1] if found and int(found[2] or 0) <= _MAX_PORT else None


def _one(headers: Sequence[tuple[str, str]], name: str) -> str | None:
    found = [value for one, value in headers if one == name]
    return found[0] if len(found) == 1 else None


def _is_foreign(method: str, given: Mapping[str, str], host: str) -> bool:
    """Return whether a page of another origin sent the request; following a link to this Cloud's page is allowed."""
    origin = given.get("origin")
    if origin is not None and not _is_same(origin, host):
        return True
    if given.get("sec-fetch-site", "none") in {"none", "same-origin"}:
        return False
    visit = (given.get("sec-fetch-mode"), given.get("sec-fetch-dest")) == ("navigate", "document")
    return not (visit and method in {"GET", "HEAD"})


def _is_same(origin: str, host: str) -> bool:
    """Return whether *origin* is the address that the request was sent to."""
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

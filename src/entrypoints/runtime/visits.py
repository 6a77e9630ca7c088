"""Which requests of a browser are answered: none that a page of another site has it send to the agent. Pure.

A web page can let a browser on this machine send requests to the loopback. It cannot choose ``Host`` freely, and what
it sends as ``Sec-Fetch-Site`` and ``Origin`` is the browser's word.
"""

from typing import Final, Protocol
from urllib.parse import urlsplit

from prefect.agent.domain.addresses import is_loopback, is_loopback_address

POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'"
)

SECURITY_HEADERS: Final = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Content-Security-Policy": POLICY,
    "Cache-Control": "no-store",
}
"""Of every answer: nothing inline, nothing from elsewhere, in no frame, kept by no cache."""


class Headers(Protocol):
    """Headers of a request; names in any case."""

    def get(self, name: str, /) -> str | None:
        """The value of a header; None if it is not there."""


def is_from_another_site(headers: Headers) -> bool:
    """Whether a page of another site has sent a request: by what the browser says of itself."""
    if headers.get("Sec-Fetch-Site") not in {None, "none", "same-origin"}:
        return True
    origin = headers.get("Origin")
    return origin is not None and _authority(origin) != (headers.get("Host") or "").lower()


def has_foreign_name(headers: Headers, local_address: str, own_name: str) -> bool:
    """Whether a request came in over the loopback under a name that this machine does not have.

    Args:
        local_address: Where the connection has arrived.
        own_name: The host of the agent's address; it counts as a name of this machine.
    """
    host = headers.get("Host")
    if host is None or not is_loopback_address(local_address):
        return False
    try:
        name = urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return True
    return not (is_loopback(name) or _is_address(name) or name == own_name.lower())


def _is_address(name: str) -> bool:
    return ":" in name or name.replace(".", "").isdigit()


def _authority(origin: str) -> str:
    try:
        return urlsplit(origin).netloc.lower()
    except ValueError:
        return ""

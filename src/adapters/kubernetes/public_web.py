"""Connections to public addresses only: a flow author must not see the agent's own network by naming it."""

import contextlib
import ipaddress
import socket
from typing import Any, Final

from requests.adapters import HTTPAdapter
from requests.utils import select_proxy
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.exceptions import NameResolutionError, NewConnectionError
from urllib3.util import parse_url

from prefect.agent.adapters.kubernetes.fields import BadTemplate

NOT_PUBLIC: Final = (
    "its address, or one that it redirects to, is not a public one, and not one that the operator listed"
)

_NAT64: Final = ipaddress.ip_network("64:ff9b::/96")


def is_public(text: str) -> bool:
    """Whether a packet to this IP address leaves for the Internet; an IPv4 address inside of an IPv6 one counts."""
    address = ipaddress.ip_address(text.partition("%")[0])
    if isinstance(address, ipaddress.IPv6Address):
        inner = address.ipv4_mapped or address.sixtofour
        if address in _NAT64:
            inner = ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
        if inner is not None:
            return is_public(str(inner))
        if address.is_site_local or address.teredo is not None:
            return False
    return address.is_global and not address.is_multicast and not address.is_reserved


def public_addresses(host: str, port: int) -> list[str]:
    """The IP addresses of *host*; connect to one of them, so that another answer of the DNS changes nothing.

    Raises:
        BadTemplate: One of its addresses is not public.
        socket.gaierror: It has none.
    """
    try:
        found = [str(each[4][0]) for each in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)]
    except UnicodeError as problem:  # what cannot be a name
        raise socket.gaierror(socket.EAI_NONAME, "no such name") from problem
    if not all(map(is_public, found)):
        raise BadTemplate(NOT_PUBLIC)
    return list(dict.fromkeys(found))


class _Pinned:
    """Resolves the host itself, once, and connects to what it has looked at."""

    def _new_conn(self: Any) -> Any:
        name = self._dns_host
        try:
            addresses = public_addresses(name, self.port)
        except socket.gaierror as problem:
            raise NameResolutionError(name, self, problem) from problem
        try:
            for address in addresses[:-1]:
                self._dns_host = address
                with contextlib.suppress(NewConnectionError):
                    return super()._new_conn()  # type: ignore[misc] # of the class that it is mixed into
            self._dns_host = addresses[-1]
            return super()._new_conn()  # type: ignore[misc]
        finally:
            self._dns_host = name  # TLS asks for the certificate of the name


class _Plain(_Pinned, HTTPConnection):
    """http."""


class _Tls(_Pinned, HTTPSConnection):
    """https."""


class _PlainPool(HTTPConnectionPool):
    ConnectionCls: Any = _Plain  # Any: urllib3's own classes do not fit the protocol that it declares


class _TlsPool(HTTPSConnectionPool):
    ConnectionCls: Any = _Tls


class PublicOnly(HTTPAdapter):
    """Sends requests to public addresses only. A proxy of the operator's is believed, and asked for no other name."""

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        """Let direct connections look where they go."""
        super().init_poolmanager(*args, **kwargs)
        self.poolmanager.pool_classes_by_scheme = {"http": _PlainPool, "https": _TlsPool}

    def send(self, request: Any, *args: Any, **kwargs: Any) -> Any:
        """Send *request*.

        Raises:
            BadTemplate: Its host is not public.
        """
        if select_proxy(request.url, kwargs.get("proxies")):
            _check_before_a_proxy(request.url)
        return super().send(request, *args, **kwargs)


def _check_before_a_proxy(url: str) -> None:
    """A name that only the proxy can resolve is the proxy's to judge."""
    parts = parse_url(url)
    host = (parts.host or "").strip("[]")
    try:
        public_addresses(host, parts.port or 80)
    except socket.gaierror:
        if host.rstrip(".").endswith(("localhost", ".local", ".internal")) or "." not in host:
            raise BadTemplate(NOT_PUBLIC) from None

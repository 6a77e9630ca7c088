"""Connects to public addresses only, so that a flow author cannot reach the agent's own network."""

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
    """Return whether this IP address is on the Internet; an IPv4 address inside an IPv6 one decides."""
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
    """Return the IP addresses of *host*; connect to one of them, so that a later DNS answer cannot change it.

    Raises:
        BadTemplate: One of its addresses is not public.
        socket.gaierror: The host has no address.
    """
    try:
        found = [str(each[4][0]) for each in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)]
    except UnicodeError as problem:  # what cannot be a name
        raise socket.gaierror(socket.EAI_NONAME, "no such name") from problem
    if not all(map(is_public, found)):
        raise BadTemplate(NOT_PUBLIC)
    return list(dict.fromkeys(found))


class _Pinned:
    """Resolves the host once, checks its addresses, and connects to one of them."""

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


class _PinnedHttp(_Pinned, HTTPConnection):
    """A connection without TLS to a checked address."""


class _PinnedHttps(_Pinned, HTTPSConnection):
    """A connection with TLS to a checked address."""


class _PlainPool(HTTPConnectionPool):
    ConnectionCls: Any = _PinnedHttp  # Any: urllib3's own classes do not fit the protocol that it declares


class _TlsPool(HTTPSConnectionPool):
    ConnectionCls: Any = _PinnedHttps


class PublicOnly(HTTPAdapter):
    """Sends requests to public addresses only. The operator's proxy is trusted, but gets only public host names."""

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        """Create the pools, whose direct connections check their addresses."""
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
    """Raise BadTemplate for a host that is not public; only the proxy can judge a name that it alone resolves."""
    parts = parse_url(url)
    host = (parts.host or "").strip("[]")
    try:
        public_addresses(host, parts.port or 80)
    except socket.gaierror:
        if host.rstrip(".").endswith(("localhost", ".local", ".internal")) or "." not in host:
            raise BadTemplate(NOT_PUBLIC) from None

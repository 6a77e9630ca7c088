"""Errors of configuration that make every request impossible until a person changes something. Pure."""

import http.client
import re
import ssl
from collections.abc import Iterator
from typing import Final

from requests import exceptions
from urllib3.exceptions import LocationValueError

_NOT_TLS: Final = frozenset({"WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE", "PACKET_LENGTH_TOO_LONG", "HTTP_REQUEST"})
"""What OpenSSL says of an answer that is not TLS."""

_FOR_TLS: Final = re.compile(rb"HTTPS (port|server)|SSL-enabled server port|over HTTPS", re.IGNORECASE)
"""What servers write to a plain request at a port for TLS: nginx, Go's and others, Apache, Envoy."""

_ALERT: Final = ("\x15\x03", "\\x15\\x03")
"""How an alert begins, as it is and as it is shown."""

_NO_BUNDLE: Final = frozenset({"NO_CERTIFICATE_OR_CRL_FOUND", "NO_START_LINE", "BAD_BASE64_DECODE", "PEM_LIB"})
"""What OpenSSL says of a file that holds no certificates."""

_BUNDLE: Final = "set REQUESTS_CA_BUNDLE to a file of certificates in PEM, or unset it"


def misconfiguration(problem: BaseException) -> str | None:
    """Say in a sentence what to change; None if *problem* may pass by itself."""
    if isinstance(problem, exceptions.ProxyError) and any(map(_is_no_tls, _inside(problem))):
        return "its proxy does not speak TLS: is the proxy's address one of http:// and not of https://?"
    for inner in _inside(problem):
        found = _of_tls(inner) or _of_proxy(inner)
        if found:
            return found
    return None


def wants_tls(status: int, body: bytes) -> bool:
    """Return whether a failure says that a plain request reached a port for TLS."""
    return status == 400 and _FOR_TLS.search(body) is not None


def is_alert(problem: BaseException) -> bool:
    """Return whether the other side answered a plain request with an alert of TLS."""
    lines = [str(inner) for inner in _inside(problem) if isinstance(inner, http.client.BadStatusLine)]
    return any(line.lstrip("'\"").startswith(_ALERT) for line in lines)


def _of_tls(problem: BaseException) -> str | None:
    if isinstance(problem, ssl.SSLError):
        if _is_no_tls(problem):
            return "what answers there does not speak TLS: is the address one of http:// and not of https://?"
        return (
            f"the file of trusted authorities holds no certificate: {_BUNDLE}" if problem.reason in _NO_BUNDLE else None
        )
    is_own = isinstance(problem, OSError) and not isinstance(problem, exceptions.RequestException)
    if is_own and "TLS CA certificate bundle" in str(problem):
        return f"there is no file of trusted authorities at {str(problem).rpartition(': ')[2]}: {_BUNDLE}"
    return None


def _is_no_tls(problem: BaseException) -> bool:
    return isinstance(problem, ssl.SSLError) and problem.reason in _NOT_TLS


def _of_proxy(problem: BaseException) -> str | None:
    if isinstance(problem, exceptions.InvalidSchema) and "SOCKS" in str(problem):
        return "its proxy is one for SOCKS, which needs a package more: pip install 'requests[socks]'"
    if isinstance(problem, UnicodeError):  # of the codec for names, before any name is looked up
        return "no host has such a name: check --api, HTTPS_PROXY, HTTP_PROXY and ALL_PROXY"
    words = str(problem).lower()
    if isinstance(problem, exceptions.InvalidProxyURL | LocationValueError) or (
        isinstance(problem, exceptions.InvalidSchema | exceptions.InvalidURL) and "proxy" in words
    ):
        return "the address of its proxy cannot be one: check HTTPS_PROXY, HTTP_PROXY and ALL_PROXY"
    if isinstance(problem, exceptions.InvalidSchema | exceptions.InvalidURL | exceptions.InvalidHeader):
        return "no request can be made with this address and key: check --api and the key"
    return None


def _inside(problem: BaseException) -> Iterator[BaseException]:
    left, seen = [problem], set[int]()
    while left and len(seen) < 50:
        inner = left.pop(0)
        if id(inner) in seen:
            continue
        seen.add(id(inner))
        yield inner
        causes = (*inner.args, getattr(inner, "reason", None), inner.__cause__, inner.__context__)
        left += [cause for cause in causes if isinstance(cause, BaseException)]

"""The steps of a doctor on the way to the Cloud: name, proxy, TLS, API, key, clock, claims."""

import contextlib
import socket
import ssl
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import attrs
import requests
from requests.utils import get_environ_proxies, select_proxy
from urllib3.util.ssl_ import create_urllib3_context

from prefect.agent.adapters.graphql import documents
from prefect.agent.adapters.graphql.transport import Transport
from prefect.agent.adapters.problems import why
from prefect.agent.domain.errors import CloudMisconfigured, CloudUnavailable, RequestRejected, Unauthorised
from prefect.agent.domain.model.checks import Answered, ClockReading, Fact, Noted, Severity, Step
from prefect.agent.domain.secrets import without_password
from prefect.agent.ports.cloud_api import Tenant

PATIENCE: Final = 10.0
"""Seconds for a connection."""

SAMPLES: Final = 3
"""Requests whose time is taken."""

EXPIRES_SOON: Final = 14
"""Days."""

PORTS: Final = {"http": 80, "https": 443, "socks5": 1080, "socks5h": 1080, "socks4": 1080}


def steps(transport: Transport, connect: Callable[[], Tenant]) -> Sequence[Step]:
    """Return the steps in order; each needs the one before."""
    road, talk = _Road.to(transport.url), _Talk(transport, connect)
    return (
        Step(name="proxy", ask=road.proxy, remedy="correct HTTPS_PROXY and HTTP_PROXY, or add the host to NO_PROXY"),
        Step(name="dns", ask=road.address, needs=("proxy",), remedy="check --api, and this machine's name server"),
        Step(name="tls", ask=road.tls, needs=("proxy", "dns")),
        Step(name="api", ask=talk.answer, needs=("proxy", "dns", "tls"), remedy="start the Cloud, or correct --api"),
        Step(
            name="key",
            ask=talk.key,
            needs=("api",),
            remedy="give a key that is valid: --token-file PATH, or PREFECT__CLOUD__API_KEY_FILE",
        ),
        Step(name="cloud-clock", ask=talk.clock, needs=("api",)),
        Step(name="claims", ask=talk.claims, needs=("api",)),
    )


@attrs.frozen
class _Road:
    """The way to an address, without the API at its end."""

    host: str
    port: int
    is_tls: bool
    via: str

    @classmethod
    def to(cls, url: str) -> "_Road":
        parts = urlsplit(url)
        scheme = parts.scheme.lower()
        proxies: Any = get_environ_proxies(url)
        via = select_proxy(url, proxies) or ""
        return cls(parts.hostname or "", parts.port or PORTS.get(scheme, 80), scheme == "https", via)

    def proxy(self) -> Iterator[Fact]:
        if not self.via:
            yield Noted(text=f"No proxy is used for {self.host}.")
            return
        parts = urlsplit(self.via if "://" in self.via else f"http://{self.via}")
        host, shown = parts.hostname or "", without_password(self.via)
        try:
            _connected(host, parts.port or PORTS.get(parts.scheme, 80)).close()
        except (OSError, ValueError) as problem:
            raise CloudUnavailable(f"the proxy {shown} cannot be reached: {why(problem)}") from problem
        yield Noted(text=f"The proxy {shown} is used for {self.host}, and can be reached.")

    def address(self) -> Iterator[Fact]:
        if self.via:
            yield Noted(text=f"The proxy looks up {self.host}.")
            return
        try:
            found = socket.getaddrinfo(self.host, self.port, type=socket.SOCK_STREAM)
        except (OSError, ValueError) as problem:
            raise CloudUnavailable(f"{self.host} has no address: {why(problem)}") from problem
        addresses = dict.fromkeys(str(each[4][0]) for each in found)
        yield Noted(text=f"{self.host} has the address {', '.join(list(addresses)[:3])}.")

    def tls(self) -> Iterator[Fact]:
        if not self.is_tls or self.via:
            text = "The certificate is checked together with the API, through the proxy."
            yield Noted(text=text if self.is_tls else f"{self.host} is asked without TLS.")
            return
        try:
            certificate = self._certificate()
        except ssl.SSLCertVerificationError as problem:
            raise CloudUnavailable(
                f"the certificate of {self.host} is not trusted: {problem.verify_message}. "
                "Name the authority in REQUESTS_CA_BUNDLE"
            ) from problem
        except (OSError, ValueError) as problem:
            raise CloudUnavailable(f"no TLS connection to {self.host}:{self.port}: {why(problem)}") from problem
        yield self._expiry(certificate)

    def _certificate(self) -> Any:
        """Return the host's certificate, checked as the agent's own connections check it."""
        settings = requests.Session().merge_environment_settings(f"https://{self.host}", {}, None, None, None)
        bundle = settings["verify"]
        place = Path(bundle if isinstance(bundle, str) else requests.utils.DEFAULT_CA_BUNDLE_PATH)
        context = create_urllib3_context(cert_reqs=ssl.CERT_REQUIRED)
        context.verify_flags &= ~ssl.VERIFY_X509_STRICT
        context.check_hostname = True
        try:
            context.load_verify_locations(**{"capath" if place.is_dir() else "cafile": str(place)})
        except OSError as problem:
            raise CloudMisconfigured(f"the certificates in {place} cannot be read: {why(problem)}") from problem
        with _connected(self.host, self.port) as plain, context.wrap_socket(plain, server_hostname=self.host) as safe:
            return safe.getpeercert() or {}

    def _expiry(self, certificate: Any) -> Noted:
        ends = datetime.fromtimestamp(ssl.cert_time_to_seconds(certificate["notAfter"]), timezone.utc)
        days = (ends - datetime.now(timezone.utc)).days
        text = f"The certificate of {self.host} is trusted, until {ends:%Y-%m-%d}."
        if days < EXPIRES_SOON:
            return Noted(
                text=f"{text} That is in {days} days.", severity=Severity.WARN, remedies=("renew the certificate",)
            )
        return Noted(text=text)


@attrs.frozen
class _Talk:
    """The conversation with the API at the end of the way."""

    transport: Transport
    connect: Callable[[], Tenant]

    def answer(self) -> Iterator[Fact]:
        """Measure the latency on an established connection."""
        times = sorted(self._timed() for _ in range(SAMPLES + 1))
        yield Answered(what=f"The API at {self.transport.shown}", seconds=times[len(times) // 2])

    def _timed(self) -> float:
        began = time.monotonic()
        with contextlib.suppress(Unauthorised, RequestRejected):  # an answer too: what it means is the next step's
            self.transport.send(documents.NOTHING)
        return time.monotonic() - began

    def key(self) -> Iterator[Fact]:
        tenant = self.connect()
        name = f"{tenant.name} ({tenant.id})" if tenant.name else tenant.id
        yield Noted(text=f"The API takes the key; the tenant is {name}.")

    def clock(self) -> Iterator[Fact]:
        yield ClockReading(what="the Cloud", skew=self.transport.skew)

    def claims(self) -> Iterator[Fact]:
        if self.transport.compares:
            yield Noted(text="The Cloud gives a claim to one agent only (compare-and-set).")
            return
        yield Noted(
            text="The Cloud does not say that it compares and sets: the agent reads each claim back before it starts "
            "a flow run. Two agents that ask at the same moment may still both start it.",
            severity=Severity.WARN,
            remedies=("let agents have labels that exclude each other, or use a Cloud that compares and sets",),
        )


def _connected(host: str, port: int) -> socket.socket:
    return socket.create_connection((host, port), timeout=PATIENCE)

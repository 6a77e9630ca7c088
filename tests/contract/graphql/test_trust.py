"""Which Clouds the agent believes, and how it reaches them: private authorities and proxies (promise P6)."""

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from prefect.agent.adapters import trust
from prefect.agent.adapters.graphql import transport
from prefect.agent.adapters.graphql.transport import Transport
from prefect.agent.domain.errors import CloudMisconfigured, CloudUnavailable
from support.http_proxy import HttpProxy
from support.pki import Pki
from support.tls_answers import answering, needs_openssl, strict
from support.tls_server import TlsServer

pytestmark = needs_openssl

KEY = "a-key-for-the-cloud-alone"

Hello = answering(lambda headers: {"data": {"hello": headers["Authorization"]}})
"""A Cloud that knows one answer."""


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing of this machine's own settings, and time for who is slow to shake hands."""
    monkeypatch.setattr(transport, "CONNECT_TIMEOUT", 30.0)
    for name in ("HTTPS_PROXY", "HTTP_PROXY", "ALL_PROXY", "NO_PROXY", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)


@pytest.fixture
def pki(tmp_path: Path) -> Pki:
    """A private authority whose certificates lack what Python demands since 3.13."""
    return Pki(tmp_path / "pki", bare=True)


@pytest.fixture
def cloud(pki: Pki) -> Iterator[str]:
    """Address of a Cloud with a certificate of that authority."""
    with closing(TlsServer(Hello, pki.server("cloud"))) as server:
        yield f"https://127.0.0.1:{server.server_address[1]}"


def asked(url: str) -> str:
    """What the Cloud says."""
    with closing(Transport(url, KEY)) as conversation:
        return str(conversation.ask("query { hello }")["hello"])


def test_an_authority_that_is_not_known(cloud: str) -> None:
    """The key is not sent to a server that cannot prove its name."""
    with pytest.raises(CloudUnavailable, match=r"no trusted TLS connection to .*certificate verify failed"):
        asked(cloud)


def test_a_private_authority(cloud: str, pki: Pki, monkeypatch: pytest.MonkeyPatch) -> None:
    """Believed as by flow runs, whose Python is older: not only if its certificates are to the letter."""
    monkeypatch.setattr(trust, "create_urllib3_context", strict)
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(pki.authority.certificate))
    assert asked(cloud) == f"Bearer {KEY}"


def test_a_certificate_of_another_name(pki: Pki, monkeypatch: pytest.MonkeyPatch) -> None:
    """A private authority signs many; this one is not for that address."""
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(pki.authority.certificate))
    with closing(TlsServer(Hello, pki.server("other", names="DNS:other.example"))) as server:
        address = f"https://127.0.0.1:{server.server_address[1]}"
        with pytest.raises(CloudUnavailable, match="no trusted TLS connection"):
            asked(address)


def test_a_proxy(cloud: str, pki: Pki, monkeypatch: pytest.MonkeyPatch) -> None:
    """It carries all, and can read none of it."""
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(pki.authority.certificate))
    with closing(HttpProxy()) as proxy:
        monkeypatch.setenv("HTTPS_PROXY", proxy.url)
        assert asked(cloud) == f"Bearer {KEY}"
        assert proxy.tunnels == [cloud.removeprefix("https://")]
        assert proxy.seen
        assert KEY.encode() not in proxy.seen


def test_no_proxy(cloud: str, pki: Pki, monkeypatch: pytest.MonkeyPatch) -> None:
    """For hosts that are near."""
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(pki.authority.certificate))
    with closing(HttpProxy()) as proxy:
        monkeypatch.setenv("HTTPS_PROXY", proxy.url)
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        assert asked(cloud) == f"Bearer {KEY}"
        assert proxy.tunnels == []


def test_a_proxy_that_is_not_there(cloud: str, pki: Pki, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing was sent, and that is known: a claim is not in doubt."""
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(pki.authority.certificate))
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:1")
    with (
        closing(Transport(cloud, KEY)) as conversation,
        pytest.raises(CloudUnavailable, match=r"cannot reach https://127\.0\.0\.1"),
    ):
        conversation.ask("mutation { hello }", changes=True)


@pytest.mark.parametrize("variable", [None, "HTTP_PROXY", "ALL_PROXY"])
def test_a_name_that_no_host_has_is_for_a_person_to_change(
    variable: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of the API itself or of its proxy; the codec of names refuses it before any name is looked up."""
    if variable:
        monkeypatch.setenv(variable, "http://a..b:1")
    with (
        closing(Transport("http://example.invalid" if variable else "http://a..b", KEY)) as there,
        pytest.raises(CloudMisconfigured, match="no host has such a name"),
    ):
        there.ask("query { hello }")

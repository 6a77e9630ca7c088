"""Which certificates of an API server the agent takes: those that kubectl takes."""

import json
import ssl
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import urllib3
from urllib3.util.ssl_ import create_urllib3_context

from prefect.agent.adapters import trust
from prefect.agent.adapters.kubernetes.api_server import Cluster
from prefect.agent.adapters.kubernetes.throttle import Throttle
from support.http_proxy import HttpProxy
from support.pki import Pki
from support.tls_answers import answering, needs_openssl, strict
from support.tls_server import TlsServer

pytestmark = needs_openssl

Version = answering(lambda _headers: {"major": "1"})
"""An API server that only knows its version."""


def cluster(
    folder: Path, server: str, believed: Mapping[str, object] | None = None, *, user: Mapping[str, str] | None = None
) -> Cluster:
    """That server, by a kubeconfig."""
    config = {
        "clusters": [{"name": "x", "cluster": {"server": server, **(believed or {})}}],
        "users": [{"name": "x", "user": user or {"token": "t"}}],
        "contexts": [{"name": "x", "context": {"cluster": "x", "user": "x"}}],
        "current-context": "x",
    }
    path = folder / "kubeconfig"
    path.write_text(json.dumps(config), encoding="utf-8")
    return Cluster(kubeconfig=str(path), throttle=Throttle(10_000, 10_000))


def test_certificates_that_are_not_to_the_letter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The authorities of many clusters lack what Python demands since 3.13 (kubernetes-client#2394)."""
    monkeypatch.setattr(trust, "create_urllib3_context", strict)
    pki = Pki(tmp_path / "pki", bare=True)
    authority = str(pki.authority.certificate)
    with closing(TlsServer(Version, pki.server("api"))) as server:
        address = f"https://127.0.0.1:{server.server_address[1]}"
        with (
            urllib3.PoolManager(ssl_context=strict(), ca_certs=authority, retries=False) as pool,
            pytest.raises(urllib3.exceptions.SSLError, match="certificate verify failed"),
        ):
            pool.request("GET", address)

        with closing(cluster(tmp_path, address, {"certificate-authority": authority})) as found:
            assert found.send("GET", "/version") == {"major": "1"}


def test_many_connections_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a certificate for the client. urllib3 loads it as it connects: into a context that no other thread uses."""
    contexts: list[ssl.SSLContext] = []

    def making(**details: Any) -> ssl.SSLContext:
        contexts.append(create_urllib3_context(**details))
        return contexts[-1]

    monkeypatch.setattr(trust, "create_urllib3_context", making)
    pki = Pki(tmp_path / "pki", bare=True)
    with closing(TlsServer(Version, pki.server("api"), clients_of=pki.authority.certificate)) as server:
        client = pki.client("client", "/CN=client")
        mine = {"client-certificate": str(client.certificate), "client-key": str(client.key)}
        authority = {"certificate-authority": str(pki.authority.certificate)}
        address = f"https://127.0.0.1:{server.server_address[1]}"
        with closing(cluster(tmp_path, address, authority, user=mine)) as found, ThreadPoolExecutor(16) as threads:
            answers = list(threads.map(lambda _: found.send("GET", "/version"), range(160)))
    assert answers == [{"major": "1"}] * 160
    assert len(contexts) == 160  # this server closes each connection


def test_without_an_authority_the_systems_own_are_believed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As of a cluster whose address has a public certificate."""
    pki = Pki(tmp_path / "pki")
    with closing(TlsServer(Version, pki.server("api"))) as server:
        address = f"https://127.0.0.1:{server.server_address[1]}"
        with closing(cluster(tmp_path, address)) as stranger, pytest.raises(urllib3.exceptions.SSLError):
            stranger.send("GET", "/version")

        monkeypatch.setenv("SSL_CERT_FILE", str(pki.authority.certificate))
        with closing(cluster(tmp_path, address)) as found:
            assert found.send("GET", "/version") == {"major": "1"}


def test_trust_can_be_left_out(tmp_path: Path) -> None:
    """By who says so in the kubeconfig."""
    pki = Pki(tmp_path / "pki", bare=True)
    with closing(TlsServer(Version, pki.server("api"))) as server:
        address = f"https://127.0.0.1:{server.server_address[1]}"
        with (
            closing(cluster(tmp_path, address, {"insecure-skip-tls-verify": True})) as found,
            pytest.warns(urllib3.exceptions.InsecureRequestWarning),
        ):
            assert found.send("GET", "/version") == {"major": "1"}


def test_the_name_in_the_certificate_counts(tmp_path: Path) -> None:
    """That of the address, or the one which the kubeconfig says is expected."""
    pki = Pki(tmp_path / "pki")
    authority = {"certificate-authority": str(pki.authority.certificate)}
    with closing(TlsServer(Version, pki.server("api", names="DNS:api.example"))) as server:
        address = f"https://127.0.0.1:{server.server_address[1]}"
        with closing(cluster(tmp_path, address, authority)) as other, pytest.raises(urllib3.exceptions.SSLError):
            other.send("GET", "/version")
        with closing(cluster(tmp_path, address, {**authority, "tls-server-name": "api.example"})) as found:
            assert found.send("GET", "/version") == {"major": "1"}


@pytest.mark.parametrize("by", ["kubeconfig", "environment"])
def test_a_proxy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, by: str) -> None:
    """As of kubectl; behind it the same certificates are believed."""
    monkeypatch.setattr(trust, "create_urllib3_context", strict)
    for name in ("HTTPS_PROXY", "HTTP_PROXY", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    pki = Pki(tmp_path / "pki", bare=True)
    believed = {"certificate-authority": str(pki.authority.certificate)}
    with closing(TlsServer(Version, pki.server("api"))) as server, closing(HttpProxy()) as proxy:
        place = f"127.0.0.1:{server.server_address[1]}"
        if by == "kubeconfig":
            believed["proxy-url"] = proxy.url
        else:
            monkeypatch.setenv("HTTPS_PROXY", proxy.url)
        with closing(cluster(tmp_path, f"https://{place}", believed)) as found:
            assert found.send("GET", "/version") == {"major": "1"}
        assert proxy.tunnels == [place]

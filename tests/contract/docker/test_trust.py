"""Which Docker engines far away the agent takes for its own: those that the docker program takes."""

import shutil
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from prefect.agent.adapters import trust
from prefect.agent.adapters.docker.engine import DockerEngine
from prefect.agent.domain.errors import PlatformUnavailable
from support.pki import Pki
from support.tls_answers import answering, needs_openssl, strict
from support.tls_server import TlsServer

pytestmark = needs_openssl

Version = answering(lambda _headers: {"ApiVersion": "1.47", "Version": "27.0"})
"""An engine that only knows its version."""


@pytest.fixture
def pki(tmp_path: Path) -> Pki:
    """Made as Docker's own documentation tells: without key identifiers."""
    return Pki(tmp_path / "pki", bare=True)


@pytest.fixture
def engine(pki: Pki) -> Iterator[str]:
    """One that speaks to whom its authority signed; its address."""
    with closing(TlsServer(Version, pki.server("engine"), clients_of=pki.authority.certificate)) as server:
        yield f"tcp://127.0.0.1:{server.server_address[1]}"


def believe(monkeypatch: pytest.MonkeyPatch, folder: Path, engine: str, authority: Pki, client: Pki) -> None:
    """Set what Docker's documentation says to set."""
    folder.mkdir()
    mine = client.client("client", "/CN=client")
    shutil.copy(authority.authority.certificate, folder / "ca.pem")
    shutil.copy(mine.certificate, folder / "cert.pem")
    shutil.copy(mine.key, folder / "key.pem")
    monkeypatch.setenv("DOCKER_HOST", engine)
    monkeypatch.setenv("DOCKER_TLS_VERIFY", "1")
    monkeypatch.setenv("DOCKER_CERT_PATH", str(folder))


def version() -> str:
    """What the engine says."""
    with closing(DockerEngine(None, timeout=20)) as found, found.asked("tell its version") as client:
        return str(client.version()["Version"])


def test_an_engine_far_away(tmp_path: Path, pki: Pki, engine: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """By certificates that Python would refuse from 3.13 on."""
    monkeypatch.setattr(trust, "create_urllib3_context", strict)
    believe(monkeypatch, tmp_path / "docker", engine, pki, pki)
    assert version() == "27.0"


def test_an_authority_for_other_things(tmp_path: Path, pki: Pki, engine: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a company, say, for the Cloud: Docker's own counts for Docker."""
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(Pki(tmp_path / "company").authority.certificate))
    believe(monkeypatch, tmp_path / "docker", engine, pki, pki)
    assert version() == "27.0"


def test_an_engine_that_serves_other_agents_too(
    tmp_path: Path, pki: Pki, engine: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its authority is not the one that is believed."""
    other = Pki(tmp_path / "other")
    believe(monkeypatch, tmp_path / "docker", engine, other, pki)
    with pytest.raises(PlatformUnavailable, match="certificate verify failed"):
        version()

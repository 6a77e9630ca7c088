"""Templates that run configs name: only from listed places, wherever links, redirects and names lead."""

import http.server
import socket
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, ClassVar

import pytest
import requests

from prefect.agent.adapters.kubernetes import locations, public_web
from prefect.agent.adapters.kubernetes.fields import BadTemplate
from prefect.agent.adapters.kubernetes.locations import UNLISTED, read_listed
from prefect.agent.adapters.kubernetes.public_web import NOT_PUBLIC, is_public
from prefect.agent.domain.errors import PlatformUnavailable
from support.pki import Pki
from support.tls_answers import needs_openssl
from support.tls_server import TlsServer

PUBLIC = ("public",)


class Site(http.server.BaseHTTPRequestHandler):
    """Answers ``/to?URL`` with a redirect, all else with a text; remembers the paths."""

    asked: ClassVar[list[str]] = []

    def do_GET(self) -> None:
        """Answer."""
        self.asked.append(self.path)
        path, _, target = self.path.partition("?")
        self.send_response(302 if path == "/to" else 200)
        if target:
            self.send_header("Location", target)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"{}")

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Stay silent."""


@pytest.fixture
def site(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Address of a web server on loopback, with nothing between."""
    monkeypatch.setenv("NO_PROXY", "*")
    Site.asked.clear()
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Site)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield f"127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def names(monkeypatch: pytest.MonkeyPatch, **addresses: str) -> None:
    """Let ``NAME.test`` have this address; all else stays."""
    real = socket.getaddrinfo

    def found(host: Any, port: Any, *args: Any, **kwargs: Any) -> Any:
        known = addresses.get(str(host).removesuffix(".test")) if str(host).endswith(".test") else None
        return real(known or host, port, *args, **kwargs)

    monkeypatch.setattr(socket, "getaddrinfo", found)


class TestFiles:
    """Paths of the agent's machine."""

    @pytest.mark.parametrize(
        "path", ["/etc/passwd", "file:///etc/passwd", "local:///etc/passwd", "etc/passwd", "/nowhere", "/etc\0"]
    )
    def test_nothing_is_listed_by_default(self, path: str) -> None:
        """The answer is the same whether there is such a file or not."""
        with pytest.raises(BadTemplate) as refusal:
            read_listed(path, places=PUBLIC)
        assert str(refusal.value) == UNLISTED

    def test_what_is_listed_is_read(self, tmp_path: Path) -> None:
        """A folder, or the file itself, by any spelling."""
        file = tmp_path / "jobs" / "a.yaml"
        file.parent.mkdir()
        file.write_bytes(b"{}")
        for place in (str(file), str(file.parent), f"file://{file.parent}/"):
            assert read_listed(str(file), places=[place]) == read_listed(f"file://{file}", places=[place]) == b"{}"

    def test_links_do_not_lead_out(self, tmp_path: Path) -> None:
        """Of a file, of a folder, and by dots; links that stay inside are followed, and the place may be one."""
        jobs, outside = tmp_path / "jobs", tmp_path / "outside"
        jobs.mkdir()
        outside.mkdir()
        (outside / "a.yaml").write_bytes(b"{}")
        (jobs / "real.yaml").write_bytes(b"{}")
        (jobs / "link.yaml").symlink_to(outside / "a.yaml")
        (jobs / "folder").symlink_to(outside)
        (jobs / "inside.yaml").symlink_to(jobs / "real.yaml")
        (tmp_path / "place").symlink_to(jobs)
        for bad in ("link.yaml", "folder/a.yaml", "../outside/a.yaml"):
            with pytest.raises(BadTemplate, match="does not read job templates from there"):
                read_listed(f"{jobs}/{bad}", places=[str(jobs)])
        assert read_listed(f"{jobs}/inside.yaml", places=[str(jobs)]) == b"{}"
        assert read_listed(f"{tmp_path}/place/real.yaml", places=[f"{tmp_path}/place"]) == b"{}"


class TestAddresses:
    """What counts as public."""

    @pytest.mark.parametrize(
        "address",
        [
            "127.0.0.1", "10.0.0.1", "172.16.0.1", "192.168.0.1", "169.254.169.254", "100.64.0.1", "0.0.0.0",
            "255.255.255.255", "224.0.0.1", "240.0.0.1", "198.18.0.1", "192.0.2.1", "::", "::1", "fe80::1%eth0",
            "fc00::1", "fec0::1", "ff02::1", "::ffff:127.0.0.1", "::ffff:10.0.0.1", "64:ff9b::a9fe:a9fe",
            "2002:7f00:1::", "2001:0:7f00:1::", "::7f00:1", "2001:db8::1",
        ],
    )  # fmt: skip
    def test_not_public(self, address: str) -> None:
        """Loopback, link-local, private, shared, multicast, reserved; also inside of an IPv6 address."""
        assert not is_public(address)

    @pytest.mark.parametrize("address", ["1.1.1.1", "8.8.8.8", "2606:4700::1111", "::ffff:1.1.1.1", "64:ff9b::101:101"])
    def test_public(self, address: str) -> None:
        """All that the Internet has."""
        assert is_public(address)


class TestWeb:
    """http and https."""

    @pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "[::1]", "2130706433", "0x7f.1", "127.1"])
    def test_loopback_is_not_asked(self, site: str, host: str) -> None:
        """In no spelling; whether anything listens there is not to be learned."""
        port = site.partition(":")[2]
        for address in (f"http://{host}:{port}/", f"http://{host}:1/", f"https://{host}:{port}/"):
            with pytest.raises(BadTemplate) as refusal:
                read_listed(address, places=PUBLIC)
            assert str(refusal.value) in {NOT_PUBLIC, "that address cannot be read: InvalidURL"}
        assert Site.asked == []

    def test_a_name_with_a_private_address_is_not_asked(self, site: str, monkeypatch: pytest.MonkeyPatch) -> None:
        """What counts is what the name resolves to."""
        names(monkeypatch, inner="127.0.0.1")
        with pytest.raises(BadTemplate, match="not a public one"):
            read_listed(f"http://inner.test:{site.partition(':')[2]}/", places=PUBLIC)
        assert Site.asked == []

    def test_the_connection_is_made_to_what_was_looked_at(self, site: str, monkeypatch: pytest.MonkeyPatch) -> None:
        """A DNS that answers a public address first and loopback then gains nothing."""
        answers = iter(["127.0.0.1"])
        monkeypatch.setattr(public_web, "is_public", lambda _: True)
        real = socket.getaddrinfo

        def once(host: Any, *args: Any, **kwargs: Any) -> Any:
            return real(next(answers) if host == "moves.test" else host, *args, **kwargs)

        monkeypatch.setattr(socket, "getaddrinfo", once)
        assert read_listed(f"http://moves.test:{site.partition(':')[2]}/a", places=PUBLIC) == b"{}"

    def test_a_redirect_is_looked_at_again(self, site: str, monkeypatch: pytest.MonkeyPatch) -> None:
        """From a listed address to one that is not: refused before it is asked."""
        port = site.partition(":")[2]
        names(monkeypatch, inner="127.0.0.1")
        place = f"http://{site}/to"
        for target in (f"http://localhost:{port}/inner", f"http://inner.test:{port}/inner", f"http://{site}/inner"):
            with pytest.raises(BadTemplate, match="not a public one"):
                read_listed(f"{place}?{target}", places=[place, *PUBLIC])
            with pytest.raises(BadTemplate, match="does not read job templates from there"):
                read_listed(f"{place}?{target}", places=[place])
        assert {path.partition("?")[0] for path in Site.asked} == {"/to"}

    def test_a_redirect_to_a_file_is_refused(self, site: str) -> None:
        """Only web addresses are redirected to."""
        with pytest.raises(BadTemplate):
            read_listed(f"http://{site}/to?file:///etc/passwd", places=[f"http://{site}/", *PUBLIC, "/etc"])

    def test_a_listed_private_address_is_read(self, site: str) -> None:
        """The operator knows why; redirects below it, too."""
        places = [f"http://{site}/"]
        assert read_listed(f"http://{site}/a.yaml", places=places) == b"{}"
        assert read_listed(f"http://{site}/to?/b.yaml", places=places) == b"{}"

    @pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "metadata.internal", "intranet", "printer.local"])
    def test_a_proxy_is_not_asked_for_what_is_inside(
        self, site: str, monkeypatch: pytest.MonkeyPatch, host: str
    ) -> None:
        """The proxy may reach more than the Internet."""
        monkeypatch.delenv("NO_PROXY")
        monkeypatch.delenv("no_proxy", raising=False)
        monkeypatch.setattr(requests.utils, "should_bypass_proxies", lambda *_, **__: False)
        monkeypatch.setenv("http_proxy", f"http://{site}")
        with pytest.raises(BadTemplate, match="not a public one"):
            read_listed(f"http://{host}/latest/meta-data", places=PUBLIC)
        assert Site.asked == []

    @needs_openssl
    def test_the_certificate_is_that_of_the_name(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """Though the connection is made to an address: the name is checked, and no other."""
        monkeypatch.setenv("NO_PROXY", "*")
        monkeypatch.setattr(public_web, "is_public", lambda _: True)
        names(monkeypatch, right="127.0.0.1", wrong="127.0.0.1")
        pki = Pki(tmp_path / "pki")
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(pki.authority.certificate))
        with closing(TlsServer(Site, pki.server("right", names="DNS:right.test"))) as server:
            port = server.server_address[1]
            assert read_listed(f"https://right.test:{port}/a", places=PUBLIC) == b"{}"
            with pytest.raises(BadTemplate, match="no TLS connection with its server that can be trusted"):
                read_listed(f"https://wrong.test:{port}/a", places=PUBLIC)

    def test_a_name_that_does_not_resolve_may_come_back(self) -> None:
        """As for every address."""
        with pytest.raises(PlatformUnavailable):
            read_listed("http://no-such-host.invalid/a", places=PUBLIC)


@pytest.mark.parametrize("path", ["s3://bucket/a", "gs://bucket/a", "gcs://bucket/a", "ftp://host/a"])
def test_object_stores_are_read_with_the_agents_credentials_only_if_listed(
    path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An author has none of these rights."""
    monkeypatch.setattr(locations, "read", lambda _: b"{}")
    with pytest.raises(BadTemplate, match="does not read job templates from there"):
        read_listed(path, places=PUBLIC)
    assert read_listed("s3://bucket/jobs/a", places=["s3://bucket/jobs"]) == b"{}"

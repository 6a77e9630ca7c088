"""Deadlines for whole answers on real connections, plain and with TLS, and what a Date header says of a clock."""

import time
from collections.abc import Callable, Iterator
from contextlib import closing
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Final

import pytest
import urllib3

from prefect.agent.adapters.answers import timed, within
from prefect.agent.adapters.trust import trusting
from support.pki import Pki
from support.stub_server import drips, says, stub_api_server
from support.tls_answers import needs_openssl
from support.tls_server import TlsServer

NOW: Final = 1_800_000_000.0


class _Drip(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        """Send a byte now and then, until the client goes."""
        try:
            self.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n")
            while True:
                self.wfile.write(b" ")
                time.sleep(0.02)
        except OSError:
            return

    def log_message(self, *_words: object) -> None:
        """Say nothing."""


@pytest.fixture
def pool() -> Iterator[urllib3.PoolManager]:
    """Connections that keep deadlines."""
    pool = timed(timed(urllib3.PoolManager()))
    yield pool
    pool.clear()


def late(ask: Callable[[], object]) -> float:
    """Seconds until *ask* is given up."""
    began = time.monotonic()
    with pytest.raises((urllib3.exceptions.TimeoutError, TimeoutError)):
        ask()
    return time.monotonic() - began


class TestDeadlines:
    """An answer that comes byte by byte."""

    def test_head_and_body_have_their_own(self, pool: urllib3.PoolManager) -> None:
        """A limit for the head does not hold for the body; that of the whole holds for both."""
        with stub_api_server() as server:
            server.answers["GET /head"] = drips(head=True, piece=b"x")
            server.answers["GET /body"] = drips()

            def ask(path: str, head: float | None, whole: float | None, size: int = 100_000) -> bytes:
                with within(head=head, whole=whole):
                    answer = pool.request("GET", server.address + path, preload_content=False, retries=False, timeout=9)
                try:
                    return answer.read(size)  # outside: the answer keeps its deadline
                finally:
                    answer.close()

            assert 0.2 < late(lambda: ask("/head", 0.3, None)) < 5
            assert 0.2 < late(lambda: ask("/head", None, 0.3)) < 5
            assert 0.2 < late(lambda: ask("/body", None, 0.3)) < 5
            assert ask("/body", 1.0, None, size=75) == b" " * 75

    def test_the_nearer_one_counts(self, pool: urllib3.PoolManager) -> None:
        """Whichever is set first; after it there is none."""
        with stub_api_server() as server:
            server.answers["GET /body"] = drips()
            server.answers["GET /good"] = says({})

            def ask(path: str) -> object:
                return pool.request("GET", server.address + path, retries=False, timeout=9).data

            for outer, inner in ((0.3, 60.0), (60.0, 0.3)):
                with within(head=None, whole=outer), within(head=None, whole=inner):
                    assert late(lambda: ask("/body")) < 5
            assert ask("/good") == b"{}"

    @needs_openssl
    def test_with_tls(self, tmp_path: Path) -> None:
        """Bytes that come in records of their own."""
        pki = Pki(tmp_path / "pki")
        with closing(TlsServer(_Drip, pki.server("server"))) as server:
            pool = timed(trusting(urllib3.PoolManager(ca_certs=str(pki.authority.certificate))))
            url = f"https://127.0.0.1:{server.server_address[1]}"
            with within(head=None, whole=0.4):
                assert late(lambda: pool.request("GET", url, retries=False, timeout=9)) < 5
            pool.clear()

"""Health over HTTP: what is served, to how many, and for how long (promises P4 and P6)."""

import json
import socket
import threading
import time
from collections.abc import Generator
from contextlib import ExitStack

import pytest

from prefect.agent.domain.addresses import is_loopback_address
from prefect.agent.domain.errors import ConfigurationError
from prefect.agent.domain.model.pipeline import LEAST
from prefect.agent.entrypoints.runtime import health_server
from prefect.agent.entrypoints.runtime.health_server import LONGEST_HEAD, MOST_CONNECTIONS, SECONDS, HealthServer
from prefect.agent.entrypoints.runtime.site import JSON, Site, health_pages
from support.raw_http import read
from support.waiting import wait_until
from support.watched import Watched


@pytest.fixture
def agent() -> Watched:
    """An agent that has just started."""
    return Watched()


# --- over HTTP ---


@pytest.fixture
def served(agent: Watched) -> Generator[Watched]:
    """The agent with its health served at a free port."""
    server = HealthServer(Site(pages=health_pages(agent.health)), lambda: agent.pokes.append("poke"))
    url = server.start("http://127.0.0.1:0")
    agent.address = url.removeprefix("http://")
    yield agent
    server.stop()


def test_health_over_http(served: Watched) -> None:
    """200 and the facts as long as it is well, 503 after that."""
    status, body = served.ask("GET", "/api/health")
    assert (status, json.loads(body)["status"]) == (200, "healthy")

    served.clock.seconds += LEAST + 1
    status, body = served.ask("GET", "/api/health?verbose=1")
    assert (status, json.loads(body)["status"]) == (503, "unhealthy")


def test_poke_over_http(served: Watched) -> None:
    """Ends the present pause; the answer is empty ."""
    assert served.ask("GET", "/api/poke") == (200, "")
    assert served.pokes == ["poke"]


@pytest.mark.parametrize("path", ["/", "/api", "/api/health/x", "/api/poke2"])
def test_other_paths_are_not_there(served: Watched, path: str) -> None:
    """404, and nothing happens."""
    assert served.ask("GET", path)[0] == 404
    assert served.pokes == []


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_poke_by_get_and_post(served: Watched, method: str) -> None:
    """As 1.x has it, and as a request that does something should be."""
    assert served.ask(method, "/api/poke")[0] == 200
    assert served.pokes == ["poke"]


@pytest.mark.parametrize(
    ("method", "path"),
    [("POST", "/api/health"), ("PUT", "/api/poke"), ("DELETE", "/api/poke"), ("PATCH", "/api/poke")],
)
def test_other_methods_are_refused(served: Watched, method: str, path: str) -> None:
    """405, and nothing happens."""
    assert served.ask(method, path)[0] == 405
    assert served.pokes == []


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (b"GET /nowhere HTTP/1.0\r\n\r\n", 404),
        (b"DELETE /livez HTTP/1.0\r\n\r\n", 405),
        (b"OPTIONS /livez HTTP/1.0\r\n\r\n", 405),
        (b"BREW /livez HTTP/1.0\r\n\r\n", 501),
        (b"GET /livez HTTP/9.9\r\n\r\n", 505),
        (b"GET /livez HTTP/x\r\n\r\n", 400),
        (b"GET /livez HTTP/1.0\r\nX: " + b"x" * LONGEST_HEAD + b"\r\n\r\n", 431),
    ],
    ids=["path", "method", "options", "unknown-method", "version", "no-version", "long-head"],
)
def test_every_error_is_json(served: Watched, request_: bytes, status: int) -> None:
    """What keeps a request from being served, as ``error``."""
    with ExitStack() as stack:
        client = silent(served, stack)
        client.sendall(request_)
        found = read(client)

    assert (found.status, found.headers["content-type"]) == (status, JSON)
    assert json.loads(found.body)["error"]
    assert int(found.headers["content-length"]) == len(found.body)


def test_a_head_request_has_no_body(served: Watched) -> None:
    """Status and headers are those of GET, of errors, too."""
    served.clock.seconds += LEAST + 1
    for path, status in (("/api/health", 503), ("/readyz", 503), ("/nowhere", 404)):
        assert served.ask("HEAD", path) == (status, "")
        assert served.ask("GET", path)[0] == status


@pytest.mark.parametrize(
    ("address", "here"),
    [
        ("127.0.0.1", True),
        ("127.9.9.9", True),
        ("::1", True),
        ("::ffff:127.0.0.1", True),
        ("10.0.0.7", False),
        ("::ffff:10.0.0.7", False),
        ("fe80::1%eth0", False),
    ],
)
def test_only_this_machine_may_poke(address: str, here: bool) -> None:
    """By the client's address, in every way that a socket may write it."""
    assert is_loopback_address(address) is here


def silent(served: Watched, stack: ExitStack) -> socket.socket:
    """A connection that says nothing."""
    host, _, port = served.address.partition(":")
    return stack.enter_context(socket.create_connection((host, int(port)), timeout=30))


def test_one_connection_too_many_is_turned_away(served: Watched) -> None:
    """503 and closed at once; when the others have had their time, there is room again."""
    with ExitStack() as stack:
        for _ in range(MOST_CONNECTIONS):
            silent(served, stack)
        turned_away = silent(served, stack)
        found = read(turned_away)
        assert (found.status, found.headers["content-type"]) == (503, JSON)
        assert json.loads(found.body)["error"] == "16 connections are open already: try again"
        assert threads_of_the_server() <= MOST_CONNECTIONS

    wait_until(lambda: threads_of_the_server() == 0)
    assert served.ask("GET", "/api/health")[0] == 200


OTHERS: set[threading.Thread] = set()
"""Threads that were there before a test, such as those of other tests' servers."""


@pytest.fixture(autouse=True)
def _others() -> None:
    OTHERS.clear()
    OTHERS.update(threading.enumerate())


def threads_of_the_server() -> int:
    """How many connections are served now."""
    found = [thread.name for thread in threading.enumerate() if thread not in OTHERS]
    return sum("process_request_thread" in name for name in found)


def test_a_client_that_drips_is_cut_off(served: Watched, monkeypatch: pytest.MonkeyPatch) -> None:
    """The time is for the whole request, however often a byte comes."""
    monkeypatch.setattr(health_server, "SECONDS", 0.3)
    with ExitStack() as stack:
        began = time.monotonic()  # before the server can count
        dripping = silent(served, stack)
        dripping.settimeout(0.02)

        def drips() -> bool:
            try:
                dripping.send(b"x")
                return dripping.recv(100) == b""
            except TimeoutError:
                return False
            except OSError:
                return True

        wait_until(drips, SECONDS)
        assert time.monotonic() - began >= 0.3


def test_a_head_without_end_is_cut_off(served: Watched) -> None:
    """Nothing keeps what a client sends."""
    with ExitStack() as stack:
        talking = silent(served, stack)

        def is_cut_off() -> bool:
            try:
                talking.sendall(b"x" * 4096)
            except OSError:
                return True
            return False

        wait_until(is_cut_off)
    assert served.ask("GET", "/api/health")[0] == 200


def test_a_stopped_server_does_not_listen(agent: Watched) -> None:
    """Stopping may be repeated, and is fine without a start."""
    server = HealthServer(Site(pages=health_pages(agent.health)), lambda: None)
    server.stop()
    port = int(server.start("127.0.0.1:0").rpartition(":")[2])
    server.stop()
    server.stop()

    with socket.socket() as probe:
        assert probe.connect_ex(("127.0.0.1", port)) != 0


@pytest.mark.parametrize(
    "address",
    [
        "http://127.0.0.1",
        "127.0.0.1",
        "http://127.0.0.1:port",
        "http://127.0.0.1:99999",
        "http://[::1",
        "http://0.0.0.256:0",
    ],
)
def test_an_address_that_cannot_be_listened_at_is_refused(agent: Watched, address: str) -> None:
    """A typing error ends the start with a sentence that shows the address."""
    server = HealthServer(Site(pages=health_pages(agent.health)), lambda: None)
    try:
        with pytest.raises(ConfigurationError, match="--agent-address"):
            server.start(address)
    finally:
        server.stop()


def test_a_port_that_is_taken_is_said_so(agent: Watched) -> None:
    """Two agents cannot have the same address."""
    with socket.create_server(("127.0.0.1", 0)) as taken, pytest.raises(ConfigurationError, match="cannot listen"):
        HealthServer(Site(pages=health_pages(agent.health)), lambda: None).start(
            f"http://127.0.0.1:{taken.getsockname()[1]}"
        )


@pytest.mark.parametrize("host", ["\u4e2d" + "x" * 70, "a..b"])
def test_an_address_whose_name_no_host_has_is_refused(agent: Watched, host: str) -> None:
    """Python's own error for it is no OSError."""
    with pytest.raises(ConfigurationError, match="--agent-address"):
        HealthServer(Site(pages=health_pages(agent.health)), lambda: None).start(f"http://{host}:80")

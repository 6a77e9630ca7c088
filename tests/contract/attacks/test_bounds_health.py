"""Attack: hundreds of clients hold connections of the agent's health server, send a byte now and then, or poke it.

Rule: at most 16 connections at once and five seconds for each; the oldest makes room; at most one poke a second.
"""

import http.client
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Final

import attrs
import pytest

from prefect.agent.adapters.fakes import ManualClock
from prefect.agent.entrypoints.runtime import health_server
from prefect.agent.entrypoints.runtime.health import Health
from prefect.agent.entrypoints.runtime.health_server import MOST_CONNECTIONS, HealthServer
from prefect.agent.entrypoints.runtime.site import Site, health_pages
from support.waiting import wait_until

CLIENTS: Final = 500


@attrs.define
class Served:
    """A health server, its address and the pokes that got through."""

    port: int
    pokes: list[float] = attrs.field(factory=list)
    others: set[threading.Thread] = attrs.field(factory=lambda: set(threading.enumerate()))
    """Threads of this process that were there before, such as those of other tests' servers."""

    def threads(self) -> int:
        """Threads that serve a connection now."""
        names = [thread.name for thread in threading.enumerate() if thread not in self.others]
        return sum("process_request_thread" in name for name in names)

    def ask(self, method: str, path: str) -> int:
        """The status of an answer; 0 for none."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        try:
            connection.request(method, path)
            return connection.getresponse().status
        except (OSError, http.client.HTTPException):
            return 0
        finally:
            connection.close()


@pytest.fixture
def served() -> Iterator[Served]:
    """One on loopback."""
    pokes: list[float] = []
    server = HealthServer(Site(pages=health_pages(Health(clock=ManualClock()))), lambda: pokes.append(time.monotonic()))
    url = server.start("http://127.0.0.1:0")
    yield Served(int(url.rpartition(":")[2]), pokes)
    server.stop()


def drip(served: Served, over: threading.Event, most: list[int]) -> None:
    """All clients of the attack: each sends a byte now and then, and comes back when it is cut off."""
    clients: list[socket.socket | None] = [None] * CLIENTS
    with ExitStack() as stack:
        while not over.is_set():
            for number, client in enumerate(clients):
                if over.is_set():
                    return
                try:
                    if client is None:
                        clients[number] = stack.enter_context(socket.create_connection(("127.0.0.1", served.port), 1))
                    else:
                        client.send(b"G")
                except OSError:
                    if client is not None:
                        client.close()
                    clients[number] = None
            most.append(served.threads())


def test_five_hundred_dripping_clients_keep_no_probe_out(served: Served) -> None:
    """Health answers while they drip, with few threads and descriptors; once they are gone all is as before."""
    over, most = threading.Event(), [0]
    attack = threading.Thread(target=drip, args=(served, over, most), daemon=True)
    attack.start()
    try:
        wait_until(lambda: served.threads() >= MOST_CONNECTIONS // 2, 30)
        for _ in range(3):
            wait_until(lambda: served.ask("GET", "/api/health") in {200, 503}, 30)
            wait_until(lambda: served.ask("GET", "/api/none") == 404, 30)
    finally:
        over.set()
        attack.join(60)
    assert not attack.is_alive()
    assert max(most) <= 2 * MOST_CONNECTIONS
    wait_until(lambda: served.threads() == 0, 30)


def test_a_probe_takes_the_place_of_the_oldest_client(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    """All places are taken by clients that say nothing: the next one does not wait for them."""
    with ExitStack() as stack:
        clients = [stack.enter_context(socket.create_connection(("127.0.0.1", served.port), 5)) for _ in range(16)]
        wait_until(lambda: served.threads() == len(clients) == MOST_CONNECTIONS, 30)
        monkeypatch.setattr(health_server, "YOUNG", 0.0)
        assert served.ask("GET", "/api/none") == 404
        clients[0].settimeout(30)
        assert clients[0].recv(1) == b""
    wait_until(lambda: served.threads() == 0, 30)


def test_clients_that_stay_hold_no_descriptors(served: Served) -> None:
    """Those beyond the sixteen are closed by the server at once, those within after their time."""
    own = Path("/proc/self/fd")
    if not own.is_dir():
        pytest.skip("needs /proc")
    before = len(list(own.iterdir()))
    with ExitStack() as stack:
        for _ in range(100):
            with suppress(OSError):
                stack.enter_context(socket.create_connection(("127.0.0.1", served.port), 5))
        wait_until(lambda: len(list(own.iterdir())) - before <= 100 + 2 * MOST_CONNECTIONS, 30)
    wait_until(lambda: served.threads() == 0, 30)


def test_pokes_come_once_a_second(served: Served) -> None:
    """However many are asked for; the last one is not lost."""
    began = time.monotonic()
    assert {served.ask(method, "/api/poke") for _ in range(50) for method in ("GET", "POST")} == {200}
    took = time.monotonic() - began
    wait_until(lambda: len(served.pokes) >= 2, 10)
    assert len(served.pokes) <= 2 + took

"""How the agent is, and how it is told over HTTP (promise P4)."""

import http.client
import json
import socket
from collections.abc import Generator
from typing import Any

import attrs
import pytest

from prefect.agent.domain.errors import ConfigurationError
from prefect.agent.entrypoints.health import STALE_AFTER, WATCHED, Health, HealthServer
from prefect.agent.ports import events
from prefect.agent.ports.events import Event
from unit.builders import HandClock


@attrs.define
class Watched:
    """An agent's health under a clock that is moved by hand."""

    clock: HandClock = attrs.field(factory=HandClock)
    health: Health = attrs.field(init=False)
    pokes: list[str] = attrs.field(factory=list)
    address: str = ""

    def __attrs_post_init__(self) -> None:
        self.health = Health(clock=self.clock)

    def hear(self, name: str, message: str = "m") -> None:
        """Something happened."""
        self.health.take(Event(name=name, message=message))

    def ask(self, method: str, path: str) -> tuple[int, str]:
        """Status and body of one request."""
        connection = http.client.HTTPConnection(self.address, timeout=60)
        try:
            connection.request(method, path)
            answer = connection.getresponse()
            return answer.status, answer.read().decode()
        finally:
            connection.close()

    def facts(self) -> dict[str, Any]:
        """The facts of the report."""
        return self.health.report()[1]


@pytest.fixture
def agent() -> Watched:
    """An agent that has just started."""
    return Watched()


def test_an_agent_that_just_started_is_well(agent: Watched) -> None:
    """It has its time to come to a first poll; nothing has happened yet."""
    healthy, facts = agent.health.report()

    assert healthy
    assert facts["status"] == "healthy"
    assert {facts[name] for name in WATCHED.values()} == {None}
    assert facts["trouble"] is None


def test_an_agent_that_never_polls_gets_unwell(agent: Watched) -> None:
    """Never silently idle."""
    agent.clock.seconds += STALE_AFTER
    assert agent.health.report()[0]

    agent.clock.seconds += 0.1
    assert not agent.health.report()[0]
    assert agent.facts()["status"] == "unhealthy"


def test_a_good_poll_makes_it_well_again(agent: Watched) -> None:
    """Age counts from the last good poll, and earlier trouble is over."""
    agent.clock.seconds += STALE_AFTER * 2
    agent.hear(events.CLOUD_TROUBLE, "the Cloud is away")
    assert agent.facts()["trouble"] == "the Cloud is away"

    agent.hear(events.POLLED)

    assert agent.health.report()[0]
    assert agent.facts()["trouble"] is None
    assert agent.facts()["seconds_since_good_poll"] == 0


@pytest.mark.parametrize("name", [events.CLAIMED, events.SWEPT, events.REPORTED, events.UNIT_CREATED])
def test_other_good_news_do_not_stand_for_polls(agent: Watched, name: str) -> None:
    """An agent that sweeps but does not poll is unwell."""
    agent.clock.seconds += STALE_AFTER + 1
    agent.hear(name)

    assert not agent.health.report()[0]
    assert agent.facts()[WATCHED[name]] is not None


@pytest.mark.parametrize("name", [events.CLOUD_TROUBLE, events.PLATFORM_TROUBLE, events.BUG])
def test_trouble_is_shown(agent: Watched, name: str) -> None:
    """The last thing that went wrong, in words; it is no ill health by itself."""
    agent.hear(name, "something")

    healthy, facts = agent.health.report()
    assert (healthy, facts["trouble"]) == (True, "something")


def test_the_facts_are_json(agent: Watched) -> None:
    """Times as text, with their zone."""
    agent.hear(events.POLLED)

    assert json.loads(json.dumps(agent.facts()))["last_poll"].endswith("+00:00")


# --- over HTTP ---


@pytest.fixture
def served(agent: Watched) -> Generator[Watched]:
    """The agent with its health served at a free port."""
    server = HealthServer(agent.health, lambda: agent.pokes.append("poke"))
    url = server.start("http://127.0.0.1:0")
    agent.address = url.removeprefix("http://")
    yield agent
    server.stop()


def test_health_over_http(served: Watched) -> None:
    """200 and the facts as long as it is well, 503 after that."""
    status, body = served.ask("GET", "/api/health")
    assert (status, json.loads(body)["status"]) == (200, "healthy")

    served.clock.seconds += STALE_AFTER + 1
    status, body = served.ask("GET", "/api/health?verbose=1")
    assert (status, json.loads(body)["status"]) == (503, "unhealthy")


def test_poke_over_http(served: Watched) -> None:
    """Ends the present pause; the answer is empty (protocol section 10)."""
    assert served.ask("GET", "/api/poke") == (200, "")
    assert served.pokes == ["poke"]


@pytest.mark.parametrize("path", ["/", "/api", "/api/health/x", "/api/poke2"])
def test_other_paths_are_not_there(served: Watched, path: str) -> None:
    """404, and nothing happens."""
    assert served.ask("GET", path)[0] == 404
    assert served.pokes == []


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH"])
def test_other_methods_are_refused(served: Watched, method: str) -> None:
    """405: a form on some page must not be able to poke."""
    assert served.ask(method, "/api/poke")[0] == 405
    assert served.pokes == []


def test_a_stopped_server_does_not_listen(agent: Watched) -> None:
    """Stopping may be repeated, and is fine without a start."""
    server = HealthServer(agent.health, lambda: None)
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
    server = HealthServer(agent.health, lambda: None)
    try:
        with pytest.raises(ConfigurationError, match="--agent-address"):
            server.start(address)
    finally:
        server.stop()


def test_a_port_that_is_taken_is_said_so(agent: Watched) -> None:
    """Two agents cannot have the same address."""
    with socket.create_server(("127.0.0.1", 0)) as taken, pytest.raises(ConfigurationError, match="cannot listen"):
        HealthServer(agent.health, lambda: None).start(f"http://127.0.0.1:{taken.getsockname()[1]}")

"""How the agent is, and how that is served over HTTP (promise P4)."""

import http.client
import json
import socket
import threading
import time
from collections.abc import Generator
from contextlib import ExitStack
from typing import Any

import attrs
import pytest

from prefect.agent.domain.addresses import is_loopback_address
from prefect.agent.domain.errors import ConfigurationError
from prefect.agent.domain.model.pipeline import LEAST
from prefect.agent.entrypoints.runtime import health_server
from prefect.agent.entrypoints.runtime.health import SUCCESSES, Health
from prefect.agent.entrypoints.runtime.health_server import LONGEST_HEAD, MOST_CONNECTIONS, SECONDS, HealthServer
from prefect.agent.entrypoints.runtime.site import JSON, Site, health_pages
from prefect.agent.ports import events
from prefect.agent.ports.events import Event
from support.builders import HandClock
from support.raw_http import read
from support.waiting import wait_until


@attrs.define
class Watched:
    """An agent's health under a clock that is moved by hand."""

    clock: HandClock = attrs.field(factory=HandClock)
    health: Health = attrs.field(init=False)
    pokes: list[str] = attrs.field(factory=list)
    address: str = ""

    def __attrs_post_init__(self) -> None:
        self.health = Health(clock=self.clock)

    def hear(self, name: str, message: str = "m", **fields: Any) -> None:
        """Something happened."""
        self.health.take(Event(name=name, message=message, fields=fields))

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
    assert {facts[f"last_{step}"] for step in SUCCESSES.values()} == {None}
    assert facts["trouble"] is None


def test_an_agent_that_never_polls_gets_unwell(agent: Watched) -> None:
    """Never silently idle."""
    agent.clock.seconds += LEAST
    assert agent.health.report()[0]

    agent.clock.seconds += 0.1
    assert not agent.health.report()[0]
    assert agent.facts()["status"] == "unhealthy"


def test_a_good_poll_makes_it_well_again(agent: Watched) -> None:
    """Age counts from the last good poll, and earlier trouble is over."""
    agent.clock.seconds += LEAST * 2
    agent.hear(events.CLOUD_TROUBLE, "the Cloud is away")
    assert agent.facts()["trouble"] == "the Cloud is away"

    for name in (events.SWEPT, events.WATCHED, events.POLLED):
        agent.hear(name)

    assert agent.health.report()[0]
    assert agent.facts()["trouble"] is None
    assert agent.facts()["seconds_since_good_poll"] == 0


@pytest.mark.parametrize("name", [events.CLAIMED, events.SWEPT, events.REPORTED, events.UNIT_CREATED])
def test_other_good_news_do_not_stand_for_polls(agent: Watched, name: str) -> None:
    """An agent that sweeps but does not poll is unwell."""
    agent.clock.seconds += LEAST + 1
    agent.hear(name)

    assert not agent.health.report()[0]
    assert agent.facts()[f"last_{SUCCESSES[name]}"] is not None


def work_for(agent: Watched, seconds: float, *names: str) -> None:
    """Let time pass in which these events go on happening."""
    for _ in range(int(seconds // 10)):
        agent.clock.seconds += 10
        for name in names:
            agent.hear(name)


@pytest.mark.parametrize(
    ("step", "others"),
    [
        ("watch", [events.POLLED, events.SWEPT]),
        ("sweep", [events.POLLED, events.WATCHED]),
        ("poll", [events.SWEPT, events.WATCHED]),
    ],
)
def test_a_step_that_stays_away_makes_the_agent_unwell(agent: Watched, step: str, others: list[str]) -> None:
    """However well the others go. Before, an agent without a watch for 18 minutes was healthy."""
    work_for(agent, 50, *others)
    assert agent.health.report()[0]

    work_for(agent, 200, *others)

    healthy, facts = agent.health.report()
    assert not healthy
    assert facts["reason"].startswith(f"no {step} has gone well for ")


@pytest.mark.parametrize(
    ("step", "failure", "success"),
    [
        ("claim", Event(name=events.CLOUD_TROUBLE, message="503", fields={"loop": "claim"}), events.CLAIMED),
        ("create", Event(name=events.UNIT_RETRIED, message="quota"), events.UNIT_CREATED),
        ("report", Event(name=events.CLOUD_TROUBLE, message="503", fields={"loop": "report"}), events.REPORTED),
    ],
)
def test_a_step_that_goes_on_failing_makes_the_agent_unwell(
    agent: Watched, step: str, failure: Event, success: str
) -> None:
    """With what was said last; a success mends it."""
    well = [events.POLLED, events.SWEPT, events.WATCHED]
    for _ in range(32):
        work_for(agent, 10, *well)
        agent.health.take(failure)

    assert agent.facts()["reason"].startswith(f"no {step} has gone well for ")
    assert agent.facts()["reason"].endswith(failure.message)
    agent.hear(success)
    assert agent.health.report()[0]


def test_a_step_that_is_not_tried_any_more_does_not_fail(agent: Watched) -> None:
    """Another agent may have started the flow run meanwhile."""
    well = [events.POLLED, events.SWEPT, events.WATCHED]
    work_for(agent, 10, *well)
    agent.hear(events.UNIT_RETRIED)

    work_for(agent, 400, *well)

    assert agent.health.report()[0]


@pytest.mark.parametrize("failing", [False, True])
def test_a_stopping_agent_polls_and_sweeps_no_more(agent: Watched, *, failing: bool) -> None:
    """It is well unless what it finishes goes on failing; it is not ready, and a restart would not help."""
    agent.health.stopping = True
    for _ in range(800):
        agent.clock.seconds += 1
        if failing:
            agent.hear(events.UNIT_RETRIED, "no image")

    healthy, facts = agent.health.report()

    assert (healthy, facts["status"]) == ((False, "unhealthy") if failing else (True, "stopping"))
    assert not agent.health.is_ready
    assert agent.health.lives


def test_a_paused_agent_is_well_and_not_ready(agent: Watched) -> None:
    """It does not poll, on purpose."""
    agent.health.paused = True
    work_for(agent, 120, events.SWEPT, events.WATCHED)

    healthy, facts = agent.health.report()

    assert (healthy, facts["status"], agent.health.is_ready) == (True, "paused", False)


@pytest.mark.parametrize("name", [events.CLOUD_TROUBLE, events.PLATFORM_TROUBLE, events.BUG])
def test_a_problem_is_shown(agent: Watched, name: str) -> None:
    """The last thing that went wrong, in words; it is no ill health by itself."""
    agent.hear(name, "something")

    healthy, facts = agent.health.report()
    assert (healthy, facts["trouble"]) == (True, "something")


def test_the_facts_are_json(agent: Watched) -> None:
    """Times as text, with their zone."""
    agent.hear(events.POLLED)

    assert json.loads(json.dumps(agent.facts()))["last_poll"].endswith("+00:00")


def test_an_agent_that_starts_is_unwell_with_the_reason(agent: Watched) -> None:
    """503 "starting" until it has started; then it has its time to come to a first poll."""
    agent.health.start_up("the agent starts")
    assert (agent.health.report()[0], agent.facts()["status"]) == (False, "starting")

    agent.hear(events.STARTING, "the Cloud is away")
    agent.clock.seconds += LEAST * 2
    assert agent.facts()["trouble"] == "the Cloud is away"
    assert agent.health.lives

    agent.hear(events.AGENT_STARTED)
    assert (agent.health.report()[0], agent.facts()["status"]) == (True, "healthy")


@pytest.mark.parametrize("good", [events.KEY_ACCEPTED, events.POLLED])
def test_a_refused_key_makes_it_unwell_at_once(agent: Watched, good: str) -> None:
    """With the reason, until the key is accepted; a service manager is not to restart it for that."""
    agent.hear(events.POLLED)
    agent.hear(events.KEY_REFUSED, "no such key")

    assert not agent.health.report()[0]
    assert agent.facts()["trouble"] == "no such key"
    agent.clock.seconds += LEAST * 2
    assert agent.health.lives

    agent.hear(good)
    agent.hear(events.POLLED)
    assert agent.health.report()[0]


def test_an_agent_at_its_limit_is_busy_not_unwell(agent: Watched) -> None:
    """It does not ask, since there is no room."""
    for _ in range(10):
        agent.clock.seconds += LEAST / 2
        agent.hear(events.POLLED, busy=True)
        agent.hear(events.SWEPT)
        agent.hear(events.WATCHED)

    assert agent.health.report()[0]
    assert agent.facts()["busy"] is True

    agent.hear(events.POLLED)
    assert agent.facts()["busy"] is False


def test_a_busy_agent_still_shows_its_problem(agent: Watched) -> None:
    """A poll that did not ask proves nothing about the Cloud."""
    agent.hear(events.KEY_REFUSED, "no such key")
    agent.hear(events.POLLED, busy=True)

    assert not agent.health.report()[0]
    assert agent.facts()["trouble"] == "no such key"


def test_one_loop_that_goes_on_does_not_hide_another(agent: Watched) -> None:
    """Each stall has its own end."""
    agent.hear(events.STALLED, "sweep stands", loop="sweep")
    agent.hear(events.STALLED, "report stands", loop="report")
    agent.hear(events.RESUMED, loop="sweep")

    assert agent.facts()["trouble"] == "report stands"
    assert not agent.health.report()[0]
    assert not agent.health.lives


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

"""Requests that wait for a flow run (RFC 7240 section 4.3): over HTTP, by the real adapter, and their words."""

import socket
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any, Final

import attrs
import pytest
import requests
from starlette.types import Receive

from prefect.agent.adapters.graphql import GraphQLCloudApi
from prefect.agent.adapters.system import SystemClock
from prefect.agent.domain.times import iso
from prefect.agent.entrypoints.server.graphql.answers import ApiAnswer
from prefect.agent.entrypoints.server.http import long_poll as patience
from prefect.agent.entrypoints.server.http.long_poll import LONGEST, RESERVED, WaitingRequests, preferred
from prefect.agent.entrypoints.server.testing import running_server
from support.stub_cloud import running_stub, says
from support.waiting import wait_until

QUEUE: Final = "mutation($input: get_runs_in_queue_input!) { get_runs_in_queue(input: $input) { flow_run_ids } }"
FLOW: Final[dict[str, Any]] = {
    "name": "flow",
    "tasks": [],
    "edges": [],
    "storage": {"type": "Local"},
    "run_config": {"type": "UniversalRun", "labels": []},
    "__version__": "1.4.1",
}
LONG: Final = 50
"""Seconds that a request would wait which is to be answered before."""


@attrs.define
class Cloud:
    """An embedded Cloud with a flow, and people who ask it."""

    url: str
    people: ThreadPoolExecutor
    waiters: list[float]
    tenant_id: str = ""
    flow_id: str = ""

    def ask(self, document: str, given: Any = None, **headers: str) -> requests.Response:
        """Send one document."""
        body = {"query": document, "variables": {"input": given} if given is not None else None}
        return requests.post(self.url, json=body, headers=headers, timeout=LONG + 60)

    def change(self, name: str, /, **given: Any) -> str:
        """Send one mutation; the id it answers."""
        document = f"mutation($input: {name}_input!) {{ {name}(input: $input) {{ id }} }}"
        return str(self.ask(document, given).json()["data"][name]["id"])

    def run(self, **given: Any) -> str:
        """A new flow run."""
        return self.change("create_flow_run", flow_id=self.flow_id, **given)

    def queue(self, wait: float | None, **given: Any) -> requests.Response:
        """Ask for ready runs."""
        headers = {} if wait is None else {"Prefer": f"wait={wait}"}
        return self.ask(QUEUE, {"tenant_id": self.tenant_id, **given}, **headers)

    def waiting(self, **given: Any) -> "Future[requests.Response]":
        """Somebody who asks and waits: nothing that happens from now on is missed."""
        before = len(self.waiters)
        answer = self.people.submit(self.queue, LONG, **given)
        wait_until(lambda: len(self.waiters) > before, what="somebody waits")
        return answer


@pytest.fixture
def waiters(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """How long each request would wait that has begun to."""
    begun: list[float] = []
    real = WaitingRequests.wait

    async def wait(
        room: WaitingRequests, seconds: float, ask: Callable[[], ApiAnswer], receive: Receive
    ) -> ApiAnswer | None:
        begun.append(seconds)
        return await real(room, seconds, ask, receive)

    monkeypatch.setattr(WaitingRequests, "wait", wait)
    return begun


@pytest.fixture
def cloud(tmp_path: Path, waiters: list[float]) -> Iterator[Cloud]:
    """One without runs."""
    with running_server(tmp_path / "cloud.db") as url, ThreadPoolExecutor(8) as people:
        cloud = Cloud(url, people, waiters)
        cloud.tenant_id = cloud.ask("query { tenant { id } }").json()["data"]["tenant"][0]["id"]
        project = cloud.change("create_project", name="p")
        cloud.flow_id = cloud.change("create_flow", project_id=project, serialized_flow=FLOW)
        yield cloud


def ids(response: requests.Response) -> list[str]:
    """Of the runs in an answer."""
    found: list[str] = response.json()["data"]["get_runs_in_queue"]["flow_run_ids"]
    return found


def test_who_waits_hears_of_a_run_at_once(cloud: Cloud) -> None:
    """And not after the time that it would wait."""
    answer = cloud.waiting()
    run = cloud.run()
    assert ids(answer.result(20)) == [run]
    assert answer.result().headers["Preference-Applied"] == "wait"


def test_who_does_not_wait_is_answered_as_ever(cloud: Cloud) -> None:
    """Prefect's own agents."""
    answer = cloud.queue(None)
    assert ids(answer) == []
    assert "Preference-Applied" not in answer.headers


def test_after_its_time_the_answer_is_that_there_is_nothing(cloud: Cloud) -> None:
    """Not before."""
    answer = cloud.queue(1)
    assert ids(answer) == []
    assert answer.elapsed >= timedelta(seconds=1)


def test_what_is_there_is_not_waited_for(cloud: Cloud) -> None:
    """Whoever would wait."""
    run = cloud.run()
    answer = cloud.queue(LONG)
    assert ids(answer) == [run]
    assert answer.headers["Preference-Applied"] == "wait"


def test_a_run_that_becomes_due(cloud: Cloud) -> None:
    """Nothing changes at that moment but the time."""
    start = datetime.now(timezone.utc) + timedelta(seconds=1.5)
    run = cloud.run(scheduled_start_time=iso(start))
    answer = cloud.queue(LONG)
    assert ids(answer) == [run]
    assert datetime.now(timezone.utc) >= start


def test_a_run_of_other_labels_ends_no_waiting(cloud: Cloud) -> None:
    """It is for somebody else, who gets it."""
    ours, theirs = cloud.waiting(labels=["a"]), cloud.waiting(labels=["b"])
    run = cloud.run(labels=["b"])
    assert ids(theirs.result(20)) == [run]
    assert not ours.done()
    other = cloud.run(labels=["a"])
    assert ids(ours.result(20)) == [other]


def test_of_two_waiting_agents_one_gets_the_run(cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> None:
    """The other would only lose the claim; it waits on, for the next run."""
    monkeypatch.setattr(patience, "RESERVED", 600.0)  # however slowly this test goes on
    both = [cloud.waiting(), cloud.waiting()]
    first = cloud.run()
    wait_until(lambda: any(each.done() for each in both), what="one is told")
    [told] = [each for each in both if each.done()]
    [other] = [each for each in both if each is not told]
    assert ids(told.result()) == [first]
    states = [{"flow_run_id": first, "state": {"type": "Submitted", "message": "claimed"}}]
    document = "mutation($input: set_flow_run_states_input!) { set_flow_run_states(input: $input) { states { id } } }"
    assert "errors" not in cloud.ask(document, {"states": states}).json()
    second = cloud.run()
    assert ids(other.result(20)) == [second]


def test_a_run_that_nobody_takes_is_announced_again(cloud: Cloud) -> None:
    """Whoever was told first may have died."""
    both = [cloud.waiting(), cloud.waiting()]
    run = cloud.run()
    assert [ids(each.result(RESERVED + 20)) for each in both] == [[run], [run]]


def test_a_server_that_stops_keeps_nobody(tmp_path: Path, waiters: list[float]) -> None:
    """Who waits is answered, and the server has ended before long."""
    before = set(threading.enumerate())
    with ThreadPoolExecutor(1) as people:
        with running_server(tmp_path / "cloud.db") as url:
            cloud = Cloud(url, people, waiters)
            cloud.tenant_id = cloud.ask("query { tenant { id } }").json()["data"]["tenant"][0]["id"]
            answer = cloud.waiting()
        assert ids(answer.result(20)) == []
    assert "embedded-cloud" not in {thread.name for thread in threading.enumerate() if thread not in before}


def test_an_agent_that_goes_away_gets_no_run(cloud: Cloud) -> None:
    """A run that was kept for somebody who has gone would start late."""
    body = b'{"query": "mutation { get_runs_in_queue(input: {tenant_id: \\"%s\\"}) { flow_run_ids } }"}'
    content = body % cloud.tenant_id.encode()
    address = cloud.url.removeprefix("http://").split(":")
    with socket.create_connection((address[0], int(address[1]))) as gone:
        kind = f"Content-Type: application/json\r\nContent-Length: {len(content)}"
        head = f"POST / HTTP/1.1\r\nHost: localhost\r\nPrefer: wait={LONG}\r\n{kind}\r\n\r\n"
        gone.sendall(head.encode() + content)
        wait_until(lambda: cloud.waiters, what="it waits")
    stays = cloud.waiting()
    run = cloud.run()
    assert ids(stays.result(20)) == [run]


def test_who_may_not_ask_need_not_wait(tmp_path: Path, waiters: list[float]) -> None:
    """An error is an answer."""
    with running_server(tmp_path / "cloud.db", keys=frozenset({"key"})) as url, ThreadPoolExecutor(1) as people:
        cloud = Cloud(url, people, waiters, tenant_id="x")
        answer = cloud.queue(LONG).json()
        assert answer["errors"][0]["extensions"]["code"] == "UNAUTHENTICATED"
    assert waiters == []


# --- the adapter ---


def adapter(url: str) -> GraphQLCloudApi:
    """Connected."""
    api = GraphQLCloudApi(url, clock=SystemClock())
    api.connect()
    return api


def ready_runs(api: GraphQLCloudApi, wait: float = 0.0) -> Callable[[], list[str]]:
    """What it finds."""
    soon = datetime.now(timezone.utc) + timedelta(minutes=10)
    return lambda: [run.id for run in api.ready_flow_runs(labels=[], before=soon, limit=5, wait=wait)]


def test_the_adapter_learns_that_this_cloud_waits(cloud: Cloud) -> None:
    """By its first answer; then it waits as long as it is told to."""
    api = adapter(cloud.url)
    before = api.waits
    assert ready_runs(api)() == []
    assert (before, api.waits) == (False, True)
    found = cloud.people.submit(ready_runs(api, LONG))
    run = cloud.run()
    assert found.result(20) == [run]
    api.close()


def test_the_adapter_learns_that_another_cloud_does_not() -> None:
    """Prefect's own never says that it does."""
    with running_stub() as stub:
        stub.answers(says(data={"tenant": [{"id": "t"}], "get_runs_in_queue": {"flow_run_ids": []}}))
        api = adapter(stub.url)
        assert ready_runs(api, 7.2)() == []
        assert not api.waits
        assert stub.asked[-1].headers["prefer"] == "wait=8"
        api.close()


# --- the words ---


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("wait=10", 10),
        ("respond-async, wait=10", 10),
        ("respond-async; x=1, WAIT = 10", 10),
        ('wait="10"', 10),
        ("wait=0", 0),
        ("wait=100000", LONGEST),
        ("", None),
        ("wait", None),
        ("wait=-1", None),
        ("wait=x", None),
        ("await=10", None),
        ("wait=99999999999999", None),
    ],
)
def test_what_is_preferred(header: str, seconds: float | None) -> None:
    """What makes no sense is no preference."""
    assert preferred({"prefer": header}) == seconds
    assert preferred({}) is None

"""The GraphQL adapter against servers that misbehave: whatever comes becomes one of the port's errors."""

import contextlib
import json
import socket
import threading
from collections.abc import Callable, Generator
from datetime import timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import Any, Final

import pytest

from prefect.agent.adapters.graphql import GraphQLCloudApi
from prefect.agent.adapters.system import SystemClock
from prefect.agent.domain.errors import CloudError, CloudUnavailable, OutcomeUnknown, Unauthorised
from prefect.agent.domain.model.ends import End, EndKind
from prefect.agent.domain.model.flow_runs import FlowRunId
from prefect.agent.ports.cloud_api import AgentIdentity, CloudApi, LogLine
from support.stub_cloud import ROW, RUN, Reply, Stub, a_request, running_stub, says

KEY: Final = "pcu_THE-SECRET-KEY"
END: Final = End(run_id=RUN, unit="u", kind=EndKind.FAILED, message="gone")
READS: Final[dict[str, Callable[[CloudApi], object]]] = {
    "connect": lambda cloud: cloud.connect(),
    "register": lambda cloud: cloud.register(AgentIdentity(name="a", type="DockerAgent")),
    "ready_flow_runs": lambda cloud: cloud.ready_flow_runs(labels=(), before=SystemClock().now(), limit=5),
    "flow_runs": lambda cloud: cloud.flow_runs([RUN]),
    "claimed_flow_runs": lambda cloud: cloud.claimed_flow_runs(platform="p"),
    "end": lambda cloud: cloud.end([END]),  # looks first
}
"""Calls whose first request changes nothing that matters."""

CHANGES: Final[dict[str, Callable[[CloudApi], object]]] = {
    "claim": lambda cloud: cloud.claim([a_request()]),
    "write_logs": lambda cloud: cloud.write_logs([LogLine(flow_run_id=RUN, message="m")]),
}
CALLS: Final = {**READS, **CHANGES}

UNANSWERED: Final = {
    "html": Reply(body=b"<html>login</html>", headers={"Content-Type": "text/html"}),
    "cut off": Reply(body=b'{"data": {"flow_run"', missing=50),
    "dropped": Reply(drops=True),
    "not an object": Reply(body=b"[1, 2]"),
    "no data": Reply(body=b"{}"),
    "data of a wrong type": says(data=[1]),
    "not UTF-8": Reply(body=b'{"data": "\xff\xfe"}'),
    "nested without end": Reply(body=b'{"data":' + b"[" * 200_000),
    "500": Reply(500, b"oops"),
    "502": Reply(502, b"<html>bad gateway</html>"),
    "504": Reply(504),
    "500 with JSON": says(500, errors=[{"message": "x", "extensions": {"code": "INTERNAL_SERVER_ERROR"}}]),
    "400": Reply(400, b"<html>"),
    "400 with JSON": says(400, errors=[{"message": "blocked by the BAD_USER_INPUT rule"}]),
    "409": says(409, message="conflict"),
    "422": says(422, errors=[{"message": "unprocessable", "extensions": {"code": "WAF"}}]),
}
"""Answers that say nothing about what became of the request."""

UNTOUCHED: Final = {
    "429": Reply(429),
    "429 with JSON": says(429, errors=[{"message": "rate limit"}]),
    "408": says(408, errors=[{"message": "slow"}]),
    "425": Reply(425),
    "403": Reply(403, b"<html>"),
    "403 with JSON": says(403, errors=[{"message": "UNAUTHENTICATED", "extensions": {"code": "FORBIDDEN"}}]),
    "407": Reply(407),
    "503": Reply(503),
    "404": Reply(404, b"<html>"),
    "301": Reply(301, headers={"Location": "http://elsewhere.test/"}),
    "307": Reply(307, headers={"Location": "http://elsewhere.test/"}),
    "308": Reply(308, headers={"Location": "http://elsewhere.test/"}),
}
"""Answers that say that nothing was changed."""


@pytest.fixture
def cloud(stub: Stub) -> Generator[CloudApi]:
    """A client of it, with a key."""
    api = GraphQLCloudApi(stub.url, clock=SystemClock(), key=KEY)
    yield api
    api.close()


# --- transport ---


@pytest.mark.parametrize("name", READS)
@pytest.mark.parametrize("reply", [*UNANSWERED.values(), *UNTOUCHED.values()], ids=[*UNANSWERED, *UNTOUCHED])
def test_a_read_without_a_useful_answer_may_be_repeated(cloud: CloudApi, stub: Stub, name: str, reply: Reply) -> None:
    """Whatever goes wrong, a request that changes nothing is ``CloudUnavailable``."""
    stub.answers(reply)
    with pytest.raises(CloudUnavailable) as caught:
        READS[name](cloud)
    assert KEY not in str(caught.value)


@pytest.mark.parametrize("name", CHANGES)
@pytest.mark.parametrize("reply", UNANSWERED.values(), ids=UNANSWERED)
def test_a_change_without_a_useful_answer_is_unknown(cloud: CloudApi, stub: Stub, name: str, reply: Reply) -> None:
    """A change may have been carried out after all: 500, 502 and whatever breaks off or makes no sense."""
    change = CHANGES[name]
    stub.answers(reply)
    with pytest.raises(OutcomeUnknown) as caught:
        change(cloud)
    assert KEY not in str(caught.value)


@pytest.mark.parametrize("name", CHANGES)
@pytest.mark.parametrize("reply", UNTOUCHED.values(), ids=UNTOUCHED)
def test_a_change_that_was_not_taken_may_be_repeated(cloud: CloudApi, stub: Stub, name: str, reply: Reply) -> None:
    """Answers by which nothing can have been changed are ``CloudUnavailable``, of changes too; none is followed."""
    stub.answers(reply)
    with pytest.raises(CloudUnavailable):
        CHANGES[name](cloud)
    assert len(stub.asked) == 1


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_the_key_does_not_follow_a_redirect(cloud: CloudApi, stub: Stub, status: int) -> None:
    """A redirect is reported with its target and not followed: the key is for the address that was given."""
    with running_stub(lambda _asked: says(data={"flow_run": [ROW]})) as elsewhere:
        stub.answers(Reply(status, headers={"Location": elsewhere.url}))
        with pytest.raises(CloudUnavailable, match=elsewhere.url):
            cloud.flow_runs([RUN])
        assert elsewhere.asked == []


@pytest.mark.parametrize("name", CALLS)
@pytest.mark.parametrize(
    "reply",
    [
        Reply(401),
        says(401, errors=[{"message": "nope"}]),
        says(errors=[{"message": "x", "extensions": {"code": "UNAUTHENTICATED"}}], data=None),
        says(403, errors=[{"message": "x", "extensions": {"code": "UNAUTHENTICATED"}}], data=None),
        says(500, errors=[{"message": "x", "extensions": {"exception": {"code": "UNAUTHENTICATED"}}}]),
        says(400, errors=[{"message": "Malformed Authorization header"}]),
    ],
)
def test_a_key_that_is_not_accepted(cloud: CloudApi, stub: Stub, name: str, reply: Reply) -> None:
    """However it is said, the key is not accepted; the key itself is not in the text."""
    stub.answers(reply)
    with pytest.raises(Unauthorised) as caught:
        CALLS[name](cloud)
    assert KEY not in str(caught.value)


@pytest.mark.parametrize(
    ("header", "seconds"),
    [("7", 7.0), ("0.5", 0.5), ("0", 0.0), ("-3", None), ("99999999", 60.0), ("soon", None), (None, None)],
)
@pytest.mark.parametrize("status", [408, 425, 429, 503])
def test_how_long_to_wait(cloud: CloudApi, stub: Stub, status: int, header: str | None, seconds: float | None) -> None:
    """``Retry-After`` in seconds is passed on, a minute at most; nonsense leaves the wait to the caller."""
    stub.answers(Reply(status, headers={"Retry-After": header} if header else {}))
    with pytest.raises(CloudUnavailable) as caught:
        cloud.connect()
    assert caught.value.retry_after == seconds


@pytest.mark.parametrize(
    "header", ["nan", "inf", "Wed, 21 Oct 2015 07:28:00 GMT", "1_0", "1e1", "\u00b2", "Wed, 99 Oct 2015"]
)
def test_a_wait_that_makes_no_sense(cloud: CloudApi, stub: Stub, header: str) -> None:
    """No header leads to a wait that never ends or cannot be compared."""
    stub.answers(Reply(429, headers={"Retry-After": header}))
    with pytest.raises(CloudUnavailable) as caught:
        cloud.connect()
    wait = caught.value.retry_after
    assert wait is None


@pytest.mark.parametrize(("ahead", "at_most"), [(20, 20), (7200, 60)])
def test_a_date_to_wait_for(cloud: CloudApi, stub: Stub, ahead: int, at_most: int) -> None:
    """``Retry-After`` may be a date; it is a minute away at most."""
    until = SystemClock().now() + timedelta(seconds=ahead)
    stub.answers(Reply(429, headers={"Retry-After": format_datetime(until, usegmt=True)}))
    with pytest.raises(CloudUnavailable) as caught:
        cloud.connect()
    wait = caught.value.retry_after
    assert wait is not None
    assert 0 < wait <= at_most
    assert wait > at_most - 15


@pytest.mark.parametrize("name", CALLS)
@pytest.mark.parametrize("date", ["Sat, 01 Jan 0101 00:00:01 GMT", "Fri, 31 Dec 9999 23:59:59 GMT"])
def test_a_date_of_another_age_stops_no_call(cloud: CloudApi, stub: Stub, name: str, date: str) -> None:
    """Nothing is reckoned from it: one such answer must not keep the agent from asking ever again."""
    stub.answers(Reply(503, headers={"Date": date}), says(headers={"Date": date}, data={"flow_run": []}))
    with pytest.raises(CloudUnavailable):
        cloud.connect()
    for _ in range(2):
        before = len(stub.asked)
        with contextlib.suppress(CloudError):
            CALLS[name](cloud)
        assert len(stub.asked) > before
        assert abs(cloud.skew) < 1e9


@pytest.mark.parametrize("bad", [{"id": []}, {"id": {"a": 1}}, {"id": None}, {}, [], 5, None, "x"], ids=str)
def test_a_row_that_is_none_harms_no_other(cloud: CloudApi, stub: Stub, bad: object) -> None:
    """Whatever stands where a flow run should be, those beside it are read."""
    queue = {"flow_run_ids": [RUN]}
    stub.script = lambda _asked: says(data={"flow_run": [bad, ROW], "get_runs_in_queue": queue})
    assert [run.id for run in cloud.flow_runs([RUN])] == [RUN]
    assert [run.id for run in cloud.ready_flow_runs(labels=(), before=SystemClock().now(), limit=5)] == [RUN]


def test_no_cookie_is_kept(cloud: CloudApi, stub: Stub) -> None:
    """A Cloud that sets one with each answer would make requests, and the agent, grow without end."""
    stub.answers(says(headers={"Set-Cookie": f"name={'x' * 2000}; Path=/"}, data={"flow_run": []}))
    for _ in range(3):
        cloud.flow_runs([RUN])
    assert all("cookie" not in asked.headers for asked in stub.asked)


@pytest.mark.parametrize("name", CALLS)
def test_a_port_without_a_listener(name: str) -> None:
    """A refused connection was never a request: ``CloudUnavailable``, for changes too."""
    call = CALLS[name]
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))  # no other process can listen there meanwhile
        port = silent.getsockname()[1]
        cloud = GraphQLCloudApi(f"http://127.0.0.1:{port}", clock=SystemClock(), key=KEY)
        with pytest.raises(CloudUnavailable) as caught:
            call(cloud)
    assert KEY not in str(caught.value)
    cloud.close()


def test_a_name_that_does_not_resolve() -> None:
    """An address that does not exist is ``CloudUnavailable``, and named in the text."""
    cloud = GraphQLCloudApi("http://cloud.invalid:1", clock=SystemClock(), key=KEY)
    with pytest.raises(CloudUnavailable, match=r"cloud\.invalid"):
        cloud.claim([a_request()])
    cloud.close()


def test_a_server_that_hangs_up_between_two_requests(cloud: CloudApi, stub: Stub) -> None:
    """A kept-alive connection that the server has closed meanwhile is opened anew for a read, without an error."""
    stub.answers(says(200, {"Connection": "close"}, data={"flow_run": [ROW]}))
    assert [run.id for run in cloud.flow_runs([RUN])] == [RUN]
    assert [run.id for run in cloud.flow_runs([RUN])] == [RUN]


def test_the_caller_decides_about_repeating(cloud: CloudApi, stub: Stub) -> None:
    """The adapter asks once, however temporary the failure is."""
    stub.answers(Reply(503))
    for name in ("connect", "flow_runs"):
        with pytest.raises(CloudUnavailable):
            READS[name](cloud)
    assert len(stub.asked) == 2


# --- headers ---


def test_headers(cloud: CloudApi, stub: Stub) -> None:
    """The key goes with every request; tenant and agent once they are known."""
    stub.answers(says(data={"tenant": [{"id": "t1", "name": "n"}], "register_agent": {"id": "a1"}}))
    assert cloud.connect().id == "t1"
    assert cloud.register(AgentIdentity(name="a", type="DockerAgent", labels=("x",))) == "a1"
    stub.answers(says(data={"get_runs_in_queue": {"flow_run_ids": []}}))
    READS["ready_flow_runs"](cloud)

    first, second, third = (asked.headers for asked in stub.asked)
    assert {asked.headers["authorization"] for asked in stub.asked} == {f"Bearer {KEY}"}
    assert "x-prefect-tenant-id" not in first
    assert second["x-prefect-tenant-id"] == third["x-prefect-tenant-id"] == "t1"
    assert "x-prefect-agent-id" not in second
    assert third["x-prefect-agent-id"] == "a1"
    given = stub.asked[1].variables["input"]
    assert (given["name"], given["type"], given["labels"], given["tenant_id"]) == ("a", "DockerAgent", ["x"], "t1")


def test_the_tenant_of_a_key(stub: Stub) -> None:
    """Prefect Cloud is asked whose the key is, without a tenant header."""
    cloud = GraphQLCloudApi(stub.url, clock=SystemClock(), key=KEY, backend="cloud")
    stub.answers(says(data={"auth_info": {"tenant_id": "t2"}}))
    assert cloud.connect().id == "t2"
    assert "auth_info" in stub.asked[0].query
    assert "x-prefect-tenant-id" not in stub.asked[0].headers
    cloud.close()


@pytest.mark.parametrize("key", [KEY, None])
def test_netrc_is_not_read(stub: Stub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, key: str | None) -> None:
    """Passwords of ``.netrc`` are neither sent nor put in the key's place."""
    netrc = tmp_path / "netrc"
    netrc.write_text("default login a-person password NETRC-SECRET\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))
    stub.answers(says(data={"tenant": [{"id": "t1"}]}))
    cloud = GraphQLCloudApi(stub.url, clock=SystemClock(), key=key)
    cloud.connect()
    cloud.close()

    assert stub.asked[0].headers.get("authorization") == (f"Bearer {key}" if key else None)


def test_an_address_with_a_password_in_it(stub: Stub) -> None:
    """A password in the address is not shown in errors (promise P5)."""
    url = stub.url.replace("http://", "http://a-person:URL-SECRET@")
    cloud = GraphQLCloudApi(url, clock=SystemClock())
    for reply in (Reply(500), Reply(404), Reply(401), Reply(drops=True), says(data={"tenant": []})):
        stub.answers(reply)
        with pytest.raises(CloudError) as caught:
            cloud.connect()
        assert "URL-SECRET" not in str(caught.value)
    cloud.close()


def test_requests_of_threads_do_not_mix(cloud: CloudApi, stub: Stub) -> None:
    """Eight threads on one client each get the answer to their own question."""

    def echo(asked: Any) -> Reply:
        wanted = json.loads(asked.query.partition("_in: ")[2].partition("}")[0].strip())
        return says(data={"flow_run": [{**ROW, "id": wanted[0]}]})

    stub.script = echo
    wrong: list[object] = []

    def ask(number: int) -> None:
        for each in range(20):
            run_id = FlowRunId(f"run-{number}-{each}")
            found = [run.id for run in cloud.flow_runs([run_id])]
            if found != [run_id]:
                wrong.append((run_id, found))

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert wrong == []
    assert len(stub.asked) == 160

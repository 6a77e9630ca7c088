"""Bounds of the GraphQL adapter: time, size, clocks, skipped runs, and what text may hold."""

import json
import socket
import threading
from collections.abc import Callable, Generator
from contextlib import closing, contextmanager, suppress
from datetime import datetime, timedelta
from email.utils import format_datetime
from typing import Final

import pytest

from prefect.agent.adapters.graphql import GraphQLCloudApi, transport
from prefect.agent.adapters.graphql.transport import Transport
from prefect.agent.adapters.system import SystemClock
from prefect.agent.domain.errors import CloudError, CloudMisconfigured, CloudUnavailable, OutcomeUnknown
from prefect.agent.domain.model.flow_runs import FlowRunId
from prefect.agent.ports.cloud_api import CloudApi, LogLine
from support.stub_cloud import CLAIMED, ROW, RUN, Asked, Reply, Stub, a_request, says

# --- time ---

HEAD: Final = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 100000\r\n\r\n"
DRIPS: Final = {
    "head": (b"", b"X-Drip: x\r\n"),
    "body": (HEAD, b" "),
    "chunks": (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"1\r\n \r\n"),
    "failure": (b"HTTP/1.1 500 Oops\r\nContent-Length: 100000\r\n\r\n", b" "),
    "silence": (b"", b""),
}


@contextmanager
def dripping(first: bytes, drop: bytes) -> Generator[str]:
    """Address of a server that answers with *first*, and then with a drop at a time, as long as it is listened to."""
    over = threading.Event()

    def serve() -> None:
        connection, _ = server.accept()
        with connection, suppress(OSError):
            connection.recv(65536)
            connection.sendall(first if first or not drop else b"HTTP/1.1 200 OK\r\n")
            while not over.wait(0.02):
                connection.sendall(drop)

    with closing(socket.create_server(("127.0.0.1", 0))) as server:
        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.getsockname()[1]}"
        finally:
            over.set()
            with suppress(OSError), socket.create_connection(server.getsockname()):
                thread.join(30)


@pytest.mark.parametrize("changes", [False, True])
@pytest.mark.parametrize(("first", "drop"), DRIPS.values(), ids=DRIPS)
def test_a_call_ends_however_slowly_an_answer_drips(
    monkeypatch: pytest.MonkeyPatch, first: bytes, drop: bytes, *, changes: bool
) -> None:
    """A byte now and then, in the head or in the body, keeps no call beyond its time."""
    monkeypatch.setattr(transport, "CALL_TIMEOUT", 0.3)
    began = SystemClock().monotonic()
    with (
        dripping(first, drop) as url,
        closing(Transport(url, None)) as conversation,
        pytest.raises(OutcomeUnknown if changes else CloudUnavailable) as caught,
    ):
        conversation.ask("query { hello }", changes=changes)
    assert SystemClock().monotonic() - began < 20
    assert first.startswith(b"HTTP/1.1 500") or "in time" in str(caught.value)


def test_a_call_ends_if_its_request_is_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that accepts the connection and reads nothing keeps no call either; the outcome is not known."""
    monkeypatch.setattr(transport, "CALL_TIMEOUT", 0.3)
    with (
        closing(socket.create_server(("127.0.0.1", 0))) as deaf,
        closing(Transport(f"http://127.0.0.1:{deaf.getsockname()[1]}", None)) as conversation,
        pytest.raises(OutcomeUnknown, match="in time"),
    ):
        conversation.ask("x" * 30_000_000, changes=True)


def test_a_call_that_waits_has_more_time(monkeypatch: pytest.MonkeyPatch, stub: Stub) -> None:
    """What the caller would wait for an answer is added to the time of the call."""
    monkeypatch.setattr(transport, "CALL_TIMEOUT", 0.0)
    stub.answers(says(data={"hello": "late"}))
    with closing(Transport(stub.url, None)) as conversation:
        assert conversation.ask("query { hello }", wait=30)["hello"] == "late"
        with pytest.raises(CloudUnavailable, match="in time"):
            conversation.ask("query { hello }")


def test_a_connection_is_kept_for_the_next_call(cloud: CloudApi, stub: Stub) -> None:
    """The time of one call is not counted against the next on the same connection."""
    stub.answers(says(data={"flow_run": [ROW]}))
    for _ in range(3):
        assert [run.id for run in cloud.flow_runs([RUN])] == [RUN]


@pytest.mark.parametrize(
    "make",
    [
        lambda: "http://127.0.0.1:1",
        lambda: "http://cloud.invalid",
        lambda: "https://127.0.0.1:1",
        lambda: "http://[::1]:1",
    ],
)
def test_errors_show_no_objects_of_libraries(make: Callable[[], str]) -> None:
    """What went wrong is said in words: no addresses of objects, no names of their classes."""
    with closing(Transport(make(), None)) as conversation, pytest.raises(CloudUnavailable) as caught:
        conversation.ask("query { hello }", changes=True)
    words = str(caught.value)
    assert "cannot reach" in words
    assert "in time" not in words
    assert not any(sign in words for sign in ("object at", "Connection(", "Pool(", "Errno", "Max retries", "<"))


@pytest.mark.parametrize("reply", [Reply(drops=True), Reply(body=b"{", missing=5)])
def test_broken_answers_are_reported_in_a_sentence(stub: Stub, reply: Reply) -> None:
    """The same for connections that end too early."""
    stub.answers(reply)
    with closing(Transport(stub.url, None)) as conversation, pytest.raises(CloudUnavailable) as caught:
        conversation.ask("query { hello }")
    assert str(caught.value).rpartition(": ")[2] in {
        "the connection was closed without an answer",
        "the answer broke off",
    }


# --- the Cloud's clock ---


def date(ahead: float) -> dict[str, str]:
    """A ``Date`` header of a clock that many seconds ahead."""
    return {"Date": format_datetime(SystemClock().now() + timedelta(seconds=ahead), usegmt=True)}


@pytest.mark.parametrize("ahead", [45, -45, 3600])
def test_skew_is_measured(cloud: CloudApi, stub: Stub, ahead: int) -> None:
    """A Cloud whose clock is ahead, or behind, is known by its answers."""
    stub.script = lambda _asked: says(200, date(ahead), data={"flow_run": []})
    for _ in range(4):
        cloud.flow_runs([RUN])
    assert abs(cloud.skew - ahead) < 5


@pytest.mark.parametrize("ahead", [0, 0.9, -0.4])
def test_what_cannot_be_measured_is_no_skew(cloud: CloudApi, stub: Stub, ahead: float) -> None:
    """A header of whole seconds, and the time that an answer takes, are no skew."""
    stub.script = lambda _asked: says(200, date(ahead), data={"flow_run": []})
    for _ in range(4):
        cloud.flow_runs([RUN])
    assert cloud.skew == 0.0


@pytest.mark.parametrize("value", ["", "soon", "Wed, 99 Oct 2015 07:28:00 GMT", "Wed, 21 Oct 99999 07:28:00 GMT", "0"])
def test_a_date_without_sense_tells_nothing(cloud: CloudApi, stub: Stub, value: str) -> None:
    """Whatever stands in the header, calls succeed."""
    stub.answers(says(200, {"Date": value}, data={"flow_run": [ROW]}))
    assert [run.id for run in cloud.flow_runs([RUN])] == [RUN]
    assert cloud.skew == 0.0


# --- size ---


def big(monkeypatch: pytest.MonkeyPatch, stub: Stub, large: set[str]) -> None:
    """Let rows of some runs be larger than an answer may be."""
    monkeypatch.setattr(transport, "MAX_ANSWER", 60_000)

    def answer(asked: Asked) -> Reply:
        if "get_runs_in_queue" in asked.query:
            return says(data={"get_runs_in_queue": {"flow_run_ids": [f"run-{n:02}" for n in range(20)]}})
        rows = [{**ROW, "id": f"run-{n:02}"} for n in range(20) if f'"run-{n:02}"' in asked.query]
        return says(data={"flow_run": [{**row, "x": "x" * 70_000 * (row["id"] in large)} for row in rows]})

    stub.script = answer


def test_a_batch_that_is_too_large_is_halved(
    cloud: CloudApi, stub: Stub, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The culprits are left out, and named once; all others are read, and offered."""
    big(monkeypatch, stub, {"run-03", "run-11"})
    wanted = [FlowRunId(f"run-{n:02}") for n in range(20)]
    expected = [run_id for run_id in wanted if run_id not in {"run-03", "run-11"}]

    for _ in range(3):
        assert [run.id for run in cloud.flow_runs(wanted)] == expected
        offered = cloud.ready_flow_runs(labels=(), before=SystemClock().now(), limit=25)
        assert [run.id for run in offered] == expected

    warnings = [record.getMessage() for record in caplog.records]
    assert len(warnings) == 2
    assert all(any(name in words for words in warnings) for name in ("run-03", "run-11"))


def test_a_cloud_whose_answers_are_all_too_large(cloud: CloudApi, stub: Stub, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is not asked for every run by itself for ever."""
    monkeypatch.setattr(transport, "MAX_ANSWER", 1_000)
    stub.answers(says(data={"flow_run": [{**ROW, "x": "x" * 2_000}]}))
    with pytest.raises(CloudUnavailable, match="larger than"):
        cloud.flow_runs([FlowRunId(f"run-{n}") for n in range(200)])
    assert len(stub.asked) < 100


def test_a_page_that_is_too_large_is_made_smaller(
    cloud: CloudApi, stub: Stub, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """One claimed run that is too large hides no other on the pages of claimed runs."""
    monkeypatch.setattr(transport, "MAX_ANSWER", 200_000)
    names = [f"run-{n:02}" for n in range(40)]

    def answer(asked: Asked) -> Reply:
        after = asked.query.partition('_gt: "')[2].partition('"')[0]
        limit = int(asked.query.partition("}, limit: ")[2].partition(")")[0])
        found = [name for name in names if name > after][:limit]
        size = 0 if "timestamp" not in asked.query else 300_000
        return says(data={"flow_run": [{**CLAIMED, "id": n, "x": "x" * size * (n == "run-17")} for n in found]})

    stub.script = answer

    found = [run.id for run in cloud.claimed_flow_runs(platform="p")]

    assert found == [name for name in names if name != "run-17"]
    assert [("run-17" in record.getMessage()) for record in caplog.records] == [True]


@pytest.mark.parametrize(("due", "is_quiet"), [([], True), ([{"id": "x"}], False), (None, False)])
def test_one_request_tells_what_changed_and_whether_work_waits(
    cloud: CloudApi, stub: Stub, due: object, is_quiet: bool
) -> None:
    """A Cloud that does not answer the question has not said that nothing is due."""
    stub.script = lambda _asked: says(data={"flow_run": [], "due": due})

    found = cloud.changes(platform="p", due_before=datetime.fromisoformat("2026-01-02T03:04:05+00:00"))

    assert found.none_due is is_quiet
    assert len(stub.asked) == 1


@pytest.mark.parametrize("values", [b"[" + b"0," * 1_100_000 + b"0]", b"[" + b"[]," * 600_000 + b"{}]"])
def test_answers_of_too_many_values_are_not_read(stub: Stub, values: bytes) -> None:
    """Many small values take far more memory than bytes."""
    stub.answers(Reply(body=b'{"data": {"flow_run": ' + values + b"}}"))
    with closing(Transport(stub.url, None)) as conversation:
        with pytest.raises(CloudUnavailable, match="values"):
            conversation.ask("query { hello }")
        with pytest.raises(OutcomeUnknown, match="values"):
            conversation.ask("mutation { hello }", changes=True)


@pytest.mark.parametrize("parameters", [False, True])
def test_parameters_are_read_on_request(stub: Stub, *, parameters: bool) -> None:
    """Only an agent with hooks for them needs them."""
    stub.answers(says(data={"flow_run": [ROW]}))
    with closing(GraphQLCloudApi(stub.url, clock=SystemClock(), parameters=parameters)) as cloud:
        cloud.flow_runs([RUN])
    assert ("parameters" in stub.asked[0].query) == parameters


# --- identity and text ---


@pytest.mark.parametrize(
    ("tenant", "backend", "expected"),
    [("t1", "cloud", "cloud:t1"), ("t1", "server", "server:t1"), (None, "server", "")],
)
def test_the_identity_is_backend_and_tenant(stub: Stub, tenant: str | None, backend: str, expected: str) -> None:
    """Without a tenant it is the address, without a password."""
    url = stub.url.replace("http://", "http://a-person:URL-SECRET@")
    with closing(GraphQLCloudApi(url, clock=SystemClock(), tenant_id=tenant, backend=backend)) as cloud:
        assert cloud.identity == (expected or f"server:{stub.url}")


def test_a_configured_tenant_that_does_not_exist_is_for_a_person_to_change(stub: Stub) -> None:
    """Its code says that no restart helps; a Server without any tenant yet is waited for."""
    stub.answers(says(data={"tenant": [{"id": "t2", "name": "other"}]}))
    with (
        closing(GraphQLCloudApi(stub.url, clock=SystemClock(), tenant_id="t1", backend="server")) as cloud,
        pytest.raises(CloudMisconfigured, match="no tenant t1"),
    ):
        cloud.connect()


def test_characters_that_databases_refuse_are_replaced(cloud: CloudApi, stub: Stub) -> None:
    """NUL and other control characters do not keep a line from being written; line breaks and tabs stay."""
    stub.answers(says(data={"write_run_logs": {"success": True}}))
    text = "a\x00b\x1b[31mc\n\td\r\ne\x7f\x85\ud800 \u00fc\U0001f600"

    cloud.write_logs([LogLine(flow_run_id=RUN, message=text, name="n\x00", level="TRACE")])

    (line,) = stub.asked[0].variables["input"]["logs"]
    assert line["message"] == "a\ufffdb\ufffd[31mc\n\td\ne\ufffd\ufffd\ufffd \u00fc\U0001f600"
    assert (line["name"], line["level"]) == ("n\ufffd", "INFO")


def test_a_line_without_end_is_cut(cloud: CloudApi, stub: Stub) -> None:
    """Backends refuse bodies above some megabytes."""
    stub.answers(says(data={"write_run_logs": {"success": True}}))
    cloud.write_logs([LogLine(flow_run_id=RUN, message="x" * 9_000_000)])
    assert len(json.dumps(stub.asked[0].body)) < 1_000_000


def test_refused_and_unknown_log_lines(cloud: CloudApi, stub: Stub) -> None:
    """Only a code that names the request says that a line cannot be taken."""
    lines = [LogLine(flow_run_id=RUN, message="m")]
    for code, error in (("BAD_USER_INPUT", "RequestRejected"), ("INTERNAL_SERVER_ERROR", "OutcomeUnknown")):
        refused = [{"message": "Foreign key violation", "path": ["write_run_logs"], "extensions": {"code": code}}]
        stub.answers(says(data={"write_run_logs": None}, errors=refused))
        with pytest.raises(CloudError) as caught:
            cloud.write_logs(lines)
        assert type(caught.value).__name__ == error


def test_a_claim_that_cannot_be_sent_is_not_in_doubt(cloud: CloudApi, stub: Stub) -> None:
    """What a proxy or firewall keeps from the Cloud has changed nothing."""
    request = a_request()
    stub.answers(Reply(403, b"<html>blocked</html>"))
    with pytest.raises(CloudUnavailable, match="firewall"):
        cloud.claim([request])


def test_times_of_the_clock_are_aware(cloud: CloudApi, stub: Stub) -> None:
    """Runs can be asked for by a time of any zone."""
    stub.answers(says(data={"flow_run": []}))
    cloud.claimed_flow_runs(platform="p", changed_since=datetime.fromisoformat("2026-01-02T03:04:05+02:00"))
    assert "2026-01-02T01:04:05.000000+00:00" in stub.asked[0].query

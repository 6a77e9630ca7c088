"""Attacks that would stop an embedded Cloud: endless comparisons, idle and slow connections, huge answers."""

import json
import logging
import re
import resource
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Generator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path

import attrs
import pytest

from prefect.agent.entrypoints.server.cli.logs import PERIOD, OncePerMinute
from prefect.agent.entrypoints.server.graphql.parse_cache import outline
from prefect.agent.entrypoints.server.http import body_limits, connections
from prefect.agent.entrypoints.server.storage import database
from prefect.agent.entrypoints.server.storage.sql_functions import MAX_PATTERN
from prefect.agent.entrypoints.server.testing import running_server
from support.embedded import Embedded
from support.raw_http import ask, connect, head_of, read
from support.waiting import wait_until

JSON = "application/json"
AT_MOST = 20.0
"""Seconds of this machine, busy as it may be, for what took minutes."""


@attrs.frozen
class Served:
    """A server process."""

    process: "subprocess.Popen[str]"
    url: str


@contextmanager
def served(tmp_path: Path, *words: str, descriptors: int = 0) -> Generator[Served]:
    """Run ``prefect server start``, with so many descriptors at most."""
    log = (tmp_path / "log").open("w", encoding="utf-8")

    def limit() -> None:
        if descriptors:
            resource.setrlimit(resource.RLIMIT_NOFILE, (descriptors, descriptors))

    command = [sys.executable, "-m", "prefect.agent", "server", "start", "--port", "0", *words]
    command += ["--database", str(tmp_path / "c" / "cloud.db")]
    with (
        log,
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True, preexec_fn=limit) as process,  # noqa: PLW1509 - no threads here
    ):
        try:
            assert process.stdout is not None
            found = re.search(r"http://\S+:\d+", process.stdout.readline())
            assert found
            yield Served(process, found[0])
        finally:
            if process.poll() is None:
                process.kill()
            process.wait(60)


def took(run: object) -> float:
    """Seconds of a call."""
    assert callable(run)
    begin = time.perf_counter()
    run()
    return time.perf_counter() - begin


# --- work in one request ---


def with_labels(cloud: Embedded, labels: object) -> None:
    """A flow run that has these labels, whatever they are."""
    run = cloud.run(cloud.flow(cloud.project()))
    with cloud.database.write() as tx:
        tx.execute("UPDATE flow_run SET labels = ? WHERE id = ?", [json.dumps(labels), run])


def contains(cloud: Embedded, wanted: object) -> tuple[float, str]:
    """Seconds and answer of a query for flow runs whose labels contain *wanted*."""
    query = "query($w: jsonb) { flow_run(where: { labels: { _contains: $w } }) { id } }"
    answers: list[str] = []
    return took(lambda: answers.append(json.dumps(cloud.send(query, {"w": wanted})[1]))), answers[0]


def test_a_long_contains_is_linear(cloud: Embedded) -> None:
    """Attack: one _contains of 130 KB, each value compared with each. Rule: plain values are looked up."""
    with_labels(cloud, [f"a{n}" for n in range(20_000)])
    seconds, answer = contains(cloud, [f"a{n}" for n in range(19_999, -1, -1)])

    assert seconds < AT_MOST
    assert '"id"' in answer


def test_objects_compared_with_objects_are_given_up(cloud: Embedded) -> None:
    """Attack: the same with objects. Rule: comparisons are bounded by the length of the texts."""
    with_labels(cloud, [{"a": n} for n in range(10_000)])
    seconds, answer = contains(cloud, [{"a": -n} for n in range(1, 10_000)])
    assert seconds < AT_MOST
    assert '"flow_run": []' in answer  # the first object is in none of them

    seconds, answer = contains(cloud, [{"a": n} for n in range(9_999, -1, -1)])
    assert seconds < AT_MOST
    assert "_contains" in answer or "This took too long and was given up" in answer  # whichever bound comes first


def test_a_function_of_ours_ends_with_the_transaction(cloud: Embedded, monkeypatch: pytest.MonkeyPatch) -> None:
    """Attack: work inside of a function that SQLite does not interrupt. Rule: it looks at the same clock."""
    monkeypatch.setattr(database, "READ_SECONDS", 0.05)
    with_labels(cloud, "x")
    with cloud.database.write() as tx:
        tx.execute("UPDATE flow_run SET name = ?", ["a" * 3_000_000])
    answers: list[str] = []
    pattern = "%" + "_".join("a" * 300) + "b%"
    query = "query($p: String) { flow_run(where: { name: { _like: $p } }) { id } }"
    seconds = took(lambda: answers.append(str(cloud.send(query, {"p": pattern})[1])))

    assert seconds < AT_MOST
    assert "too long" in answers[0]


@pytest.mark.parametrize("operator", ["_like", "_ilike", "_nlike", "_nilike"])
def test_patterns_are_linear(cloud: Embedded, operator: str) -> None:
    """Attack: many wildcards, each tried at each place. Rule: each piece is taken where it comes first."""
    with_labels(cloud, "x")
    with cloud.database.write() as tx:
        tx.execute("UPDATE flow_run SET name = ?", ["ab" * 500_000])
    query = f"query($p: String) {{ flow_run(where: {{ name: {{ {operator}: $p }} }}) {{ id }} }}"
    answers: list[dict[str, object]] = []
    seconds = took(lambda: answers.append(cloud.ask(query, {"p": "%a" * (MAX_PATTERN // 2 - 1) + "%c"})))

    assert seconds < AT_MOST
    assert bool(answers[0]["flow_run"]) is operator.startswith("_n")
    _, body = cloud.send(query, {"p": "%a" * MAX_PATTERN})
    assert "at most 1000 characters" in body["errors"][0]["message"]


def test_a_document_of_open_quotes_is_linear() -> None:
    """Attack: a text of escaped quotes that never ends. Rule: the scanner never looks twice at a character."""
    assert took(lambda: outline('{ a(b: 1, c: "' + '\\"' * 500_000)) < AT_MOST


# --- answers ---


def big_flow(cloud: Embedded, size: int) -> None:
    """A flow whose description is so long, and two hundred runs of it."""
    flow = cloud.flow(cloud.project())
    for _ in range(200):
        cloud.run(flow)
    with cloud.database.write() as tx:
        tx.execute("UPDATE flow SET description = ?", ["x" * size])


def assert_too_large(body: dict[str, object]) -> None:
    """The error says what to do, and is the client's."""
    assert "limit and offset" in str(body)
    assert "RESOURCE_EXHAUSTED" in str(body)
    assert len(str(body)) < 10_000


def test_a_short_query_cannot_name_a_large_value_many_times(cloud: Embedded) -> None:
    """Attack: 4 KB of aliases that answer 572 MB. Rule: a budget of bytes per answer."""
    big_flow(cloud, 1_000_000)
    aliases = " ".join(f"a{n}: description" for n in range(200))

    assert_too_large(cloud.send(f"{{ flow {{ {aliases} }} }}")[1])
    assert_too_large(cloud.send("{ flow_run { flow { description } } }")[1])
    roots = " ".join(f"a{n}: flow {{ description }}" for n in range(200))
    assert "limit and offset" in str(cloud.send(f"{{ {roots} }}")[1]["errors"])
    assert len(cloud.ask("{ flow_run(limit: 5) { flow { description } } }")["flow_run"]) == 5


def test_many_small_values_are_too_large(cloud: Embedded) -> None:
    """Attack: millions of numbers, seconds of work each time. Rule: a value counts beside its text."""
    run = cloud.run(cloud.flow(cloud.project()))
    with cloud.database.write() as tx:
        tx.insert_many("log", [{"flow_run_id": run, "level": "INFO"}] * 20_000)
    aliases = " ".join(f"a{n}: level" for n in range(60))

    assert_too_large(cloud.send(f"{{ log {{ {aliases} }} }}")[1])
    assert len(cloud.ask("{ log { id level message } }")["log"]) == 20_000


def test_a_secret_named_many_times_is_too_large(cloud: Embedded) -> None:
    """Attack: the same where no table is read. Rule: what goes out is counted, whatever it is made of."""
    cloud.change("set_secret", "success", name="s", value="x" * 1_000_000)
    roots = " ".join(f'a{n}: secret_value(name: "s")' for n in range(200))

    assert_too_large(cloud.send(f"{{ {roots} }}")[1])


def test_a_change_whose_answer_is_too_large_is_not_made(cloud: Embedded) -> None:
    """Attack: a mutation that answers too much. Rule: a refused request changes nothing."""
    flow = cloud.flow(cloud.project())
    run = cloud.run(flow)
    fields = " ".join(f"a{n}: serialized_state" for n in range(200))
    state = {"type": "Running", "message": "x" * 500_000}
    query = "mutation($i: set_flow_run_states_input!) { set_flow_run_states(input: $i) { states { id } } }"
    cloud.send(query, {"i": {"states": [{"flow_run_id": run, "state": state}]}})
    more = f'mutation {{ createFlowRun(input: {{ flowId: "{flow}" }}) {{ flow_run {{ {fields} }} }} }}'
    before = cloud.ask("{ flow_run_aggregate { aggregate { count } } }")
    _, body = cloud.send(more)
    after = cloud.ask("{ flow_run_aggregate { aggregate { count } } }")

    assert ("errors" in body) is (before == after)


# --- connections ---


def test_the_key_is_looked_at_before_the_body(tmp_path: Path) -> None:
    """Attack: bodies of 5 MB without a key. Rule: refused by the head alone; nothing of the body is kept."""
    with running_server(tmp_path / "cloud.db", keys=frozenset({"k"})) as url, connect(url) as connection:
        connection.sendall(head_of(url, content_type=JSON, content_length="5000000"))
        answer = read(connection)
        assert "UNAUTHENTICATED" in answer.body
        connection.sendall(b"x" * 5_000_000)
        connection.sendall(head_of(url, "GET", "/health"))
        assert read(connection).status == 200  # the connection goes on after the body


def test_a_body_that_is_too_large_is_refused_by_its_length(tmp_path: Path) -> None:
    """Attack: the length says 1 GB. Rule: refused by the head alone."""
    with running_server(tmp_path / "cloud.db") as url, connect(url) as connection:
        connection.sendall(head_of(url, content_type=JSON, content_length="1000000000"))
        assert read(connection).status == 413


@pytest.mark.parametrize("sent", ["nothing", "half a head", "half a body"])
def test_a_slow_request_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sent: str) -> None:
    """Attack: connections that drip. Rule: a deadline for the head, and one for the body."""
    for name in ("HEAD_SECONDS", "BODY_SECONDS", "GRACE_SECONDS"):
        monkeypatch.setattr(connections, name, 0.2)
    with running_server(tmp_path / "cloud.db") as url, connect(url) as connection:
        head = head_of(url, content_type=JSON, content_length="100")
        connection.sendall({"nothing": b"", "half a head": head[:-10], "half a body": head + b"{"}[sent])
        assert connection.recv(1000) == b""
        assert ask(url, content_type=JSON).status == 200


def test_a_patient_agent_is_not_cut_off(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No attack: a connection between two polls, and one that waits for runs. Rule: deadlines are of requests only."""
    for name in ("HEAD_SECONDS", "BODY_SECONDS", "GRACE_SECONDS"):
        monkeypatch.setattr(connections, name, 0.1)
    with running_server(tmp_path / "cloud.db") as url, connect(url) as connection:
        body = json.dumps({"query": "mutation { get_runs_in_queue(input: {}) { flow_run_ids } }"}).encode()
        for wait in ("2", "0"):
            head = head_of(url, content_type=JSON, content_length=str(len(body)), prefer=f"wait={wait}")
            connection.sendall(head + body)
            assert "flow_run_ids" in read(connection).body


def test_idle_connections_do_not_stop_it(tmp_path: Path) -> None:
    """Attack: 300 idle connections, more than it has descriptors. Rule: a bound below that; the oldest give way."""
    with served(tmp_path, descriptors=256) as server, ExitStack() as stack:
        idle = [stack.enter_context(closing(connect(server.url))) for _ in range(300)]
        assert len(idle) == 300
        for _ in range(5):
            assert "hello" in ask(server.url, content_type=JSON).body
        open_ones = Path(f"/proc/{server.process.pid}/fd")
        if open_ones.is_dir():
            wait_until(lambda: len(list(open_ones.iterdir())) < 150, what="the oldest have given way")
    assert (tmp_path / "log").stat().st_size < 10_000


def test_connections_that_are_all_busy_leave_no_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Attack: as many half requests as there may be connections. Rule: what is read stays; a new one is closed."""
    monkeypatch.setattr(connections, "most_connections", lambda: 5)
    with running_server(tmp_path / "cloud.db") as url, ExitStack() as stack:
        head = head_of(url, content_type=JSON, content_length="100", expect="100-continue")
        busy = [stack.enter_context(closing(connect(url))) for _ in range(5)]
        for connection in busy:
            connection.sendall(head)
            assert connection.recv(1000).startswith(b"HTTP/1.1 100")
        assert is_closed_at_once(url)
        body = b'{"query": "{ hello }"}'.ljust(100)
        for connection in busy:
            connection.sendall(body)
            assert "hello" in read(connection).body
        assert "hello" in ask(url, content_type=JSON).body  # in the place of one that is unused now


def is_closed_at_once(url: str) -> bool:
    """Whether a new connection is given up instead of being read."""
    try:
        return ask(url, content_type=JSON).status == 0
    except ConnectionError:
        return True


def test_bodies_have_a_bound_together(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Attack: many bodies at once, each within its bound. Rule: 503 beyond what all of them may hold."""
    monkeypatch.setattr(body_limits, "MAX_HELD", 1000)
    monkeypatch.setattr(body_limits, "ALWAYS_HELD", 200)
    with running_server(tmp_path / "cloud.db") as url, connect(url) as first:
        first.sendall(head_of(url, content_type=JSON, content_length="900") + b"{".ljust(800))
        wait_until(lambda: ask(url, content_type=JSON, query="{ hello }".ljust(500)).status == 503, what="no room")
        first.sendall(b'"query": "{ hello }"}'.rjust(100))
        assert "hello" in read(first).body
        assert ask(url, content_type=JSON, query="{ hello }".ljust(500)).status == 200


def test_an_answer_that_is_not_taken_is_dropped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Attack: ask for much and read nothing. Rule: a deadline for taking an answer."""
    path = tmp_path / "cloud.db"
    first = Embedded(path)
    big_flow(first, 30_000_000)
    first.database.close()
    monkeypatch.setattr(connections, "ANSWER_SECONDS", 0.2)
    given_up, ended = threading.Event(), connections.ClientConnection.connection_lost

    def lost(connection: connections.ClientConnection, problem: Exception | None) -> None:
        ended(connection, problem)
        given_up.set()

    monkeypatch.setattr(connections.ClientConnection, "connection_lost", lost)
    with running_server(path) as url, connect(url) as connection:
        body = json.dumps({"query": "{ flow { description } }"}).encode()
        connection.sendall(head_of(url, content_type=JSON, content_length=str(len(body))) + body)
        assert given_up.wait(30)
        assert "hello" in ask(url, content_type=JSON).body


def test_repeated_errors_are_logged_once_a_minute() -> None:
    """Attack: an error in a loop fills the disk. Rule: the same text once a minute, few texts from one place."""
    now = [0.0]
    quiet = OncePerMinute(clock=lambda: now[0])

    def passes(text: str) -> str:
        record = logging.LogRecord("x", logging.ERROR, "place.py", 7, "%s", (text,), None)
        return record.getMessage() if quiet.filter(record) else ""

    assert [bool(passes("full")) for _ in range(1000)] == [True] + [False] * 999
    assert sum(bool(passes(f"text {n}")) for n in range(1000)) < 30
    now[0] += PERIOD
    assert "left out" in passes("full")


def test_noise_on_connections_does_not_fill_the_log(tmp_path: Path) -> None:
    """Attack: requests that are none. Rule: as above, for what uvicorn says as well."""
    with served(tmp_path) as server:
        for _ in range(50):
            with connect(server.url) as connection:
                connection.sendall(b"\x16\x03\x01 noise\r\n\r\n")
                assert read(connection).status == 400
    assert len((tmp_path / "log").read_text(encoding="utf-8").splitlines()) < 5


# --- the end ---


def test_a_slow_client_does_not_hold_up_the_end(tmp_path: Path) -> None:
    """Attack: a body that never ends keeps the server from ending. Rule: requests that are read get ten seconds."""
    with served(tmp_path) as server, connect(server.url) as connection:
        connection.sendall(head_of(server.url, content_type=JSON, content_length="100") + b"{")
        assert "hello" in ask(server.url, content_type=JSON).body
        server.process.send_signal(signal.SIGTERM)
        assert server.process.wait(40) == 0


def test_a_second_signal_ends_the_process(tmp_path: Path) -> None:
    """Attack: requests keep it from ending, and SIGTERM is ignored. Rule: a second SIGTERM ends the process."""
    with served(tmp_path) as server, connect(server.url) as connection:
        connection.sendall(head_of(server.url, content_type=JSON, content_length="100") + b"{")
        assert "hello" in ask(server.url, content_type=JSON).body
        server.process.send_signal(signal.SIGTERM)
        wait_until(lambda: not accepts(server.url), what="it has heard the first")
        server.process.send_signal(signal.SIGTERM)
        assert server.process.wait(5) == -signal.SIGTERM


def accepts(url: str) -> bool:
    """Whether a new connection is taken."""
    try:
        with connect(url) as connection:
            connection.sendall(head_of(url, "GET", "/health"))
            return bool(read(connection).status)
    except (TimeoutError, ConnectionError):
        return False

"""Attacks of many clients at once, each within its own bounds."""

import json
import socket
from contextlib import ExitStack, closing
from pathlib import Path

import pytest

from prefect.agent.entrypoints.server.http import body_limits, connections
from prefect.agent.entrypoints.server.http import long_poll as patience
from prefect.agent.entrypoints.server.testing import running_server
from support.embedded import Embedded
from support.raw_http import ask, connect, head_of, read
from support.waiting import wait_until

JSON = "application/json"
QUEUE = "mutation { get_runs_in_queue(input: {}) { flow_run_ids } }"


def post(connection: socket.socket, url: str, query: str, **headers: str) -> None:
    """Send a query on an open connection."""
    body = json.dumps({"query": query}).encode()
    connection.sendall(head_of(url, content_type=JSON, content_length=str(len(body)), **headers) + body)


def test_few_requests_wait_at_one_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Attack: a thousand requests wait for runs, each asks again every second. Rule: only so many may wait."""
    monkeypatch.setattr(patience, "MOST", 3)
    with running_server(tmp_path / "cloud.db") as url, ExitStack() as stack:
        for _ in range(3):
            post(stack.enter_context(closing(connect(url))), url, QUEUE, prefer="wait=60")
        wait_until(
            lambda: "preference-applied" not in ask(url, QUEUE, content_type=JSON, prefer="wait=0").headers,
            what="nobody else may wait",
        )
        assert "flow_run_ids" in ask(url, QUEUE, content_type=JSON, prefer="wait=60").body


@pytest.mark.parametrize("kind", ["long", "several"])
def test_only_a_small_question_waits(tmp_path: Path, kind: str) -> None:
    """Attack: bodies of 5 MB, or hundreds of questions in one, wait and are read anew. Rule: a short one."""
    one = "get_runs_in_queue(input: {}) { flow_run_ids }"
    several = "mutation { " + " ".join(f"a{n}: {one}" for n in range(patience.MOST_FIELDS + 1)) + " }"
    query = {"long": QUEUE.ljust(patience.LONGEST_BODY), "several": several}[kind]
    with running_server(tmp_path / "cloud.db") as url:
        assert "preference-applied" in ask(url, QUEUE, content_type=JSON, prefer="wait=0").headers
        assert "preference-applied" not in ask(url, query, content_type=JSON, prefer="wait=0").headers


def test_large_bodies_do_not_keep_small_ones_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Attack: a few slow large bodies fill the room, and each agent is answered 503. Rule: small ones always fit."""
    monkeypatch.setattr(body_limits, "MAX_HELD", 1_000_000)
    with running_server(tmp_path / "cloud.db") as url, connect(url) as slow:
        slow.sendall(head_of(url, content_type=JSON, content_length="1000001", expect="100-continue"))
        assert slow.recv(1000).startswith(b"HTTP/1.1 100")
        slow.sendall(b"{".ljust(990_000))
        wait_until(
            lambda: ask(url, "{ hello }".ljust(80_000), content_type=JSON).status == 503, what="the room is taken"
        )
        assert "hello" in ask(url, "{ hello }".ljust(40_000), content_type=JSON).body


def test_a_refused_request_gives_its_place_away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Attack: without a key, slow bodies on all connections there may be. Rule: who was refused gives way."""
    monkeypatch.setattr(connections, "most_connections", lambda: 5)
    with running_server(tmp_path / "cloud.db", keys=frozenset({"k"})) as url, ExitStack() as stack:
        for _ in range(5):
            connection = stack.enter_context(closing(connect(url)))
            connection.sendall(head_of(url, content_type=JSON, content_length="1000"))
            assert "UNAUTHENTICATED" in read(connection).body
        assert "hello" in ask(url, content_type=JSON, authorization="Bearer k").body


def test_answers_that_are_not_taken_have_a_bound_together(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Attack: ask for 30 MB on each of a thousand connections and read nothing. Rule: the oldest are given up."""
    path = tmp_path / "cloud.db"
    first = Embedded(path)
    run = first.run(first.flow(first.project()))
    for _ in range(3):
        first.change("write_run_logs", "success", logs=[{"flow_run_id": run, "message": "x" * 4_000_000}])
    first.database.close()
    monkeypatch.setattr(connections, "MAX_UNSENT", 12_000_000)
    with running_server(path) as url, connect(url) as oldest, connect(url) as latest:
        for connection in (oldest, latest):
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
            post(connection, url, "{ log { message } }")
            assert head_and_more(connection)
        assert len(rest_of(oldest)) < 11_900_000
        assert len(rest_of(latest)) > 11_900_000


def head_and_more(connection: socket.socket) -> bytes:
    """What comes until a part of the body has come: all that the connection holds was sent by then."""
    found = b""
    while len(found) < 5000 and (more := connection.recv(5000)):
        found += more
    return found


def rest_of(connection: socket.socket) -> bytes:
    """What comes until the answer, or the connection, ends."""
    found = b""
    try:
        while not found.endswith(b"]}}") and (more := connection.recv(1 << 20)):
            found += more
    except ConnectionError:
        pass
    return found

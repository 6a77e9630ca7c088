"""Attacks by streams of the Cloud's pages: their number, who may open them, and what they cost others."""

import json
import socket
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import pytest

from prefect.agent.entrypoints.server.http import connections
from prefect.agent.entrypoints.server.pages import changes
from prefect.agent.entrypoints.server.testing import running_server
from support.full_cloud import fill
from support.raw_http import ask, connect, get, head_of
from support.remote_cloud import RemoteCloud
from support.waiting import wait_until

JSON = "application/json"
STREAM = "/default/-/changes"


def open_stream(stack: ExitStack, url: str, path: str = STREAM, **headers: str) -> str:
    """Open a stream and leave it open; the first bytes of the answer."""
    connection = stack.enter_context(closing(connect(url)))
    connection.sendall(head_of(url, "GET", path, **headers))
    return first_bytes(connection)


def first_bytes(connection: socket.socket) -> str:
    """The status and what else came with it; empty if the server has closed the connection."""
    try:
        return connection.recv(4096).decode()
    except ConnectionError:
        return ""


def statuses(found: list[str]) -> dict[str, int]:
    """How often each status was answered."""
    codes = [one.split()[1] if one else "closed" for one in found]
    return {code: codes.count(code) for code in sorted(set(codes))}


@pytest.fixture
def url(tmp_path: Path) -> Iterator[str]:
    """A Cloud that asks for no key."""
    with running_server(tmp_path / "cloud.db") as address:
        yield address


def test_thousands_of_streams_keep_nobody_out(url: str) -> None:
    """Attack: more streams than there may be connections. Rule: 200 are served; pages and agents are answered."""
    with ExitStack() as stack:
        found = statuses([open_stream(stack, url) for _ in range(connections.MAX_CONNECTIONS + 200)])
        assert found["200"] == changes.MAX_STREAMS
        assert set(found) <= {"200", "503", "closed"}
        assert get(url, "/default/flows").status == 200
        assert "hello" in ask(url, content_type=JSON).body
    wait_until(lambda: "200 OK" in open_stream(stack, url), what="the places are free again")
    stack.close()


def test_a_crowd_at_once_gets_no_more(url: str) -> None:
    """Attack: ask for all streams at the same moment, before any has begun. Rule: each counts when it is asked."""
    with ExitStack() as stack:
        crowd = [stack.enter_context(closing(connect(url))) for _ in range(changes.MAX_STREAMS + 50)]
        for connection in crowd:
            connection.sendall(head_of(url, "GET", STREAM))
        assert statuses([first_bytes(one) for one in crowd]) == {"200": changes.MAX_STREAMS, "503": 50}


def test_one_key_leaves_room_for_others(tmp_path: Path) -> None:
    """Attack: a flow run opens all streams there may be with its runner key. Rule: each key has a part of them."""
    with running_server(tmp_path / "cloud.db") as url, ExitStack() as stack:
        admin = RemoteCloud(url).change("create_api_key", "key", name="a")["key"]
        headers = {"authorization": f"Bearer {admin}"}
        runner = RemoteCloud(url).change("create_api_key", "key", headers, name="r", scope="runner")["key"]
        mine = [open_stream(stack, url, authorization=f"Bearer {runner}") for _ in range(changes.MAX_STREAMS)]

        assert statuses(mine) == {"200": changes.MAX_OF_KEY, "503": changes.MAX_STREAMS - changes.MAX_OF_KEY}
        assert "200 OK" in open_stream(stack, url, authorization=f"Bearer {admin}")


def test_streams_that_nobody_reads_keep_nobody_waiting(url: str) -> None:
    """Attack: open the log of a busy run in many windows that read nothing. Rule: writers are answered."""
    cloud = RemoteCloud(url)
    filled = fill(cloud)
    same = {"flow_run_id": filled.run_id, "name": "p", "level": "INFO", "timestamp": "2026-01-01T00:00:00Z"}
    lines = [{**same, "message": "x" * 500}] * 400
    with ExitStack() as stack:
        for _ in range(20):
            assert "200 OK" in open_stream(stack, url, filled.page("/flow-run/{run_id}/logs/events"))
        for _ in range(30):
            cloud.change("write_run_logs", "success", logs=lines)
        assert get(url, "/default/flows").status == 200


def test_a_question_for_a_streams_head_is_answered(url: str) -> None:
    """Attack: HEAD to a stream, whose answer would never end. Rule: it ends at once."""
    for address in fill(RemoteCloud(url)).streams():
        with connect(url) as connection:
            connection.sendall(head_of(url, "HEAD", address, connection="close"))
            answer = b"".join(iter(lambda: connection.recv(4096), b"")).decode()
        assert answer.startswith("HTTP/1.1 200"), address
        assert answer.endswith("\r\n\r\n")


def test_a_stream_ends_with_its_key(tmp_path: Path) -> None:
    """Attack: keep a stream open with a key that is revoked. Rule: each look asks whether it still is one."""
    with running_server(tmp_path / "cloud.db") as url:
        boss = {"authorization": f"Bearer {RemoteCloud(url).change('create_api_key', 'key', name='boss')['key']}"}
        made = RemoteCloud(url).change("create_api_key", "id key", boss, name="a")
        with connect(url) as connection:
            given = {"authorization": f"Bearer {made['key']}", "connection": "close"}
            connection.sendall(head_of(url, "GET", STREAM, **given))
            assert b"200 OK" in connection.recv(4096)
            RemoteCloud(url).change("delete_api_key", "success", boss, key_id=made["id"])
            rest = b"".join(iter(lambda: connection.recv(4096), b""))
        assert rest.endswith(b"0\r\n\r\n")
        assert b"event" not in rest


def test_a_stream_of_another_tenants_run_tells_nothing(url: str) -> None:
    """Attack: the log stream of another tenant's run, under one's own slug. Rule: none of its lines comes."""
    cloud = RemoteCloud(url)
    own, other = fill(cloud), fill(cloud, "do-not-tell", tenant="second")
    address = other.page("/flow-run/{run_id}/logs/events").replace("/second/", "/default/", 1)
    own_address = own.page("/flow-run/{run_id}/logs/events")
    line = {"name": "p", "level": "INFO", "timestamp": "2026-01-01T00:00:00Z"}
    with connect(url) as spy, connect(url) as reader:
        for connection, path in ((spy, f"{address}?since=0"), (reader, own_address)):
            connection.sendall(head_of(url, "GET", path))
            assert b"200 OK" in connection.recv(4096)
        for run, text in ((other.run_id, "do-not-tell"), (own.run_id, "for the reader")):
            cloud.change("write_run_logs", "success", logs=[{**line, "flow_run_id": run, "message": text}])
        assert "for the reader" in _event(reader)
        assert "event" not in _so_far(spy)


def _so_far(connection: socket.socket) -> str:
    """What has arrived."""
    connection.setblocking(False)
    try:
        return connection.recv(1 << 20).decode()
    except BlockingIOError:
        return ""


def _event(connection: socket.socket) -> str:
    """The next event's data."""
    found = ""
    while "event: lines" not in found or not found.endswith("\r\n"):
        found += connection.recv(65536).decode()
    return str(json.loads(found.partition("data: ")[2].partition("\n\n")[0])["html"])

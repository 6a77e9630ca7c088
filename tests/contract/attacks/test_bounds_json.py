"""Attack: a Cloud, a Docker engine or an API server answers 60 MB of ``{},{},``, which decoded take 1.5 GB of memory.

Rule: every JSON answer has a budget of bytes and of values, and is counted before it is decoded
(``adapters/bounded_json.py``); a list that is too much is asked for in smaller pages.
"""

import json
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, Final
from urllib.parse import parse_qs, urlsplit

import pytest

from prefect.agent.adapters import bounded_json
from prefect.agent.adapters.docker import DockerPlatform
from prefect.agent.adapters.docker import listing as docker_listing
from prefect.agent.adapters.docker.engine import DockerEngine
from prefect.agent.adapters.kubernetes.reflector import PAGE
from support.kubernetes.follower import Follower, page
from support.kubernetes_objects import a_job_object
from support.stub_server import Handler, StubServer, says, stub_api_server, stub_engine
from support.waiting import wait_until

FLOOD: Final = 60 * 1000 * 1000
PEAK: Final = 300
"""MiB that a client may take beyond what it took before; the answer alone is 60, and there are two copies of it."""

CHILD: Final = """
import json, resource, sys
from prefect.agent.adapters import bounded_json
from prefect.agent.adapters.docker.engine import DockerEngine
from prefect.agent.adapters.graphql.transport import Transport
from prefect.agent.adapters.kubernetes.api_server import Cluster
from prefect.agent.adapters.kubernetes.throttle import Throttle

def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024

def cloud(url):
    Transport(url, None).ask("query { a }")

def engine(url):
    found = DockerEngine(url.replace("http", "tcp"), timeout=60)
    with found.asked("list containers") as client:
        client.containers(all=True)

def events(url):
    found = DockerEngine(url.replace("http", "tcp"), timeout=60)
    with found.asked("tell its events"), found.stream("GET", "/events", params={}, silence=60, deadline=60) as events:
        list(events)

def api_server(url):
    cluster = Cluster(kubeconfig=sys.argv[3], throttle=Throttle(1000, 1000))
    with cluster.asked("list jobs"):
        cluster.send("GET", "/jobs")

before = peak()
try:
    locals()[sys.argv[1]](sys.argv[2])
    problem = ""
except Exception as raised:
    problem = f"{type(raised).__name__}: {raised}"
print(json.dumps({"problem": problem[:300], "grown": peak() - before}))
"""


def flood(opening: bytes, unit: bytes, closing: bytes) -> bytes:
    """An answer of :data:`FLOOD` bytes."""
    return opening + unit * (FLOOD // len(unit)) + b"{}" + closing


ANSWERS: Final = {
    "cloud": (b'{"data": {"a": [', b"]}}"),
    "engine": (b"[", b"]"),
    "events": (b"[", b"]\n"),
    "api_server": (b'{"kind": "JobList", "metadata": {"resourceVersion": "1"}, "items": [', b"]}"),
}


@contextmanager
def answering(body: bytes) -> Iterator[StubServer]:
    """A server that says the same to everybody, but for its version."""

    def say(handler: Handler) -> None:
        is_version = handler.path.endswith("/version")
        content = b'{"ApiVersion": "1.43"}' if is_version else body
        handler.send_response(200)
        handler.send_header("Content-Type", "application/json")
        handler.send_header("Content-Length", str(len(content)))
        handler.end_headers()
        handler.wfile.write(content)

    with stub_api_server() as server:
        server.answers[".*"] = say
        yield server


@pytest.mark.parametrize("unit", [b"{},", b"[],", b'{"a":0},', b"0,"], ids=["objects", "lists", "pairs", "numbers"])
@pytest.mark.parametrize("client", ANSWERS)
def test_sixty_megabytes_of_small_values_are_refused(client: str, unit: bytes, tmp_path: Path) -> None:
    """With one sentence, and little memory."""
    opening, closing = ANSWERS[client]
    with answering(flood(opening, unit, closing)) as server:
        found = asked(client, server.address, tmp_path)
    assert "more than" in found["problem"]
    assert found["grown"] < PEAK


def asked(client: str, url: str, folder: Path) -> Any:
    """What a process that asks *url* found, and how much memory it took for that (MiB)."""
    config = {
        "clusters": [{"name": "c", "cluster": {"server": url}}],
        "users": [{"name": "u", "user": {"token": "t"}}],
        "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u"}}],
        "current-context": "x",
    }
    (folder / "kubeconfig").write_text(json.dumps(config))
    words = [sys.executable, "-c", CHILD, client, url, str(folder / "kubeconfig")]
    done = subprocess.run(words, capture_output=True, text=True, timeout=120, check=True)
    return json.loads(done.stdout)


def test_ten_thousand_jobs_in_one_list_are_read() -> None:
    """As a real API server sends them, in one page."""
    job = a_job_object("unit")
    job["metadata"]["managedFields"] = [{"manager": f"m{n}", "fieldsV1": {"f:a": {}, "f:b": {}}} for n in range(2)]
    body = json.dumps({"items": [job] * 10_000}, separators=(",", ":")).encode()
    assert len(bounded_json.loads(body)["items"]) == 10_000


def test_ten_thousand_containers_are_read() -> None:
    """The engine's list has no pages."""
    networks = {"bridge": {f"key{n}": "" for n in range(16)}}
    container = {
        **{f"key{n}": "value" for n in range(12)},
        "Labels": {f"io.prefect.{n}": "x" for n in range(10)},
        "NetworkSettings": {"Networks": networks},
    }
    body = json.dumps([container] * 10_000).encode()
    assert len(bounded_json.loads(body)) == 10_000


@pytest.mark.parametrize(
    "text",
    [",[{" * 1000, '"' * 1000, "\\" * 1001, '\\"' * 1001, '\\\\","' * 1001, "é{" * 1000],
    ids=["separators", "quotes", "backslashes", "escaped quotes", "both", "letters"],
)
def test_what_is_in_a_text_is_no_value(text: str) -> None:
    """A text counts once, whatever it holds."""
    body = json.dumps({"a": text, "b": [text, text]}, ensure_ascii=False).encode()
    assert bounded_json.loads(body, most=6)["a"] == text
    with pytest.raises(bounded_json.BeyondBounds):
        bounded_json.loads(json.dumps({"a": text, "b": [1] * 7}).encode(), most=6)


def test_a_line_without_an_end_is_given_up() -> None:
    """And costs time that grows with its length only."""
    began = time.process_time()
    with pytest.raises(bounded_json.BeyondBounds, match="line"):
        list(bounded_json.lines(b"a" * 512 for _ in range(100_000)))
    assert time.process_time() - began < 5


def test_lines_are_put_together() -> None:
    """Whole ones only, wherever the pieces end."""
    text = b"one\n\ntwo two\r\n\nthree\nfo"
    for size in (1, 2, 3, 100):
        pieces = [text[begin : begin + size] for begin in range(0, len(text), size)]
        assert list(bounded_json.lines(pieces)) == [b"one", b"two two\r", b"three"]


def test_a_page_that_is_too_much_is_asked_for_in_smaller_ones() -> None:
    """Jobs with huge templates hide no other Job."""
    follower = Follower()
    answers = follower.cluster.lists["/jobs"]
    for answer in (bounded_json.BeyondBounds("is too large"), page("a", rest="more"), page("b")):
        answers.put(answer)
    reflector = follower.start()
    try:
        wait_until(follower.watches, 30, "it watches")
    finally:
        follower.cluster.lists["/jobs"].put(bounded_json.BeyondBounds("end"))
        reflector.close()
    assert [each["limit"] for each in follower.cluster.asked if "watch" not in each] == [PAGE, PAGE // 4, PAGE // 4]
    assert follower.lists == [(["a", "b"], 5)]


def test_an_output_that_is_too_long_is_said_so(monkeypatch: pytest.MonkeyPatch) -> None:
    """A flow whose last lines are huge costs no memory, and its end is reported all the same."""
    monkeypatch.setattr(bounded_json, "gathered", partial(bounded_json.gathered, most=5_000))
    marks = {"io.prefect.agent.unit": "unit", "io.prefect.flow-run-id": "run", "io.prefect.agent.attempt": "1"}
    state = {"Status": "running", "Running": True}
    with stub_engine() as server:
        about = {"Id": "id-unit", "Name": "/unit", "Config": {"Labels": marks, "Tty": True}, "State": state}
        for name in ("unit", "id-unit"):
            server.answers[f"GET /containers/{name}/json"] = says(about)
        server.answers["GET /containers/id-unit/logs"] = says(["x" * 10_000])
        platform = DockerPlatform(base_url=server.address)
        try:
            assert "too long" in platform.logs_tail("unit")
        finally:
            platform.close()


def listing(handler: Handler) -> None:
    """The engine's list of twelve containers as the engine itself pages it, the latest first."""
    query: dict[str, str] = {name: values[0] for name, values in parse_qs(urlsplit(handler.path).query).items()}
    before = json.loads(query["filters"]).get("before", ["id-12"])[0]
    older = range(int(before.partition("-")[2]) - 1, -1, -1)
    limit = int(query.get("limit", -1))
    chosen = list(older)[: limit if limit > 0 else None]
    says([{"Id": f"id-{n}", "Labels": {f"l{k}": "" for k in range(100)}} for n in chosen])(handler)


def test_containers_with_many_labels_hide_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    """The labels of an image are its maker's: a list that is too much is read in parts."""
    monkeypatch.setattr(bounded_json, "loads", partial(bounded_json.loads, most=250))
    with stub_engine() as server:
        server.answers["GET /containers/json"] = listing
        found = DockerEngine(server.address, timeout=30)
        with found.asked("list containers") as client:
            entries = docker_listing.entries(client)
        found.close()
    assert [entry["Id"] for entry in entries] == [f"id-{n}" for n in range(11, -1, -1)]


@pytest.mark.docker
def test_a_real_engine_lists_in_parts(small_image: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Part by part it is the same list."""
    found = DockerEngine(None, timeout=60)
    label = f"bounds-{uuid.uuid4().hex}"
    monkeypatch.setattr(docker_listing, "UNIT", label)
    monkeypatch.setattr(docker_listing, "PART", 2)
    with found.asked("make containers") as client:
        made = [client.create_container(small_image, ["true"], labels={label: ""})["Id"] for _ in range(5)]
        try:
            whole = docker_listing.entries(client)
            parts = docker_listing._in_parts(client)
        finally:
            for container in made:
                client.remove_container(container)
    found.close()
    assert [entry["Id"] for entry in parts] == [entry["Id"] for entry in whole] == made[::-1]

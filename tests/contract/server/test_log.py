"""The log of the embedded Cloud: one line for each rescue, scheduled batch, refused request and first use of a key."""

import io
import json
import logging
import socket
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest
import requests

from prefect.agent.entrypoints.server.cli import logs
from prefect.agent.entrypoints.server.http.serving import make_server
from prefect.agent.entrypoints.server.storage.keys import add_key
from prefect.agent.entrypoints.server.testing import running_server
from support.embedded import Embedded
from support.server_rounds import a_silent_run, services
from support.waiting import wait_until


@pytest.fixture
def log() -> io.StringIO:
    """The server's log as JSON lines."""
    stream = io.StringIO()
    logs.set_up("json", ["hunter2"], stream)
    return stream


@pytest.fixture
def cloud(tmp_path: Path) -> Generator[Embedded]:
    """An empty Cloud without HTTP."""
    embedded = Embedded(tmp_path / "embedded.db")
    yield embedded
    embedded.database.close()


def lines(log: io.StringIO, event: str) -> list[dict[str, Any]]:
    """Return the log lines of one event."""
    return [line for text in log.getvalue().splitlines() if (line := json.loads(text))["event"] == event]


def post(url: str, query: str, **headers: str) -> requests.Response:
    """Send one request."""
    with requests.Session() as http:
        http.trust_env = False
        return http.post(url, json={"query": query}, headers=headers, timeout=60)


def test_a_rescue_is_one_line(cloud: Embedded, log: io.StringIO) -> None:
    """The line names the run, its new state and the reason."""
    run, task_id = a_silent_run(cloud)
    sum(services(cloud).bury())
    sum(services(cloud).resurrect())

    task_run, flow_run = lines(log, "run_rescued")
    name = cloud.row("flow_run", run, "name")["name"]
    assert f"Task run {task_run['run_id']} of flow run {name} ({run}) is Failed now." in task_run["message"]
    assert f"Flow run {name} ({run}) is Scheduled now. Rescheduled by Lazarus" in flow_run["message"]
    assert (flow_run["run_id"], flow_run["level"], flow_run["agent"]) == (run, "INFO", "server")
    assert task_run["run_id"] == task_id


def test_a_scheduled_batch_is_one_line(cloud: Embedded, log: io.StringIO) -> None:
    """However many steps the batch took; a round without new runs writes nothing."""
    schedule = {"clocks": [{"type": "CronClock", "cron": "0 6 * * *"}]}
    flow_id = cloud.flow(cloud.project(), tasks=60, schedule=schedule)
    with cloud.database.write() as tx:
        tx.update("flow", flow_id, {"is_schedule_active": True})

    assert sum(services(cloud).schedule()) == 10
    assert sum(services(cloud).schedule()) == 0

    [line] = lines(log, "runs_scheduled")
    assert line["message"] == f"Scheduled 10 runs of flow flow ({flow_id})"
    assert (line["flow_id"], line["runs"]) == (flow_id, 10)


def test_the_first_use_of_a_key_is_one_line(cloud: Embedded, log: io.StringIO) -> None:
    """With the name and id of the key, never with the key."""
    with cloud.database.write() as tx:
        tenant = tx.row("tenant", "1")
        assert tenant
        key_id, key = add_key(tx, tenant["id"], "for ci", scope="runner")
    for _ in range(3):
        cloud.send("{ hello }", headers={"authorization": f"Bearer {key}"})

    [line] = lines(log, "key_first_used")
    assert line["message"] == f"API key for ci ({key_id}), scope runner: first request since the start"
    assert key not in log.getvalue()


def test_refused_requests_are_logged_once_a_minute(tmp_path: Path, log: io.StringIO) -> None:
    """Each kind of refusal gives one line, however often a client repeats the request."""
    with running_server(tmp_path / "cloud.db", keys=frozenset({"right"})) as url:
        for _ in range(5):
            post(url, "{ hello }", Authorization="Bearer wrong")
            post(url, "{ hello }", Host="other.example")
            post(url, "{ nothing }", Authorization="Bearer right")

    said = [(line["level"], line["message"]) for line in lines(log, "request_refused")]
    start = "Refused a request from 127.0.0.1: "
    other_host = "This Cloud does not answer to that Host; start it with --allow-host other.example"
    assert said == [
        ("WARNING", f"{start}The API key is not accepted (UNAUTHENTICATED)"),
        ("WARNING", f"{start}{other_host} (MISDIRECTED_REQUEST)"),
        ("WARNING", f"{start}GRAPHQL_VALIDATION_FAILED"),
    ]
    assert "right" not in log.getvalue()


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ('mutation { create_project(input: { name: "" }) { id } }', "create_project: name must not be empty (REFUSED)"),
        ('query { flow_by_pk(id: "hunter3") { id } }', "GRAPHQL_VALIDATION_FAILED"),
        ('mutation { set_secret(input: { name: "n", value: "hunter3", x: 1 }) { success } }',
         "GRAPHQL_VALIDATION_FAILED"),
    ],
)  # fmt: skip
def test_a_refusal_repeats_no_value_of_the_client(cloud: Embedded, query: str, said: str) -> None:
    """A document may hold a secret: the log has the Cloud's own messages, and of others the code alone."""
    answer = cloud.execute({"query": query}, {})

    assert answer.refusal == said


def test_an_accepted_request_says_nothing(tmp_path: Path, log: io.StringIO) -> None:
    """A log that grows with every poll would be of no use."""
    with running_server(tmp_path / "cloud.db") as url:
        for _ in range(3):
            assert post(url, "{ hello }").status_code == 200

    assert log.getvalue() == ""


def test_a_client_that_speaks_https_is_named_in_the_log(tmp_path: Path, log: io.StringIO) -> None:
    """Its own message is about TLS records; the server says what is wrong."""
    with running_server(tmp_path / "cloud.db") as url, requests.Session() as http:
        http.trust_env = False
        with pytest.raises(requests.exceptions.SSLError):
            http.get(url.replace("http:", "https:"), timeout=60)
        wait_until(lambda: "speaks TLS" in log.getvalue(), what="the line in the log")

    [text] = log.getvalue().splitlines()
    expected = "Refused a client at 127.0.0.1 that speaks TLS: this port serves http, not https"
    assert json.loads(text)["message"] == expected


def test_noise_in_a_request_goes_through_the_same_formatter(tmp_path: Path, log: io.StringIO) -> None:
    """Messages of the HTTP library are lines of the server's log."""
    with running_server(tmp_path / "cloud.db") as url:
        host, port = url.removeprefix("http://").split(":")
        with socket.create_connection((host, int(port))) as connection:
            connection.sendall(b"no request\r\n\r\n")
            assert b"400" in connection.recv(1000)

    [text] = log.getvalue().splitlines()
    assert json.loads(text)["logger"] == "uvicorn.error"


def test_the_servers_log_masks_its_keys(log: io.StringIO) -> None:
    """Keys of the command line are secrets in every line."""
    logging.getLogger("prefect.agent.entrypoints.server").warning("the key is %s", "hunter2")

    assert "hunter2" not in log.getvalue()


def test_a_server_leaves_the_logging_of_its_process_alone(cloud: Embedded) -> None:
    """A test or a program that runs a server has its own handlers."""
    before = logging.getLogger("uvicorn").handlers[:]
    make_server(cloud.database)

    assert logging.getLogger("uvicorn").handlers == before

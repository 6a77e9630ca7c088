"""``prefect server start`` as a person runs it: what it says, what it keeps, how it ends."""

import signal
import subprocess
import sys
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import requests

from prefect.agent.domain.cloud.rescue import LOST
from prefect.agent.entrypoints.server.cli import commands as cli
from prefect.agent.entrypoints.server.services import PERIODS
from prefect.agent.entrypoints.server.testing import running_server
from support.server_command import Started, started
from support.waiting import wait_until

PREFECT = Path(sys.executable).parent / "prefect-agent"
EVERYWHERE = "0.0.0.0"


def ask(url: str, key: str | None = None) -> str:
    """The text of the answer to a small question."""
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    with requests.Session() as http:
        http.trust_env = False
        return http.post(url, json={"query": "{ hello }"}, headers=headers, timeout=60).text


def send(server: Started, document: str, **variables: Any) -> Any:
    """The data of a request that must succeed."""
    with requests.Session() as http:
        http.trust_env = False
        answer = http.post(server.url, json={"query": document, "variables": variables}, timeout=60).json()
    assert "errors" not in answer, answer
    return answer["data"]


def change(server: Started, name: str, gives: str, /, **given: Any) -> Any:
    """The answer of a mutation that must succeed."""
    return send(server, f"mutation($i: {name}_input!) {{ {name}(input: $i) {{ {gives} }} }}", i=given)[name]


def test_it_says_where_it_is_and_what_to_do(tmp_path: Path) -> None:
    """Its address, its file, and three commands."""
    with started(tmp_path, "--database", str(tmp_path / "kept.db")) as server:
        assert "hello" in ask(server.url)
        assert server.path == tmp_path / "kept.db"
        commands = [line for line in server.said.splitlines() if line.startswith("  ")]
        assert len(commands) == 3
        assert f"PREFECT__SERVER__ENDPOINT={server.url}" in commands[0]
        assert f"PREFECT__SERVER__UI__ENDPOINT={server.url}" in commands[0]
        assert commands[2].endswith(f"agent start process --api {server.url}")
        server.process.send_signal(signal.SIGTERM)
        assert server.process.wait(60) == 0
    assert (tmp_path / "kept.db").is_file()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_an_ephemeral_file_is_gone_at_the_end(tmp_path: Path, number: signal.Signals) -> None:
    """With its folder, whichever signal it was."""
    with started(tmp_path, "--ephemeral") as server:
        assert "hello" in ask(server.url)
        assert server.path.is_file()
        server.process.send_signal(number)
        assert server.process.wait(60) == 0
    assert not server.path.parent.exists()


def test_beyond_the_loopback_a_key_is_always_asked_for(tmp_path: Path) -> None:
    """Also after the last one was revoked."""
    path = str(tmp_path / "c.db")
    base = [str(PREFECT), "server"]
    key = subprocess.run(
        [*base, "create-key", "--database", path], capture_output=True, text=True, check=True
    ).stdout.strip()

    with started(tmp_path, "--host", EVERYWHERE, "--database", path) as server:
        assert "--token-file KEY-FILE" in server.said
        assert "--key KEY" not in server.said
        assert server.url.startswith("http://127.0.0.1:")
        assert "UNAUTHENTICATED" in ask(server.url)
        assert "hello" in ask(server.url, key)
        listed = subprocess.run([*base, "list-keys", "--database", path], capture_output=True, text=True, check=True)
        subprocess.run([*base, "revoke-key", "--database", path, listed.stdout.split()[0]], check=True)
        assert "UNAUTHENTICATED" in ask(server.url, key)
        assert "UNAUTHENTICATED" in ask(server.url)


def test_anonymous_beyond_the_loopback_must_be_said(tmp_path: Path) -> None:
    """Then it is done."""
    with started(tmp_path, "--host", EVERYWHERE, "--ephemeral", "--allow-anonymous") as server:
        assert "hello" in ask(server.url)
        assert "No API key" in server.said


def test_it_can_be_as_loose_as_prefect_server(tmp_path: Path) -> None:
    """Then it says so, and a run that has finished can be claimed at any version."""
    with started(tmp_path, "--ephemeral", "--as-loose-as-server") as server:
        assert "as loose as Prefect Server" in server.said
        project = change(server, "create_project", "id", name="p")["id"]
        flow = {"name": "f", "tasks": [], "edges": []}
        flow_id = change(server, "create_flow", "id", project_id=project, serialized_flow=flow)["id"]
        run = change(server, "create_flow_run", "id", flow_id=flow_id)["id"]
        for state in ("Success", "Submitted"):
            entry = {"flow_run_id": run, "version": 7, "state": {"type": state}}
            change(server, "set_flow_run_states", "states { id }", states=[entry])


def test_what_it_does_by_itself_can_be_chosen(tmp_path: Path) -> None:
    """A service that is switched off does nothing; the others work at the periods that were asked for."""
    flow = {"name": "f", "tasks": [], "edges": [], "schedule": {"clocks": [{"type": "CronClock", "cron": "0 6 * * *"}]}}
    words = ("--heartbeat-timeout", "0.1", "--lazarus-period", "0.1", "--scheduler-period", "0.1")
    lively, calm = words, (*words, "--no-lazarus", "--no-scheduler")
    with started(tmp_path, "--ephemeral", *lively) as one, started(tmp_path, "--ephemeral", *calm) as other:
        runs = {}
        for server in (one, other):
            project = change(server, "create_project", "id", name="p")["id"]
            given = {"project_id": project, "serialized_flow": flow}
            flow_id = change(server, "create_flow", "id", **given, set_schedule_active=True)["id"]
            runs[server.url] = change(server, "create_flow_run", "id", flow_id=flow_id)["id"]
            planned = send(server, "query { flow_run(where: { auto_scheduled: { _eq: true } }) { id } }")["flow_run"]
            assert len(planned) == 10
            for run in planned:
                change(server, "delete_flow_run", "success", flow_run_id=run["id"])
            entry = {"flow_run_id": runs[server.url], "state": {"type": "Submitted"}}
            change(server, "set_flow_run_states", "states { id }", states=[entry])

        def seen(server: Started) -> tuple[str, int]:
            document = "query($id: uuid!) { flow_run_by_pk(id: $id) { state times_resurrected } }"
            row = send(server, document, id=runs[server.url])["flow_run_by_pk"]
            return row["state"], row["times_resurrected"]

        def planned_again(server: Started) -> int:
            return len(send(server, "query { flow_run(where: { auto_scheduled: { _eq: true } }) { id } }")["flow_run"])

        wait_until(lambda: seen(one) == ("Scheduled", 1), 60, "Lazarus at work")
        wait_until(lambda: planned_again(one), 60, "the scheduler at work")
        assert seen(other) == ("Submitted", 0)
        assert planned_again(other) == 0


@pytest.mark.parametrize("words", [("--lazarus-period", "0"), ("--heartbeat-timeout", "soon"), ("--no-such",)])
def test_periods_that_make_no_sense(tmp_path: Path, words: tuple[str, ...]) -> None:
    """Are refused before anything is opened."""
    done = subprocess.run(
        [PREFECT, "server", "start", *words], env={"HOME": str(tmp_path)}, capture_output=True, text=True, check=False
    )

    assert done.returncode == 2
    assert words[0] in done.stderr
    assert not list(tmp_path.iterdir())


def test_the_help_tells_the_usual_routine() -> None:
    """The numbers on the command line are those of the services."""
    assert {name: period for name, (period, _) in cli._SERVICES.items()} == PERIODS
    assert timedelta(seconds=cli._SILENCE) == LOST


def test_a_cloud_for_a_test_is_there_in_no_time(tmp_path: Path) -> None:
    """Made, asked and gone again; the first one of a process reads the schema's modules as well."""
    took: list[float] = []

    def once_quick() -> bool:
        begin = time.perf_counter()
        with running_server(tmp_path / f"{len(took)}.db") as url:
            assert "hello" in ask(url)
            took.append(time.perf_counter() - begin)
        return min(took) < 0.5

    wait_until(once_quick, 60, "no time")  # a machine that is busy may make it slow, but not every time

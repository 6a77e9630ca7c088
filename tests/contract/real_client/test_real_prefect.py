"""The real Prefect 1.4.1 and our parts together: client, flow processes, both agents."""

import signal
from collections.abc import Iterator
from pathlib import Path

import docker
import pytest

from prefect.agent.entrypoints.server.testing import running_server
from support.real_prefect import FLOWS, RealPrefect, found
from support.waiting import wait_until

pytestmark = pytest.mark.real_prefect

A_WHILE = 300


@pytest.fixture
def real(tmp_path: Path, prefect_python: Path) -> Iterator[RealPrefect]:
    """The real client against an embedded Cloud."""
    with running_server(tmp_path / "cloud.db") as url:
        yield RealPrefect(prefect_python, url, tmp_path)


def process_agent(real: RealPrefect, *more: str) -> tuple[str, ...]:
    """Words that start our process agent."""
    return ("start", "process", "--interpreter", str(real.python), *more)


def test_runs_made_in_every_way_are_found_and_succeed(real: RealPrefect) -> None:
    """Client.register and `prefect register`; runs by GraphQL, Python and CLI: all of them end Success."""
    flow_id = real.register("sums")
    by_graphql = real.create_run(flow_id)
    by_python = found(
        r"ID (\S+)", real.script(f"import prefect; print('ID', prefect.Client().create_flow_run({flow_id!r}))")
    )
    by_cli = found(r"UUID: (\S+)", real.cli("run", "--id", flow_id, "--param", "n=2"))
    runs = [by_graphql, by_python, by_cli]
    with real.agent(*process_agent(real)) as agent:
        wait_until(lambda: real.states(runs) == ["Success"] * 3, A_WHILE, "three Success")
        agent.send_signal(signal.SIGTERM)
        assert agent.wait(60) == 0
    for run_id in runs:
        assert real.history(run_id) == ["Scheduled", "Submitted", "Running", "Success"]
        assert any("Submitted for execution: PID:" in line for line in real.logs(run_id))
    rows = real.graphql("query { task_run(where: { map_index: { _gte: 0 } }) { state } }")["task_run"]
    assert [row["state"] for row in rows] == ["Success"] * (3 + 3 + 2)


def test_a_flow_registered_by_the_command_line_runs(real: RealPrefect) -> None:
    """`prefect register` sends the whole flow at once, and again does nothing."""
    real.cli("create", "project", "tests")
    first = real.cli("register", "--project", "tests", "-p", str(FLOWS / "sums.py"))
    flow_id = found(r"ID: (\S+)", first)
    assert "1 skipped" in real.cli("register", "--project", "tests", "-p", str(FLOWS / "sums.py"))
    run_id = real.create_run(flow_id)
    with real.agent(*process_agent(real)):
        wait_until(lambda: real.states([run_id]) == ["Success"], A_WHILE, "Success")


def test_a_retry_far_ahead_is_picked_up_by_a_new_unit(real: RealPrefect) -> None:
    """A Running run with a due task run is started again, and only its task run is claimed (protocol 4.4)."""
    run_id = real.create_run(real.register("patient"))
    task_run = "query { task_run { id state version serialized_state } }"
    with real.agent(*process_agent(real)):
        wait_until(lambda: real.graphql(task_run)["task_run"][0]["state"] == "Retrying", A_WHILE, "Retrying")
        row = real.graphql(task_run)["task_run"][0]
        due = {**row["serialized_state"], "start_time": "2020-01-01T00:00:00+00:00"}
        entry = {"task_run_id": row["id"], "version": row["version"], "state": due}
        document = "mutation($i: set_task_run_states_input!) { set_task_run_states(input: $i) { states { id } } }"
        real.graphql(document, {"i": {"states": [entry]}})
        wait_until(lambda: real.states([run_id]) == ["Success"], A_WHILE, "Success")
    assert real.history(run_id) == ["Scheduled", "Submitted", "Running", "Success"]
    started = [line for line in real.logs(run_id) if line.startswith("Submitted for execution: PID:")]
    assert len(started) == 2
    assert len(set(started)) == 2


def test_a_cancelled_run_ends_cancelled(real: RealPrefect) -> None:
    """The flow process sees the cancellation and ends by itself."""
    run_id = real.create_run(real.register("endless"))
    with real.agent(*process_agent(real, "--env", "PREFECT__CLOUD__CHECK_CANCELLATION_INTERVAL=0.5")):
        wait_until(lambda: real.states([run_id]) == ["Running"], A_WHILE, "Running")
        real.graphql(f'mutation {{ cancel_flow_run(input: {{ flow_run_id: "{run_id}" }}) {{ state }} }}')
        wait_until(lambda: real.states([run_id]) == ["Cancelled"], A_WHILE, "Cancelled")


def test_the_real_local_agent_drains_the_embedded_cloud(real: RealPrefect) -> None:
    """The official agent finds nothing missing in our Cloud."""
    runs = [real.create_run(real.register("sums")) for _ in range(1)]
    runs += [real.create_run(real.graphql("query { flow { id } }")["flow"][0]["id"]) for _ in range(2)]
    with real.agent("local", "start", "--no-hostname-label", own=False):
        wait_until(lambda: real.states(runs) == ["Success"] * 3, A_WHILE, "three Success")
    assert real.graphql("query { agent { type } }")["agent"] == [{"type": "LocalAgent"}]


@pytest.mark.docker
@pytest.mark.parametrize("own", [True, False], ids=["our agent", "the real agent"])
def test_containers_run_flows_to_success(real: RealPrefect, flow_image: str, own: bool) -> None:
    """Our Docker agent, and the real one, run a real flow in a container on the host's network."""
    flow_id = real.register("sums")
    config: dict[str, object] = {"type": "DockerRun", "image": flow_image, "env": None, "labels": []}
    runs = [real.create_run(flow_id, run_config=config) for _ in range(2)]
    words = ("start", "docker") if own else ("docker", "start")
    volume = f"{FLOWS}:{FLOWS}:ro"
    address = (
        "--env",
        f"PREFECT__CLOUD__API={real.url}",
    )  # the real agent rewrites no loopback address but localhost's
    with real.agent(*words, "--no-pull", "--network", "host", "--volume", volume, *address, own=own):
        wait_until(lambda: real.states(runs) == ["Success"] * 2, A_WHILE, "two Success")
    if own:
        assert all(any("Container ID:" in line for line in real.logs(run_id)) for run_id in runs)
        _remove_containers(runs)


def _remove_containers(runs: list[str]) -> None:
    client = docker.from_env()
    try:
        for run_id in runs:
            for container in client.containers.list(all=True, filters={"label": f"io.prefect.flow-run-id={run_id}"}):
                container.remove(force=True)
    finally:
        client.close()

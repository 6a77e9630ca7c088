"""``prefect agent why`` against the embedded Cloud: what it prints, and how it exits."""

import json
import os
import subprocess
import sys
from collections.abc import Generator
from pathlib import Path
from typing import Final

import pytest
import requests

from prefect.agent.entrypoints.server.testing import running_server

SECRET: Final = "pcu_SECRET-that-must-never-be-seen"


@pytest.fixture
def url(tmp_path: Path) -> Generator[str]:
    """A Cloud of one's own."""
    with running_server(tmp_path / "cloud.db") as url:
        yield url


def mutate(url: str, name: str, gives: str, /, **given: object) -> str:
    """One mutation; its id."""
    document = f"mutation($input: {name}_input!) {{ {name}(input: $input) {{ {gives} }} }}"
    answer = requests.post(url, json={"query": document, "variables": {"input": given}}, timeout=30).json()
    return str(answer["data"][name][gives])


def run(url: str, flow_run_name: str = "crimson-dolphin", **more: object) -> str:
    """A new flow run of a flow."""
    project = mutate(url, "create_project", "id", name="p")
    flow = {"name": "f", "tasks": [], "edges": [], "type": "prefect.core.flow.Flow", "__version__": "1.4.1"}
    flow_id = mutate(url, "create_flow", "id", project_id=project, serialized_flow=flow)
    return mutate(url, "create_flow_run", "id", flow_id=flow_id, flow_run_name=flow_run_name, **more)


def why(url: str, home: Path, *words: str, **more: str) -> "subprocess.CompletedProcess[str]":
    """The command, as a person calls it."""
    env = {"PATH": os.environ["PATH"], "HOME": str(home), "PREFECT__BACKEND": "server", "PREFECT__CLOUD__API": url}
    env |= more
    command = [sys.executable, "-m", "prefect.agent", "agent", "why", *words]
    return subprocess.run(command, env=env, capture_output=True, text=True, timeout=60, check=False)


def ask(url: str, *labels: str) -> None:
    """An agent registers, and asks for work."""
    agent = mutate(url, "register_agent", "id", name="gpu-1", type="DockerAgent", labels=list(labels), tenant_id=None)
    document = "mutation($input: get_runs_in_queue_input!) { get_runs_in_queue(input: $input) { flow_run_ids } }"
    given = {"before": "2026-01-01T00:00:00+00:00", "labels": list(labels), "tenant_id": None}
    body = {"query": document, "variables": {"input": given}}
    requests.post(url, json=body, headers={"X-PREFECT-AGENT-ID": agent}, timeout=30).raise_for_status()


def test_a_run_that_no_agent_takes(url: str, tmp_path: Path) -> None:
    """By its name: exit code 1, the agents that there are, what they lack, and a command."""
    run(url, labels=["vm"])
    ask(url, "gpu")

    done = why(url, tmp_path, "crimson-dolphin")

    lines = [line.strip() for line in done.stdout.splitlines()]
    assert done.returncode == 1, done.stderr
    assert lines[0].startswith("crimson-dolphin (flow f v1, ")
    assert lines[1] == "x  No agent takes its labels: vm."
    assert lines[2].split() == ["agent", "kind", "labels", "last", "seen", "lacks"]
    assert lines[3].split()[:3] == ["gpu-1", "DockerAgent", "gpu"]
    assert lines[3].split()[-1] == "vm"
    assert "prefect agent start --label vm" in lines


def test_a_run_that_an_agent_could_take(url: str, tmp_path: Path) -> None:
    """By the address that the client prints, as JSON: exit code 0."""
    run_id = run(url, labels=["gpu"])
    ask(url, "gpu", "vm")

    done = why(url, tmp_path, f"http://localhost:8080/default/flow-run/{run_id}", "--output", "json")

    found = json.loads(done.stdout)
    assert done.returncode == 0, done.stderr
    assert (found["run"]["id"], found["run"]["labels"]) == (run_id, ["gpu"])
    assert [(finding["cause"], finding["stops"]) for finding in found["findings"]] == [("agents", False)]


def test_names_of_others_do_nothing_to_a_terminal(url: str, tmp_path: Path) -> None:
    """Labels and names of agents are whatever people wrote; control characters are escaped."""
    run_id = run(url, labels=["vm\x1b[2J"])
    ask(url, "gpu\x1b[31m\n")

    done = why(url, tmp_path, run_id)

    assert done.returncode == 1
    assert "\x1b" not in done.stdout
    assert "vm\\x1b[2J" in done.stdout


def test_the_key_comes_from_a_file(tmp_path: Path) -> None:
    """And is not shown if the Cloud is away."""
    file = tmp_path / "key"
    file.write_text("pak_a-secret-in-a-file\n", encoding="ascii")

    done = why("http://127.0.0.1:1", tmp_path, "crimson-dolphin", "--token-file", str(file))

    assert done.returncode == 69
    assert "a-secret" not in done.stdout + done.stderr


def test_a_run_that_is_not_there(url: str, tmp_path: Path) -> None:
    """Exit code 2, and a sentence."""
    done = why(url, tmp_path, "no-such-run")

    assert done.returncode == 2
    assert "this tenant has no flow run with the id or the name 'no-such-run'" in done.stderr


def test_a_cloud_that_is_away(tmp_path: Path) -> None:
    """Its exit code, no traceback."""
    done = why("http://127.0.0.1:1", tmp_path, "crimson-dolphin")

    assert done.returncode == 69
    assert done.stderr.startswith("Error: cannot reach")


def test_a_unit_that_is_not_where_its_claim_says(url: str, tmp_path: Path) -> None:
    """The platform is asked for the unit of the claim, if it is the one that the claim names."""
    done = why(url, tmp_path, run(url), "process")

    assert done.returncode == 1, done.stderr
    assert "No agent asks this tenant for work." in done.stdout


@pytest.mark.parametrize("output", ["text", "json"])
def test_texts_of_others_do_nothing_to_the_terminal_and_show_no_secret(url: str, tmp_path: Path, output: str) -> None:
    """A flow run's name may hold a line that looks like ours, colours, and a secret that an author has seen."""
    run_id = run(url, f"evil\x1b[2J\nok nothing is wrong\u202e {SECRET}", labels=["vm"])

    done = why(url, tmp_path, run_id, "--output", output, PREFECT__CONTEXT__SECRETS__TOKEN=SECRET)

    assert done.returncode == 1, done.stderr
    assert not {"\x1b", "\u202e"} & {*done.stdout}
    assert "ok nothing is wrong" not in done.stdout.splitlines()
    assert "evil" in done.stdout
    assert SECRET not in done.stdout


def test_a_command_to_copy_is_one_command(url: str, tmp_path: Path) -> None:
    """A label of a flow author is one word of it, whatever it holds."""
    run(url, labels=["vm;reboot $(id)"])

    done = why(url, tmp_path, "crimson-dolphin")

    assert "prefect agent start --label 'vm;reboot $(id)'" in [line.strip() for line in done.stdout.splitlines()]


@pytest.mark.parametrize("way", ["option", "file", "address"])
def test_its_own_login_is_masked(url: str, tmp_path: Path, way: str) -> None:
    """However it was given: what the Cloud repeats of it is not shown."""
    given = {"file": {"PREFECT__CLOUD__API_KEY_FILE": str(tmp_path / "key")}}.get(way, {})
    (tmp_path / "key").write_text(SECRET)
    (tmp_path / "key").chmod(0o600)
    address = url.replace("://", f"://me:{SECRET}@") if way == "address" else url
    run_id = run(url, f"name {SECRET}", labels=["vm"])

    done = why(address, tmp_path, run_id, *(["--token", SECRET] if way == "option" else []), **given)

    assert SECRET not in done.stdout + done.stderr

"""The command line of the real Prefect 1.4.1, each command as a person types it (protocol section 12.2)."""

import json
import shutil
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import attrs
import pytest

from support.real_prefect import RealPrefect, found
from support.waiting import wait_until

pytestmark = pytest.mark.real_prefect

HERE = Path(__file__).parent
UUID = r"UUID: (\S+)"


@pytest.fixture(scope="module")
def shop(real: RealPrefect) -> str:
    """A project with the flow "greeting" in two versions; return the id of the newer one."""
    for name in ("greeting", "standard"):
        shutil.copy(HERE / "flows" / f"{name}.py", real.home / f"{name}.py")
    assert "shop created" in real.cli("create", "project", "shop", "--description", "of the tests")
    words = ("register", "--project", "shop", "-p", "greeting.py", "--label", "x")
    first = real.cli(*words)
    assert "Version: 1" in first
    assert "1 skipped" in real.cli(*words)
    forced = real.cli(*words, "--force")
    assert "Version: 2" in forced
    assert found(r"ID: (\S+)", first) != found(r"ID: (\S+)", forced)
    real.cli("register", "--project", "shop", "-m", "standard")
    return found(r"ID: (\S+)", forced)


@attrs.frozen
class Here:
    """A run that ``prefect run --execute`` has made, and what it printed."""

    run_id: str
    printed: str


@pytest.fixture(scope="module")
def here(real: RealPrefect, shop: str) -> Here:
    """Executed by the command itself, without an agent."""
    printed = real.cli("run", "--name", "greeting", "--project", "shop", "--param", 'name="Ada"', "--param", "times=2",
                       "--context", 'mood="good"', "--run-name", "here", "--execute")  # fmt: skip
    return Here(found(UUID, printed), printed)


def run_row(real: RealPrefect, run_id: str) -> dict[str, Any]:
    """What the Cloud has of a flow run."""
    document = "query($id: uuid!) { flow_run_by_pk(id: $id) { name state labels parameters context flow { name } } }"
    row: dict[str, Any] = real.graphql(document, {"id": run_id})["flow_run_by_pk"]
    return row


def commands(real: RealPrefect, *asked: Sequence[str]) -> list[str]:
    """What several commands print, run by one process; all must succeed."""
    outcomes = real.program(HERE / "programs" / "commands.py", asked)
    assert [status for status, _ in outcomes] == [0] * len(asked), outcomes
    return [printed for _, printed in outcomes]


def table(printed: str) -> list[list[str]]:
    """Rows of a printed table without its head, cut where at least two spaces are."""
    lines = [line for line in printed.splitlines() if line.strip()]
    return [[cell.strip() for cell in line.split("  ") if cell.strip()] for line in lines[1:]]


def test_projects_are_created_once_and_deleted(real: RealPrefect, shop: str) -> None:
    """Creating again is no error; deleting takes the flows along; deleting again is one."""
    assert "shop created" in real.cli("create", "project", "shop")
    real.cli("create", "project", "doomed")
    real.cli("register", "--project", "doomed", "-p", "standard.py")
    flows = 'query { flow(where: { project: { name: { _eq: "doomed" } } }) { id } }'
    assert len(real.graphql(flows)["flow"]) == 2
    assert "doomed deleted" in real.cli("delete", "project", "doomed")
    assert real.graphql(flows) == {"flow": []}
    _, printed = real.attempt("delete", "project", "doomed")
    assert "Project doomed not found" in printed
    assert len(real.graphql('query { project(where: { name: { _eq: "shop" } }) { id } }')["project"]) == 1


def test_modules_and_single_flows_are_registered(real: RealPrefect, shop: str) -> None:
    """By the import path of a module or of a flow; again without change: skipped."""
    again = real.cli("register", "--project", "shop", "-m", "standard.second")
    assert "1 skipped" in again
    one = real.cli("register", "--project", "shop", "-m", "standard", "-n", "first", "--force", "--label", "y")
    assert "1 registered" in one
    query = 'query { flow(where: { name: { _eq: "first" }, archived: { _eq: false } }) { version storage run_config } }'
    (row,) = real.graphql(query)["flow"]
    assert row["version"] == 2
    assert (row["storage"]["type"], row["storage"]["module"]) == ("Module", "standard")
    assert row["run_config"]["labels"] == ["y"]


def test_folders_are_registered_and_built(real: RealPrefect, shop: str) -> None:
    """A folder at once, and the same through a file that ``prefect build`` writes."""
    folder = real.home / "folder"
    folder.mkdir()
    for name in ("greeting", "standard"):
        shutil.copy(HERE / "flows" / f"{name}.py", folder)
    for project in ("folders", "built"):
        real.cli("create", "project", project)
    assert "3 registered" in real.cli("register", "--project", "folders", "-p", "folder/")
    assert "3 built" in real.cli("build", "-p", "folder/", "-o", "built.json")
    assert len(json.loads((real.home / "built.json").read_text(encoding="utf-8"))["flows"]) == 3
    assert "3 registered" in real.cli("register", "--project", "built", "--json", "built.json")
    status, printed = real.attempt("register", "--project", "nowhere", "-p", "folder/")
    assert (status, "Project 'nowhere' does not exist" in printed) == (1, True)
    query = 'query { task(where: { flow: { project: { name: { _eq: "built" } } } }) { mapped flow { name } slug } }'
    tasks = real.graphql(query)["task"]
    assert sorted(row["flow"]["name"] for row in tasks if row["mapped"]) == ["second"]


def test_a_run_is_executed_on_the_spot(real: RealPrefect, here: Here) -> None:
    """``prefect run --execute``: labels that no agent has, logs as they come, the end."""
    assert "greeting Ada 2 times in good" in here.printed
    assert "Flow run succeeded" in here.printed
    row = run_row(real, here.run_id)
    (label,) = row.pop("labels")
    assert label.startswith("agentless-run-")
    assert row == {
        "name": "here", "state": "Success", "parameters": {"name": "Ada", "times": 2}, "context": {"mood": "good"},
        "flow": {"name": "greeting"},
    }  # fmt: skip


def test_runs_are_created_by_name_id_and_group(real: RealPrefect, shop: str) -> None:
    """With labels, a file of parameters, a level for the logs, a key against duplicates, and almost no words."""
    (real.home / "params.json").write_text('{"name": "Bob", "times": 5}', encoding="utf-8")
    once = ("--idempotency-key", "once", "--quiet")
    by_name = real.cli(
        "run", "--name", "greeting", "--project", "shop", "--label", "b", "--label", "a", "--param-file", "params.json",
        "--param", "times=1", "--log-level", "DEBUG", "--run-name", "by name",
    )  # fmt: skip
    first = real.cli("run", "--id", shop, "--param", 'name="Eve"', *once).split()[-1]
    again = real.cli("run", "--id", shop, "--param", 'name="Eve"', *once).split()[-1]
    assert first == again
    query = "query($id: uuid!) { flow_by_pk(id: $id) { flow_group_id } }"
    group = real.graphql(query, {"id": shop})["flow_by_pk"]["flow_group_id"]
    by_group = real.cli("run", "--id", group, "--param", 'name="Eve"', "--quiet").split()[-1]
    assert run_row(real, found(UUID, by_name)) == {
        "name": "by name", "state": "Scheduled", "labels": ["a", "b"], "parameters": {"name": "Bob", "times": 1},
        "context": {}, "flow": {"name": "greeting"},
    }  # fmt: skip
    assert run_row(real, by_group)["flow"] == {"name": "greeting"}
    assert "x" in run_row(real, first)["labels"], "the labels of its run config"
    level = real.graphql("query($id: uuid!) { flow_run_by_pk(id: $id) { run_config } }", {"id": found(UUID, by_name)})
    assert level["flow_run_by_pk"]["run_config"]["env"] == {"PREFECT__LOGGING__LEVEL": "DEBUG"}


def test_runs_that_cannot_be_created_say_why(real: RealPrefect, shop: str) -> None:
    """A parameter that is missing, a flow that is not there."""
    status, printed = real.attempt("run", "--name", "greeting", "--project", "shop")
    assert (status, "Required parameters were not supplied: name" in printed) == (1, True), printed
    status, printed = real.attempt("run", "--name", "no such flow")
    assert status == 1
    assert "no such flow" in printed


def test_a_run_is_watched_until_its_end(real: RealPrefect, shop: str) -> None:
    """``prefect run --watch`` beside the real local agent; --no-logs leaves the states."""
    go = real.home / "watched.go"
    until = f"until={json.dumps(str(go))}"
    words = ("--id", shop, "--param", 'name="Ada"', "--context", until, "--run-name", "watched")
    logs = 'query { log(where: { flow_run: { name: { _eq: "watched" } } }) { message } }'
    with real.agent("local", "start", "--label", "x", own=False), ThreadPoolExecutor(1) as people:
        watching = people.submit(real.cli, "run", *words, "--watch", "--label", "x")
        try:  # what the process sends in the end, after its last state, whoever watches may miss
            said = "greeting Ada 1 times in None"
            wait_until(lambda: watching.done() or said in str(real.graphql(logs)), 300, "the log before the end")
        finally:
            go.touch()
        watched = watching.result(300)
        silent = real.cli("run", "--name", "first", "--project", "shop", "--label", "x", "--watch", "--no-logs")
    assert "Entered state <Scheduled>" in watched
    assert said in watched
    assert "Flow run succeeded" in watched
    assert "Entered state <Success>" in silent
    assert "Beginning Flow run" not in silent


def test_a_failing_run_that_is_watched_fails_the_command(real: RealPrefect, shop: str) -> None:
    """Its exit status is what scripts look at."""
    (real.home / "sad.py").write_text((HERE / "flows" / "signalling.py").read_text(encoding="utf-8"), encoding="utf-8")
    real.cli("register", "--project", "shop", "-p", "sad.py", "-n", "bursting")
    status, printed = real.attempt("run", "--name", "bursting", "--project", "shop", "--execute")
    assert status == 1
    assert "ZeroDivisionError" in printed
    assert "Flow run failed" in printed


def test_flows_projects_tasks_and_runs_are_listed(real: RealPrefect, shop: str, here: Here) -> None:
    """``prefect get`` with its filters; a comparison with null is none (protocol section 12.6)."""
    flows, versions, one, projects, tasks, runs, started = commands(
        real,
        ["get", "flows", "--project", "shop"],
        ["get", "flows", "--project", "shop", "--name", "greeting", "--all-versions"],
        ["get", "flows", "--name", "greeting", "--project", "shop", "--version", "1"],
        ["get", "projects", "--name", "shop"],
        ["get", "tasks", "--flow-name", "second", "--project", "shop"],
        ["get", "flow-runs", "--limit", "1000"],
        ["get", "flow-runs", "--started", "--flow", "greeting", "--limit", "1000"],
    )
    names = [row[0] for row in table(flows)]
    assert names == sorted(set(names))
    assert {"first", "greeting", "second"} <= set(names)
    assert [row[:2] for row in table(versions)] == [["greeting", "2"], ["greeting", "1"]]
    assert [row[:2] for row in table(one)] == [["greeting", "1"]]
    assert [row[1] for row in table(flows) if row[0] == "greeting"] == ["2"]
    assert [(row[0], row[1], row[-1]) for row in table(projects)] == [("shop", str(len(names)), "of the tests")]
    assert [row[0] for row in table(tasks) if row[-2:-1] == ["True"]] == ["a step"]
    assert ["here", "greeting", "Success"] in [row[:3] for row in table(runs)]
    assert here.run_id in [row[-1] for row in table(started)]
    assert "Scheduled" not in started


def test_logs_are_printed_in_order(real: RealPrefect, here: Here) -> None:
    """``prefect get logs`` by name and by id."""
    by_name, by_id = commands(real, ["get", "logs", "--name", "here"], ["get", "logs", "--id", here.run_id])
    assert by_name == by_id
    rows = table(by_name)
    assert [row[2] for row in rows][:1] == ["Beginning Flow run for 'greeting'"]
    assert [row[0] for row in rows] == sorted(row[0] for row in rows)
    assert "greeting Ada 2 times in good" in by_name


def test_flows_tasks_and_runs_are_described(real: RealPrefect, shop: str, here: Here) -> None:
    """``prefect describe`` in JSON and YAML."""
    flow, tasks, run, text = commands(
        real,
        ["describe", "flows", "--name", "greeting", "--project", "shop"],
        ["describe", "tasks", "--name", "second", "--project", "shop"],
        ["describe", "flow-runs", "--name", "here", "--flow-name", "greeting"],
        ["describe", "flow-runs", "--name", "here", "--flow-name", "greeting", "--output", "yaml"],
    )
    described = json.loads(flow)
    assert (described["version"], described["archived"], described["project"]) == (2, False, {"name": "shop"})
    assert {p["name"]: p["required"] for p in described["parameters"]} == {"name": True, "times": False}
    (step,) = [row for row in json.loads(tasks) if row["name"] == "a step"]
    assert (step["max_retries"], step["mapped"], step["slug"]) == (2, True, "a step-slow-1")
    row = json.loads(run)
    assert (row["auto_scheduled"], row["flow"]) == (False, {"name": "greeting"})
    assert row["created"] <= row["start_time"] <= row["end_time"]
    assert row["serialized_state"]["type"] == "Success"
    assert "name: here" in text


def test_a_heartbeat_is_sent_by_the_command(real: RealPrefect, shop: str) -> None:
    """``prefect heartbeat flow-run``, which flow processes start."""
    run_id = real.create_run(shop, parameters={"name": "n"}, labels=["nobody"])
    query = "query($id: uuid!) { flow_run_by_pk(id: $id) { heartbeat } }"
    assert real.graphql(query, {"id": run_id})["flow_run_by_pk"]["heartbeat"] is None
    quick = attrs.evolve(real, settings={"PREFECT__CLOUD__HEARTBEAT_INTERVAL": "0.1"})
    quick.cli("heartbeat", "flow-run", "-i", run_id, "-n", "1")
    assert real.graphql(query, {"id": run_id})["flow_run_by_pk"]["heartbeat"] is not None


def test_backends_are_chosen_and_tenants_added(real: RealPrefect, shop: str) -> None:
    """``prefect backend`` needs nothing of the Cloud; a second tenant does not take the first one's place."""
    assert "Backend switched to server" in real.cli("backend", "server")
    assert 'backend = "server"' in (real.home / ".prefect" / "backend.toml").read_text(encoding="utf-8")
    before = real.graphql("query { tenant { id } }")["tenant"]
    made = found(r"ID: (\S+)", real.cli("server", "create-tenant", "--name", "Other", "--slug", "other"))
    assert real.graphql("query { tenant { id } }")["tenant"] == [*before, {"id": made}]
    real.cli("create", "project", "whose")
    query = 'query { project(where: { name: { _eq: "whose" } }) { tenant_id } }'
    assert real.graphql(query)["project"] == [{"tenant_id": before[0]["id"]}]


def test_an_agent_of_ours_runs_what_the_command_line_made(real: RealPrefect, shop: str) -> None:
    """Module storage is found from the agent's working directory."""
    run_id = found(UUID, real.cli("run", "--name", "second", "--project", "shop", "--label", "ours"))
    with real.agent("start", "process", "--interpreter", str(real.python), "--label", "ours"):
        wait_until(lambda: real.states([run_id]) == ["Success"], 300, "Success")
    assert real.history(run_id) == ["Scheduled", "Submitted", "Running", "Success"]

"""One real flow of each kind, run by our process agent against the embedded Cloud; all at once, looked at one by one.

What a flow process says is in protocol section 12.5; what the Cloud must make of it in protocol section 13.
"""

from collections.abc import Iterator
from contextlib import suppress
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import attrs
import pytest

from prefect.agent.domain.times import iso
from support.real_prefect import RealPrefect
from support.waiting import wait_until

pytestmark = pytest.mark.real_prefect

HERE = Path(__file__).parent
A_WHILE = 300
TASK_SUCCEEDED = ["Pending", "Running", "Success"]
FLOW_SUCCEEDED = ["Scheduled", "Submitted", "Running", "Success"]
FLOW_FAILED = ["Scheduled", "Submitted", "Running", "Failed"]

KINDS = (
    "mapping", "retrying", "caching", "checkpoints", "pausing", "looping", "signalling", "telling", "endless",
    "nesting", "locking", "dying",
)  # fmt: skip
GIVEN: dict[str, Any] = {
    "telling": {"parameters": {"who": "Ada"}},
    "mapping": {"parameters": {"n": 4}},
    "dying": {"run_config": {"type": "UniversalRun", "env": {"PREFECT__CLOUD__HEARTBEAT_MODE": "process"}}},
}
LATER = {"parent", "elder"}
"""They make runs of their own and wait long: begun last."""
LOCK = "mutation($input: enable_flow_version_lock_input!) { enable_flow_version_lock(input: $input) { success } }"


@attrs.frozen
class Kinds:
    """Every flow registered, one run of each begun.

    Attributes:
        flows: Flow name to flow id.
        runs: Flow name to the id of its first run.
    """

    real: RealPrefect
    flows: dict[str, str]
    runs: dict[str, str]

    def ended(self, run_id: str, state: str) -> dict[tuple[str, int], dict[str, Any]]:
        """Wait until the run is in *state*, its end; return its task runs."""
        ends = {"Success", "Failed", "Cancelled"}
        wait_until(lambda: self.real.states([run_id])[0] in ends, A_WHILE, f"the end of {run_id}")
        assert self.real.states([run_id]) == [state], self.real.logs(run_id)
        return self.real.task_runs(run_id)

    def told(self, run_id: str, words: str) -> None:
        """Wait for an entry of the run's log: what a flow process has to say it sends when it ends, after its state."""
        wait_until(lambda: any(words in line for line in self.real.logs(run_id)), A_WHILE, f"in the log: {words}")

    def results(self, *asked: tuple[str, str, int]) -> list[Any]:
        """Values of task runs: of flow run, slug, map index."""
        values: list[Any] = self.real.program(HERE / "programs" / "results.py", asked)
        return values


@pytest.fixture(scope="module")
def kinds(real: RealPrefect) -> Iterator[Kinds]:
    """Registers with the real client, runs with our process agent."""
    paths = [str(HERE / "flows" / f"{name}.py") for name in KINDS]
    flows = real.program(HERE / "programs" / "register.py", {"project": "kinds", "paths": paths})
    order = sorted(flows, key=lambda name: name in LATER)
    runs = {name: real.create_run(flows[name], flow_run_name=f"the {name}", **GIVEN.get(name, {})) for name in order}
    env = ("--env", "PREFECT__CLOUD__HEARTBEAT_MODE=thread", "--env", "PREFECT__CLOUD__CHECK_CANCELLATION_INTERVAL=0.5")
    with real.agent("start", "process", "--interpreter", str(real.python), *env):
        try:
            yield Kinds(real, flows, runs)
        finally:
            _stop(real, runs)


def _stop(real: RealPrefect, runs: dict[str, str]) -> None:
    """Leave no flow process behind, whatever was not looked at: each sees its cancellation and ends itself."""
    document = "mutation($i: cancel_flow_run_input!) { cancel_flow_run(input: $i) { state } }"
    for run_id in runs.values():
        real.graphql(document, {"i": {"flow_run_id": run_id}})
    with_process = [run_id for name, run_id in runs.items() if name != "pausing"]  # nobody is there while it is paused
    wait_until(lambda: not {"Running", "Cancelling"} & set(real.states(with_process)), A_WHILE, "the end of all")


def test_a_mapped_flow_has_a_task_run_per_child(kinds: Kinds) -> None:
    """Parents end Mapped, children Success, and each value is where its child says."""
    run_id = kinds.runs["mapping"]
    rows = kinds.ended(run_id, "Success")
    assert kinds.real.history(run_id) == FLOW_SUCCEEDED
    assert sorted(index for slug, index in rows if slug == "add-1") == [-1, 0, 1, 2, 3]
    assert sorted(index for slug, index in rows if slug == "add-2") == [-1, *range(8)]
    assert rows["add-1", -1]["history"] == ["Pending", "Mapped"]
    assert all(row["history"] == TASK_SUCCEEDED for (slug, index), row in rows.items() if index >= 0)
    asked = [(run_id, "add-1", 2), (run_id, "add-1", -1), (run_id, "total-1", -1)]
    assert kinds.results(*asked) == [12, [10, 11, 12, 13], 2 * (10 + 11 + 12 + 13) + 8]


def test_failed_tasks_are_tried_again(kinds: Kinds) -> None:
    """Each try is in the history: Failed, Retrying, Running again; a mapped child has tries of its own."""
    rows = kinds.ended(kinds.runs["retrying"], "Success")
    again = ["Failed", "Retrying", "Running"]
    assert rows["third_time-1", -1]["history"] == ["Pending", "Running", *again, *again, "Success"]
    assert rows["each-1", 1]["history"] == ["Pending", "Running", *again, "Success"]
    assert rows["each-1", 0]["history"] == TASK_SUCCEEDED
    assert rows["each-1", -1]["history"] == ["Pending", "Mapped"]


def test_cached_values_are_used_by_the_next_run(kinds: Kinds) -> None:
    """The second run finds the Cached states of the first: by task, by input, by key; what is not cached runs."""
    first = kinds.runs["caching"]
    kept = [("kept-1", -1), ("kept_by_input-1", -1), ("kept_by_key-1", -1)]
    rows = kinds.ended(first, "Success")
    assert all(rows[key]["history"] == ["Pending", "Running", "Success", "Cached"] for key in kept)
    second = kinds.real.create_run(kinds.flows["caching"])
    other_input = kinds.real.create_run(kinds.flows["caching"], parameters={"x": 2})
    rows = kinds.ended(second, "Success")
    assert [rows[key]["history"] for key in kept] == [["Pending", "Cached"]] * 3
    rows = kinds.ended(other_input, "Success")
    assert [rows[key]["history"][1] for key in kept] == ["Cached", "Running", "Cached"]
    slugs = [*kept, ("fresh-1", -1)]
    values = kinds.results(*((run_id, *key) for run_id in (first, second, other_input) for key in slugs))
    before, after, changed = values[:4], values[4:8], values[8:]
    assert [a == b for a, b in zip(before, after, strict=True)] == [True, True, True, False]
    assert [a == b for a, b in zip(before, changed, strict=True)] == [True, False, True, False]


def test_results_are_found_where_their_states_say(kinds: Kinds) -> None:
    """Locations with templates, values inside the state, and a value that was never written."""
    run_id = kinds.runs["checkpoints"]
    rows = kinds.ended(run_id, "Success")
    states = {slug: row["serialized_state"]["_result"] for (slug, _), row in rows.items()}
    written = kinds.real.home / "kept" / "the checkpoints" / "table.pickle"
    assert (states["table-1"]["type"], states["table-1"]["location"]) == ("LocalResult", str(written))
    assert written.exists()
    assert (states["count-1"]["type"], states["count-1"]["location"]) == ("PrefectResult", "3")
    assert states["private-1"].get("location") is None
    assert kinds.results((run_id, "table-1", -1), (run_id, "count-1", -1)) == [{"rows": [1, 2, 3]}, 3]


@pytest.mark.parametrize("by", ["the client", "the page"])
def test_a_paused_flow_goes_on_when_it_is_resumed(kinds: Kinds, by: str) -> None:
    """The run stays Running and nothing happens until somebody resumes the task; then a new process finishes it."""
    run_id = kinds.runs["pausing"] if by == "the client" else kinds.real.create_run(kinds.flows["pausing"])
    task = ("publish-1", -1)
    wait_until(lambda: kinds.real.task_runs(run_id).get(task, {}).get("state") == "Paused", A_WHILE, "Paused")
    row = kinds.real.task_runs(run_id)[task]
    assert kinds.real.states([run_id]) == ["Running"]
    if by == "the client":
        kinds.real.script(
            "from prefect import Client; from prefect.engine.state import Resume; "
            f"Client().set_task_run_state({row['id']!r}, Resume('approved'), version={row['version']})"
        )
    else:  # says no time: due at once
        document = "mutation($i: set_task_run_states_input!) { set_task_run_states(input: $i) { states { status } } }"
        resume = {"type": "Resume", "message": "approved", "context": {"resume": True}}
        entry = {"task_run_id": row["id"], "version": row["version"], "state": resume}
        kinds.real.graphql(document, {"i": {"states": [entry]}})
    wait_until(lambda: kinds.real.task_runs(run_id)[task]["state"] == "Success", A_WHILE, "the resumed task")
    rows = kinds.ended(run_id, "Success")
    assert rows[task]["history"] == ["Pending", "Paused", "Resume", "Submitted", "Running", "Success"]
    assert rows["prepare-1", -1]["history"] == TASK_SUCCEEDED, "what was finished ran again"
    assert kinds.real.history(run_id) == FLOW_SUCCEEDED


def test_a_loop_leaves_a_state_per_round(kinds: Kinds) -> None:
    """Looped is a finished state that a task run leaves again."""
    rows = kinds.ended(kinds.runs["looping"], "Success")
    once_more = ["Running", "Looped"]
    assert rows["rounds-1", -1]["history"] == ["Pending", *once_more, *once_more, "Running", "Success"]


def test_skips_are_carried_along_and_end_where_the_flow_says(kinds: Kinds) -> None:
    """SKIP, SUCCESS, a skipped branch: the flow succeeds."""
    rows = kinds.ended(kinds.runs["skipping"], "Success")
    assert rows["skipped-1", -1]["history"] == ["Pending", "Running", "Skipped"]
    assert rows["skipped-1", -1]["state_message"] == "nothing to do today"
    assert rows["follows-1", -1]["history"] == ["Pending", "Skipped"]
    assert rows["reports-1", -1]["state"] == "Success"
    assert (rows["early-1", -1]["state"], rows["early-1", -1]["state_message"]) == ("Success", "done before the end")
    assert rows["unreached-1", -1]["history"] == ["Pending", "Skipped"]


def test_a_failure_reaches_what_depends_on_it(kinds: Kinds) -> None:
    """FAIL, TriggerFailed behind it, triggers that want a failure, reference tasks."""
    run_id = kinds.runs["refusing"]
    rows = kinds.ended(run_id, "Failed")
    assert kinds.real.history(run_id) == FLOW_FAILED
    assert (rows["refuses-1", -1]["state"], rows["refuses-1", -1]["state_message"]) == ("Failed", "the check says no")
    assert rows["follows-1", -1]["history"] == ["Pending", "TriggerFailed"]
    assert rows["alarm-1", -1]["state"] == rows["cleans-1", -1]["state"] == "Success"


def test_an_exception_fails_the_run_and_is_in_its_logs(kinds: Kinds) -> None:
    """An exception of a person's code, with its traceback at the task run."""
    run_id = kinds.runs["bursting"]
    rows = kinds.ended(run_id, "Failed")
    assert "ZeroDivisionError" in str(rows["bursts-1", -1]["state_message"])
    kinds.told(run_id, "an exception nobody catches")
    document = 'query($id: uuid!) { log(where: { task_run_id: { _eq: $id }, level: { _eq: "ERROR" } }) { message } }'
    logs = kinds.real.graphql(document, {"id": rows["bursts-1", -1]["id"]})["log"]
    assert any("Traceback" in log["message"] and "an exception nobody catches" in log["message"] for log in logs)


def test_a_flow_process_that_is_killed_fails_its_run(kinds: Kinds) -> None:
    """Its heartbeat, which outlives it, would keep the run Running for ever."""
    run = kinds.runs["dying"]

    kinds.ended(run, "Failed")

    kinds.told(run, "Killed, ended by signal 9, exit code 137")
    wait_until(lambda: not _processes_with(run), what="the heartbeat has ended")


def _processes_with(word: str) -> list[Path]:
    """Processes whose command line has the word."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):
            if word.encode() in path.read_bytes():
                found.append(path.parent)
    return found


def test_names_artifacts_and_logs_are_kept(kinds: Kinds) -> None:
    """What the flow says of itself can be read."""
    run_id = kinds.runs["telling"]
    rows = kinds.ended(run_id, "Success")
    assert rows["shows-1", -1]["name"] == "shows Ada"
    kinds.told(run_id, "Flow run SUCCESS")
    document = "query($id: uuid!) { flow_run_by_pk(id: $id) { name logs { message level task_run_id } } }"
    run = kinds.real.graphql(document, {"id": run_id})["flow_run_by_pk"]
    assert run["name"] == "told"
    spoken = {log["message"]: log for log in run["logs"] if log["task_run_id"] == rows["speaks-1", -1]["id"]}
    assert spoken["printed for Ada"]["level"] == "INFO"
    assert spoken["a warning with ünïcode ✓ and 'quotes' \"both\""]["level"] == "WARNING"
    document = (
        "query($id: uuid!) { task_run_artifact(where: { task_run: { flow_run_id: { _eq: $id } } }, "
        "order_by: { kind: asc }) { kind data task_run_id } }"
    )
    artifacts = kinds.real.graphql(document, {"id": run_id})["task_run_artifact"]
    assert [(one["kind"], one["data"]) for one in artifacts] == [
        ("link", {"link": "https://example.org/report"}),
        ("markdown", {"markdown": "# report for Ada"}),
    ]
    assert {one["task_run_id"] for one in artifacts} == {rows["shows-1", -1]["id"]}


def test_a_cancelled_flow_stops_itself(kinds: Kinds) -> None:
    """Running, Cancelling, Cancelled; what had not begun is Cancelled with it."""
    run_id = kinds.runs["endless"]
    wait_until(lambda: kinds.real.task_runs(run_id)["wait-1", -1]["state"] == "Running", A_WHILE, "the task is at work")
    document = "mutation($i: cancel_flow_run_input!) { cancel_flow_run(input: $i) { state } }"
    answer = kinds.real.graphql(document, {"i": {"flow_run_id": run_id}})
    assert answer == {"cancel_flow_run": {"state": "Cancelling"}}
    rows = kinds.ended(run_id, "Cancelled")
    assert kinds.real.history(run_id) == ["Scheduled", "Submitted", "Running", "Cancelling", "Cancelled"]
    assert rows["never-1", -1]["state"] == "Cancelled"
    assert "Running" not in str(rows["never-1", -1]["history"])


def test_flows_start_flows(kinds: Kinds) -> None:
    """create_flow_run, wait_for_flow_run, get_task_run_result and StartFlowRun within flow processes."""
    rows = kinds.ended(kinds.runs["parent"], "Success")
    assert rows["get_task_run_result-1", -1]["state"] == "Success"
    assert kinds.results((kinds.runs["parent"], "get_task_run_result-1", -1)) == [49]
    kinds.ended(kinds.runs["elder"], "Success")
    document = "query($id: uuid!) { flow_run(where: { flow_id: { _eq: $id } }) { name state parameters } }"
    made = kinds.real.graphql(document, {"id": kinds.flows["child"]})["flow_run"]
    assert sorted((run["parameters"]["n"], run["state"]) for run in made) == [
        (2, "Success"),
        (7, "Success"),
        (8, "Success"),
    ]
    assert [run["name"] for run in made if run["parameters"]["n"] == 7] == ["made by parent"]


def test_a_run_of_a_flow_with_version_locking_succeeds(kinds: Kinds) -> None:
    """Each process names the versions that the Cloud answered, children that were made on first sight included."""
    flows = kinds.flows
    for name in ("mapping", "retrying"):
        kinds.ended(kinds.runs[name], "Success")
    for name in ("locking", "mapping", "retrying"):
        assert kinds.real.graphql(LOCK, {"input": {"flow_id": flows[name]}})["enable_flow_version_lock"]["success"]
    runs = [kinds.real.create_run(flows[name]) for name in ("locking", "mapping", "retrying")]
    for run_id in runs:
        kinds.ended(run_id, "Success")
        assert kinds.real.history(run_id) == FLOW_SUCCEEDED


def test_a_stale_version_is_refused_where_versions_are_locked(kinds: Kinds) -> None:
    """The client knows the refusal by its code and raises a signal of its own."""
    assert kinds.real.graphql(LOCK, {"input": {"flow_id": kinds.flows["looping"]}})["enable_flow_version_lock"]
    run_id = kinds.real.create_run(kinds.flows["looping"], labels=["nobody"])
    tried = kinds.real.script(
        "from prefect import Client\nfrom prefect.engine.state import Running\ntry:\n"
        f"    Client().set_flow_run_state({run_id!r}, Running(), version=7)\n"
        "except BaseException as raised:\n    print(type(raised).__name__)"
    )
    assert tried.strip() == "VersionLockMismatchSignal"
    assert kinds.real.states([run_id]) == ["Scheduled"]


def test_a_flow_that_cannot_be_loaded_fails_with_the_reason(kinds: Kinds) -> None:
    """The process sends its log as a bare object, not a list (protocol section 5)."""
    gone = kinds.real.home / "gone.py"
    gone.write_bytes((HERE / "flows" / "looping.py").read_bytes().replace(b'"looping"', b'"gone"'))
    given = {"project": "kinds", "paths": [str(gone)]}
    flow_id = kinds.real.program(HERE / "programs" / "register.py", given)["gone"]
    gone.unlink()
    run_id = kinds.real.create_run(flow_id)
    kinds.ended(run_id, "Failed")
    kinds.told(run_id, "Failed to load")
    assert any("Failed to load" in line and "gone" in line for line in kinds.real.logs(run_id)), kinds.real.logs(run_id)


def test_processes_that_run_have_a_heartbeat(kinds: Kinds) -> None:
    """Every run that a process began has one."""
    kinds.ended(kinds.runs["locking"], "Success")
    row = kinds.real.graphql(
        "query($id: uuid!) { flow_run_by_pk(id: $id) { heartbeat start_time end_time agent { type } } }",
        {"id": kinds.runs["locking"]},
    )["flow_run_by_pk"]
    now = iso(datetime.now(timezone.utc))  # the thread that sends it may be a little later than the run's end
    assert row["start_time"] <= row["heartbeat"] <= now
    assert row["agent"] is not None

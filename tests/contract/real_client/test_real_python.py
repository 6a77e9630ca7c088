"""The Python client of the real Prefect 1.4.1: one program does everything, one test looks at each part of it."""

from pathlib import Path
from typing import Any

import pytest

from support.real_prefect import RealPrefect

pytestmark = pytest.mark.real_prefect

HERE = Path(__file__).parent
Answers = dict[str, dict[str, Any]]


@pytest.fixture(scope="module")
def answers(real: RealPrefect) -> Answers:
    """What the program programs/client.py found, our agent at work."""
    flows = {name: str(HERE / "flows" / f"{name}.py") for name in ("mapping", "telling")}
    env = ("--env", "PREFECT__CLOUD__HEARTBEAT_MODE=thread")
    with real.agent("start", "process", "--interpreter", str(real.python), *env):
        found: Answers = real.program(HERE / "programs" / "client.py", flows)
    return found


def test_projects_are_created_once(answers: Answers) -> None:
    """``Client.create_project`` gives the id of the project that is there already."""
    assert answers["projects"]["same"] is True
    assert answers["projects"]["id"]


def test_flows_are_registered_and_viewed(real: RealPrefect, answers: Answers) -> None:
    """Idempotency keys, versions, FlowView by every name that it knows."""
    found = answers["registering"]
    slug = real.graphql("query { tenant { slug } }")["tenant"][0]["slug"]
    group = real.graphql('query { flow_group(where: { flows: { name: { _eq: "mapping" } } }) { id } }')["flow_group"]
    assert found.pop("link").startswith(f"{real.url}/{slug}/flow/")
    assert len(group) == 1, "both versions belong to one group"
    assert found == {
        "same": True, "newer": True, "archived": [True, False], "by name": True, "by name and project": True,
        "by id": "mapping", "project": "clients", "core": "1.4.1", "loaded": "mapping",
    }  # fmt: skip


def test_a_run_is_created_waited_for_and_read(answers: Answers) -> None:
    """create_flow_run with everything it takes, wait_for_flow_run, FlowRunView, get_task_run_result."""
    assert answers["running"] == {
        "same": True, "state": ["Success", True], "name": "two", "labels": [], "parameters": {"n": 2},
        "context": {"mood": "good"}, "run_config": [{"E": "1"}, "LocalRun"],
        "states": ["Scheduled", "Submitted", "Running", "Success"], "logs": 1, "ordered": True,
        "flow": True, "latest": True, "result": 2 * (10 + 11) + 4, "mapped": [10, 11], "child": 11,
    }  # fmt: skip


def test_task_runs_are_viewed(answers: Answers) -> None:
    """TaskRunView by id, slug and index; children of a mapped task in order with their values."""
    assert answers["task_views"] == {
        "all": 14, "ids": True, "parent": [True, -1], "children": [[0, 11], [1, 11], [2, 12], [3, 12]],
        "one": ["add-2", 3, True, 12, True], "latest": True, "name": None,
    }  # fmt: skip


def test_flows_are_started_by_tasks(answers: Answers) -> None:
    """The task create_flow_run and the class StartFlowRun, outside of a flow."""
    assert answers["nested"] == {"outcomes": ["by task", "SUCCESS", True], "states": "Success"}


def test_a_planned_run_is_named_read_and_cancelled(answers: Answers) -> None:
    """scheduled_start_time, labels, defaults of parameters, get_flow_run_info, cancel_flow_run."""
    assert answers["planning"] == {
        "named": [True, "tomorrow"], "when": True, "state": ["Scheduled", True], "labels": ["a", "b"],
        "default parameters": {"n": 3}, "version": 1,
        "tasks": ["add-1", "add-2", "n", "numbers-1", "pair-1", "total-1"], "project": "clients",
        "cancelled": "Cancelled", "after": ["Cancelled", ["Cancelled"]],
    }  # fmt: skip


def test_states_are_set_by_hand(answers: Answers) -> None:
    """Flow runs and task runs through their states, versions, heartbeats, names, children on first sight."""
    assert answers["states"] == {
        "order": ["Running", "Running", "Running", "Running"], "kept time": ["Scheduled", True, "again"],
        "fetched": [True, 3], "child": [7, 1, True], "final": ["Failed", "by hand"], "task after": "Cancelled",
        "name": "renamed",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("case", "kind", "words"),
    [
        ("missing parameter", "ClientError", "who"),
        ("no such flow", "ClientError", "not found"),
        ("no such project", "ValueError", "Project nowhere not found"),
        ("no such run", "ValueError", "No flow runs found"),
        ("no such task run", "ClientError", "State update failed for task run ID"),
        ("task of a waiting run", "ClientError", "State update failed for task run ID"),
        ("unknown field", "ClientError", "GRAPHQL_VALIDATION_FAILED"),
        ("not GraphQL", "ClientError", "400 Client Error"),
    ],
)
def test_refusals_reach_the_person(answers: Answers, case: str, kind: str, words: str) -> None:
    """The client raises what it raises with a real Cloud."""
    failure = answers["refusals"][case]
    assert failure.startswith(kind)
    assert words in failure


def test_artifacts_and_logs_are_written_by_hand(answers: Answers) -> None:
    """Create, update and delete artifacts; a log line with its structure."""
    assert answers["artifacts_and_logs"] == {
        "left": [{"markdown": "# changed"}],
        "logs": [["CRITICAL", "written by hand", {"a": [1]}]],
    }


def test_projects_are_deleted(answers: Answers) -> None:
    """And what is not there cannot be."""
    assert answers["deleting"] == {"deleted": True, "again": "ValueError: Project x not found."}

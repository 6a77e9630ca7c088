"""The real agents, and ours beside them, at one Cloud; and what the Cloud makes of labels and claims."""

from pathlib import Path
from typing import TYPE_CHECKING

import attrs
import pytest

from support.real_prefect import RealPrefect
from support.waiting import wait_until

if TYPE_CHECKING:
    from support.kubernetes.control_plane import ControlPlane
    from support.kubernetes.kubelet import ProcessKubelet

pytestmark = pytest.mark.real_prefect

HERE = Path(__file__).parent
A_WHILE = 300
CLAIMED = ["Scheduled", "Submitted", "Running", "Success"]
THREAD = ("--env", "PREFECT__CLOUD__HEARTBEAT_MODE=thread")


@pytest.fixture(scope="module")
def flow_id(real: RealPrefect) -> str:
    """A small flow."""
    given = {"project": "agents", "paths": [str(HERE / "flows" / "locking.py")]}
    registered: str = real.program(HERE / "programs" / "register.py", given)["locking"]
    return registered


def ours(real: RealPrefect, *more: str) -> tuple[str, ...]:
    """Words that start our agent."""
    return ("start", "process", "--interpreter", str(real.python), "--name", "ours", *THREAD, *more)


def test_two_agents_share_the_work_and_start_nothing_twice(real: RealPrefect, flow_id: str) -> None:
    """Every run is claimed once, by one of them, and its row says by which."""
    runs = [real.create_run(flow_id) for _ in range(3)]
    with (
        real.agent("local", "start", "--no-hostname-label", "--name", "real", *THREAD, own=False),
        real.agent(*ours(real)),
    ):
        wait_until(
            lambda: {row["name"] for row in real.graphql("query { agent { name } }")["agent"]} >= {"real", "ours"},
            A_WHILE,
            "both agents registered",
        )
        runs += [real.create_run(flow_id) for _ in range(6)]
        wait_until(lambda: real.states(runs) == ["Success"] * len(runs), A_WHILE, "every run ended")
    assert [real.history(run_id) for run_id in runs] == [CLAIMED] * len(runs)
    for run_id in runs:
        assert sum("Submitted for execution" in line for line in real.logs(run_id)) == 1
    document = "query($ids: [uuid!]) { flow_run(where: { id: { _in: $ids } }) { agent { name } } }"
    claimed_by = [row["agent"]["name"] for row in real.graphql(document, {"ids": runs})["flow_run"]]
    assert set(claimed_by) <= {"real", "ours"}
    agents = real.graphql("query { agent(order_by: { name: asc }) { name type core_version } }")["agent"]
    assert agents[1] == {"name": "real", "type": "LocalAgent", "core_version": "1.4.1"}


def test_runs_go_to_the_agent_that_has_their_labels(real: RealPrefect, flow_id: str) -> None:
    """A run needs all its labels served; a run without labels goes to an agent without."""
    wanted = {"ours": ["a"], "real": ["b"], "both labels": ["a", "b"], "none": []}
    runs = {name: real.create_run(flow_id, labels=labels) for name, labels in wanted.items()}
    with (
        real.agent("local", "start", "--no-hostname-label", "--name", "real b", "--label", "b", *THREAD, own=False),
        real.agent(*ours(real, "--label", "a")),
    ):
        some = [runs["ours"], runs["real"]]
        wait_until(lambda: real.states(some) == ["Success"] * 2, A_WHILE, "what has an agent ended")
        assert real.states([runs["both labels"], runs["none"]]) == ["Scheduled"] * 2
    document = "query($id: uuid!) { flow_run_by_pk(id: $id) { agent { name labels } } }"
    served = {name: real.graphql(document, {"id": runs[name]})["flow_run_by_pk"]["agent"] for name in ("ours", "real")}
    assert served == {"ours": {"name": "ours", "labels": ["a"]}, "real": {"name": "real b", "labels": ["b"]}}


def test_a_run_is_due_when_it_says(real: RealPrefect, flow_id: str) -> None:
    """Neither agent begins it before."""
    soon = real.script("import pendulum; print(pendulum.now('utc').add(seconds=6).isoformat())").strip()
    later = real.script("import pendulum; print(pendulum.now('utc').add(hours=1).isoformat())").strip()
    first, second = (real.create_run(flow_id, scheduled_start_time=when) for when in (soon, later))
    with (
        real.agent("local", "start", "--no-hostname-label", "--name", "real", *THREAD, own=False),
        real.agent(*ours(real)),
    ):
        wait_until(lambda: real.states([first]) == ["Success"], A_WHILE, "Success")
    document = "query($id: uuid!) { flow_run_by_pk(id: $id) { start_time scheduled_start_time } }"
    row = real.graphql(document, {"id": first})["flow_run_by_pk"]
    assert row["start_time"] >= row["scheduled_start_time"]
    assert real.states([second]) == ["Scheduled"]


@pytest.mark.kubernetes
def test_the_real_kubernetes_agent_drains_the_cloud(
    real: RealPrefect, flow_id: str, control_plane: "ControlPlane", kubelet: "ProcessKubelet", namespace: str
) -> None:
    """Each run becomes one Job, whose pod executes the run to its end; the agent is in the Cloud's list."""
    # It would delete the Jobs that have ended with its next heartbeat, a minute after its start.
    settings = {**real.settings, "KUBECONFIG": str(control_plane.kubeconfig), "DELETE_FINISHED_JOBS": "False"}
    beside = attrs.evolve(real, settings=settings, home=real.home / "kubernetes")
    beside.home.mkdir()
    pods = ("--env", f"PATH={real.env['PATH']}", "--env", f"HOME={beside.home}")
    words = ("kubernetes", "start", "--name", "jobs", "--label", "jobs", "--namespace", namespace, *pods, *THREAD)
    runs = [real.create_run(flow_id, labels=["jobs"]) for _ in range(2)]

    with beside.agent(*words, own=False):
        wait_until(lambda: real.states(runs[:1]) == ["Success"], A_WHILE, "the first run ended")
        runs += [real.create_run(flow_id, labels=["jobs"])]
        wait_until(lambda: real.states(runs) == ["Success"] * 3, A_WHILE, "every run ended")

    assert [real.history(run_id) for run_id in runs] == [CLAIMED] * 3
    jobs = control_plane.api.list(f"/apis/batch/v1/namespaces/{namespace}/jobs")
    of_run = [job["metadata"]["labels"]["prefect.io/flow_run_id"] for job in jobs]
    assert sorted(of_run) == sorted(runs)
    for run_id in runs:
        assert sum("Submitted for execution: Job prefect-job-" in line for line in real.logs(run_id)) == 1
    query = 'query { agent(where: { name: { _eq: "jobs" } }) { type core_version labels } }'
    assert real.graphql(query)["agent"] == [{"type": "KubernetesAgent", "core_version": "1.4.1", "labels": ["jobs"]}]

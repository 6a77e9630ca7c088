"""The installed agent on a real node, with real flow runs of Prefect 1.4.1.

Flow runs of every kind are created at once; those whose ends take their time are looked at last.
"""

import os
import shlex
import signal
import subprocess
import sys
from collections.abc import Generator, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import pytest

from prefect.agent.domain.times import read_time
from support.cluster import (
    VARIABLE,
    Cluster,
    Object,
    PrefectInside,
    eventually,
    flow_image,
    lacking,
    occurs,
    running_asker,
    running_cloud,
)
from support.cluster_harness import AGENT, HERE, KEY, ClusterHarness, installed_agent, put_flows

pytestmark = [pytest.mark.cluster, pytest.mark.real_prefect]

START_TROUBLE: Final = 60
"""Seconds that an image which cannot be pulled is given if nobody says otherwise."""

MANY: Final = 20


@pytest.fixture(scope="module")
def real(prefect_python: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[PrefectInside]:
    """The real client, and an embedded Cloud that pods reach."""
    cluster, home = Cluster.found(), tmp_path_factory.mktemp("cluster")
    with running_cloud(cluster, home / "cloud.db", KEY) as url, running_asker(cluster, url, KEY) as asker:
        settings = {"PREFECT__BACKEND": "cloud", "PREFECT__CLOUD__API": url, "PREFECT__CLOUD__API_KEY": KEY}
        yield PrefectInside(prefect_python, url, home, settings, cluster=cluster, asker=asker)


@pytest.fixture(scope="module")
def harness(real: PrefectInside) -> Iterator[ClusterHarness]:
    """The installed agent."""
    with installed_agent(real.cluster, real) as harness:
        yield harness


@pytest.fixture(scope="module")
def runs(harness: ClusterHarness) -> Mapping[str, str]:
    """Flow runs of every kind, all created at once; ids by what becomes of them."""
    runs = {
        "image that does not exist": harness.start("sums", image="registry.invalid/absent:1"),
        "invalid image": harness.start("sums", image="registry.invalid/BAD::1"),
        "success": harness.start("sums"),
        "out of memory": harness.start("greedy", memory_limit="200Mi"),
        "deleted by hand": harness.start("endless"),
        "retry in an hour": harness.start("patient"),
        "survivor": harness.start("endless"),
    }
    harness.wait_for("Running", runs["deleted by hand"])
    job = f"prefect-{runs['deleted by hand']}-1"
    harness.cluster.ask("delete", "job", "--namespace", harness.namespace, job, "--wait=false")
    return runs


def seconds_between(end: Object, first: str, second: str) -> float:
    """From one state of a flow run to another."""
    times = {row["state"]: read_time(row["timestamp"]) for row in end["states"]}
    return (times[second] - times[first]).total_seconds()


def failed(harness: ClusterHarness, run_id: str, *, seconds: float = 60) -> tuple[Object, str]:
    """How a flow run came to be Failed, and its whole log, whose last entry says so too."""
    harness.wait_for("Failed", run_id, seconds=seconds)
    end, lines = harness.real.end_of(run_id), list[str]()

    def is_told() -> bool:
        lines[:] = harness.real.logs(run_id)
        return any(end["state_message"] in line for line in lines)

    eventually(is_told, 60, f"the log of {run_id} has its end")
    return end, "\n".join(lines)


# --- the agent in the cluster ---


def test_the_agent_is_ready_and_has_no_rights_on_its_node(harness: ClusterHarness) -> None:
    """A user without a name, a file system that cannot be written; the namespace takes restricted pods only."""
    [agent] = harness.agents()
    program = "import os; print(os.getuid()); open('/tmp/x', 'w').close(); open('/x', 'w')"
    words = ("exec", "--namespace", harness.namespace, agent["metadata"]["name"], "--", "python", "-c", program)
    done = harness.cluster.attempt(*words)

    assert done.stdout.split() == ["10001"]
    assert "Read-only file system" in done.stderr
    assert [status["restartCount"] for status in agent["status"]["containerStatuses"]] == [0]


def test_flow_runs_succeed(harness: ClusterHarness, runs: Mapping[str, str]) -> None:
    """A mapped task and one that is retried: real code in a real pod, started once."""
    run_id = runs["success"]
    harness.wait_for("Success", run_id)

    harness.assert_started_once(run_id)
    states = {
        slug.partition("-")[0]: row["history"] for (slug, at), row in harness.real.task_runs(run_id).items() if at < 0
    }
    assert states["double"][-1] == "Mapped"
    assert "Retrying" in states["add"]
    [job] = harness.jobs(run_id)
    assert job["metadata"]["name"] == f"prefect-{run_id}-1"
    said = f"Submitted for execution: Job {job['metadata']['name']}"
    eventually(lambda: any(said in line for line in harness.real.logs(run_id)), 60, "the agent's word in the log")


def test_the_self_test_proves_its_five_lines(real: PrefectInside, tmp_path: Path) -> None:
    """As a person types it, in a namespace that takes restricted pods only; no Job is left."""
    cluster, program = real.cluster, Path(sys.executable).parent / "prefect-agent"
    with cluster.namespace("selftest") as namespace:
        words = ("agent", "selftest", "kubernetes", "--namespace", namespace, "--image", flow_image(cluster))
        env = {**cluster.env, "HOME": str(tmp_path)}
        command = cluster.command(program, *words)
        done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=600, check=False)

        assert (done.returncode, done.stderr) == (0, ""), done.stdout + done.stderr
        assert [line.split()[0] for line in done.stdout.splitlines()] == ["ok"] * 5
        eventually(lambda: not cluster.list("jobs", namespace, "prefect.io/unit"), 60, "its Jobs are gone")


# --- bad ends ---


def test_an_invalid_image_name_fails_at_once(harness: ClusterHarness, runs: Mapping[str, str]) -> None:
    """No waiting can help it."""
    end, log = failed(harness, runs["invalid image"])

    assert "InvalidImageName" in end["state_message"]
    assert seconds_between(end, "Submitted", "Failed") < START_TROUBLE / 2
    assert "InvalidImageName" in log


def test_out_of_memory_is_called_by_its_name(harness: ClusterHarness, runs: Mapping[str, str]) -> None:
    """In the message of the state, and in a table of what there was in the log."""
    end, log = failed(harness, runs["out of memory"])

    assert "OOMKilled" in end["state_message"]
    assert "200Mi" in end["state_message"]
    assert "WHAT" in log
    assert "container flow" in log
    assert "137" in log


def test_a_retry_far_ahead_gets_a_second_unit(harness: ClusterHarness, runs: Mapping[str, str]) -> None:
    """The first process ends; when the retry is due the agent starts another one."""
    run_id, real = runs["retry in an hour"], harness.real

    def task_run() -> Object:
        return next(iter(real.task_runs(run_id).values()), {"state": None})

    eventually(lambda: task_run()["state"] == "Retrying", 60, "the task waits for its retry")
    eventually(lambda: harness.jobs(run_id)[0]["status"].get("succeeded"), 60, "the first process has ended")
    row = task_run()
    due = {**row["serialized_state"], "start_time": "2020-01-01T00:00:00+00:00"}
    entry = {"task_run_id": row["id"], "version": row["version"], "state": due}
    document = "mutation($i: set_task_run_states_input!) { set_task_run_states(input: $i) { states { id } } }"
    real.graphql(document, {"i": {"states": [entry]}})
    harness.wait_for("Success", run_id)

    assert real.history(run_id) == ["Scheduled", "Submitted", "Running", "Success"]
    assert len(harness.jobs(run_id)) == 2


@contextmanager
def impatient_agent(harness: ClusterHarness, namespace: str) -> Generator[None]:
    """A second agent, outside of the cluster, with the shortest times."""
    command = harness.cluster.command(
        sys.executable, HERE / "programs" / "impatient_agent.py", namespace, harness.real.url
    )
    with (harness.real.home / "impatient.log").open("w+") as log:
        env = {**harness.real.env, "KUBECONFIG": str(harness.cluster.kubeconfig)}
        process = subprocess.Popen(command, env=env, stdout=log, stderr=log)
        try:
            yield
            process.send_signal(signal.SIGTERM)
            assert process.wait(60) == 0
        except BaseException:
            process.kill()
            process.wait()
            log.seek(0)
            print(log.read())
            raise


def test_a_cancelled_run_that_hangs_is_stopped(harness: ClusterHarness) -> None:
    """Its process does not look whether it was cancelled, and process 1 of a container does not hear SIGTERM."""
    hangs = {"PREFECT__CLOUD__CHECK_CANCELLATION_INTERVAL": "3600"}
    with harness.cluster.namespace("impatient") as namespace, impatient_agent(harness, namespace):
        put_flows(harness.cluster, namespace)
        run_id = harness.start("endless", labels=("impatient",), env=hangs)
        harness.wait_for("Running", run_id)
        [pod] = harness.pods(run_id, namespace)
        harness.real.graphql(f'mutation {{ cancel_flow_run(input: {{ flow_run_id: "{run_id}" }}) {{ state }} }}')
        harness.wait_for("Cancelled", run_id)

        def names() -> list[str]:
            return [each["metadata"]["name"] for each in harness.pods(run_id, namespace)]

        assert {each["status"]["phase"] for each in harness.pods(run_id, namespace)} <= {"Failed", "Succeeded"}
        eventually(lambda: pod["metadata"]["name"] not in names(), 60, "its pod is gone")
        objects = harness.cluster.ask("get", "jobs,pods,configmaps", "-n", namespace, "-o", "json")
        assert not occurs(KEY, objects)


def test_the_api_server_may_die_while_runs_are_in_flight(harness: ClusterHarness) -> None:
    """All end well, and each was started exactly once."""
    restart = os.environ.get(f"{VARIABLE}_RESTART")
    if not restart:
        lacking(f"name a command in {VARIABLE}_RESTART that kills the API server and starts it again")
    ids = [harness.start("sums") for _ in range(6)]
    eventually(lambda: {*harness.real.states(ids)} - {"Scheduled"}, 60, "one of them is claimed")
    done = subprocess.run(shlex.split(restart), capture_output=True, text=True, timeout=180, check=False)
    assert done.returncode == 0, done.stderr
    harness.wait_for("Success", *ids, seconds=90)

    harness.assert_started_once(*ids)
    assert "Traceback" not in harness.agent_log()


# --- what takes its time ---


def test_a_job_deleted_by_hand_fails_its_flow_run(harness: ClusterHarness, runs: Mapping[str, str]) -> None:
    """The flow run does not stay Running for ever."""
    end, _ = failed(harness, runs["deleted by hand"])

    assert "was deleted externally" in end["state_message"]


def test_an_image_that_does_not_exist_fails_after_its_grace(harness: ClusterHarness, runs: Mapping[str, str]) -> None:
    """A registry may have trouble that passes, so it is not at once; then the log says what Kubernetes reported."""
    end, log = failed(harness, runs["image that does not exist"], seconds=2 * START_TROUBLE)

    assert "registry.invalid/absent:1" in end["state_message"]
    assert seconds_between(end, "Submitted", "Failed") >= START_TROUBLE
    assert "ErrImagePull" in log or "ImagePullBackOff" in log


def test_the_agent_may_be_killed_while_it_starts_runs(harness: ClusterHarness) -> None:
    """Of twenty flow runs none is lost and none is started twice."""
    ids = [harness.start("sums") for _ in range(MANY)]
    [agent] = harness.agents()
    eventually(lambda: {*harness.real.states(ids)} - {"Scheduled"}, 60, "one of them is claimed")
    words = ("--namespace", harness.namespace, "--grace-period=0", "--force")
    harness.cluster.ask("delete", "pod", agent["metadata"]["name"], *words)
    harness.wait_for("Success", *ids, seconds=120)

    harness.assert_started_once(*ids)
    assert agent["metadata"]["uid"] not in [each["metadata"]["uid"] for each in harness.agents()]


def test_the_api_key_is_in_secrets_only(harness: ClusterHarness, runs: Mapping[str, str]) -> None:
    """Not in Jobs, pods, ConfigMaps, events, nor in what the agent or the flow runs wrote."""
    where = ("--namespace", harness.namespace)
    kinds = "deployments,replicasets,jobs,pods,configmaps,events,serviceaccounts"
    objects = harness.cluster.ask("get", kinds, *where, "--output", "json")
    written = harness.agent_log()
    logs = [line for run_id in runs.values() for line in harness.real.logs(run_id)]

    assert f"prefect-{runs['success']}-1" in objects
    assert "Waiting for flow runs" in written
    assert not occurs(KEY, objects + written + "\n".join(logs))
    assert occurs(KEY, harness.cluster.ask("get", "secrets", *where, "--output", "json"))


def test_flow_runs_survive_that_the_agent_is_removed(harness: ClusterHarness, runs: Mapping[str, str]) -> None:
    """`kubectl delete -f -` takes away what `install` printed, and nothing else."""
    run_id = runs["survivor"]
    harness.wait_for("Running", run_id)
    harness.cluster.ask("delete", "--filename", "-", "--wait=true", given=harness.manifest)
    eventually(lambda: not harness.cluster.list("pods", harness.namespace, AGENT), 60, "the agent is gone")

    [pod] = harness.pods(run_id)
    assert "running" in pod["status"]["containerStatuses"][0]["state"]
    assert harness.real.states([run_id]) == ["Running"]

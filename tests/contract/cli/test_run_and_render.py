"""``prefect agent run`` and ``render``, and ``start --dry-run``, against the embedded Cloud and real platforms."""

import json
import os
import signal
import subprocess
import time
from collections.abc import Generator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import attrs
import pytest
import requests

from prefect.agent.entrypoints.server.testing import running_server
from support.commands import PREFECT, bare_environment, run
from support.waiting import wait_until

if TYPE_CHECKING:
    from support.kubernetes.control_plane import ControlPlane

SECRET: Final = "pcu_SECRET-that-must-never-be-seen"
FLOW: Final = {"tasks": [], "edges": [], "type": "prefect.core.flow.Flow", "__version__": "1.4.1"}
STORED: Final = {"type": "Local", "__version__": "1.4.1"}


@attrs.frozen
class CommandHarness:
    """A Cloud and a home of one's own."""

    home: Path
    url: str

    @property
    def env(self) -> dict[str, str]:
        """Variables of commands."""
        kept = {"PREFECT__BACKEND": "server", "PREFECT__CLOUD__API": self.url, "DOCKER_HOST": _engine()}
        return bare_environment(self.home, 'env > "$HOME/told"; echo "$@" > "$HOME/words"') | kept

    def agent(self, *words: str, **more: str) -> "subprocess.CompletedProcess[str]":
        """``prefect-agent agent WORDS``."""
        return run(self.env | more, "agent", *words)

    def ask(self, document: str, **variables: Any) -> Any:
        """Send a document; its data."""
        answer = requests.post(self.url, json={"query": document, "variables": variables}, timeout=30).json()
        assert "errors" not in answer, answer
        return answer["data"]

    def mutate(self, mutation: str, /, **given: Any) -> str:
        """One mutation; the id that it gives."""
        document = f"mutation($input: {mutation}_input!) {{ {mutation}(input: $input) {{ id }} }}"
        return str(self.ask(document, input=given)[mutation]["id"])

    def flow(self, name: str = "etl", project: str = "p", **more: Any) -> str:
        """A new flow; its id."""
        made = self.mutate("create_project", name=project)
        return self.mutate("create_flow", project_id=made, serialized_flow={**FLOW, "name": name, **more})

    def runs(self) -> list[dict[str, Any]]:
        """All flow runs."""
        fields = "id name state labels parameters scheduled_start_time idempotency_key"
        rows: list[dict[str, Any]] = self.ask(f"query {{ flow_run {{ {fields} }} }}")["flow_run"]
        return rows


def _engine() -> str:
    return os.environ.get("DOCKER_HOST", "unix:///var/run/docker.sock")


@pytest.fixture
def harness(tmp_path: Path) -> Generator[CommandHarness]:
    """A new Cloud."""
    with running_server(tmp_path / "cloud.db") as url:
        yield CommandHarness(tmp_path, url)


# --- run ---


def test_a_run_is_created_with_what_was_ordered(harness: CommandHarness) -> None:
    """Parameters as JSON or text, labels, name, time and key; id and address are printed."""
    needs = [{"name": name, "required": True, "default": None, "slug": name} for name in ("n", "day")]
    harness.flow(parameters=needs)
    options = ("--param", "n=[1]", "--param", "day=2030-01-31", "--label", "vm", "--name", "blue", "--at", "+10m")

    done = harness.agent("run", "p/etl", *options, "--idempotency-key", "k", "--output", "json")

    assert done.returncode == 0, done.stderr
    (row,) = harness.runs()
    said = json.loads(done.stdout)
    assert (said["kind"], said["id"], said["flow"]["project"]) == ("created", row["id"], "p")
    assert said["url"] == f"{harness.url.rstrip('/')}/default/flow-run/{row['id']}"
    assert (row["name"], row["state"], row["labels"]) == ("blue", "Scheduled", ["vm"])
    assert row["parameters"] == {"n": [1], "day": "2030-01-31"}

    again = harness.agent("run", "etl", *options, "--idempotency-key", "k")

    assert again.returncode == 0
    assert f"Created flow run {row['id']} of flow etl v1 of project p" in again.stdout
    assert len(harness.runs()) == 1


def test_a_run_may_be_due_in_the_past(harness: CommandHarness) -> None:
    """It is created as ordered; a warning says that it is due at once."""
    harness.flow()

    done = harness.agent("run", "etl", "--at", "2020-01-31")

    assert done.returncode == 0, done.stderr
    assert done.stderr.startswith("Warning: 2020-01-31T00:00:00 UTC is in the past, so the run is due at once.")
    assert harness.runs()[0]["scheduled_start_time"].startswith("2020-01-31T00:00:00")


def test_a_flow_that_is_not_there_or_ambiguous_is_wrong_usage(harness: CommandHarness) -> None:
    """Exit code 2, with the projects to choose from; nothing is created."""
    harness.flow(project="one")
    harness.flow(project="two")

    unknown, ambiguous = harness.agent("run", "elt"), harness.agent("run", "etl")

    assert (unknown.returncode, ambiguous.returncode) == (2, 2)
    assert "has no flow with the id or the name 'elt'" in unknown.stderr
    assert "choose one by --project (one, two)" in ambiguous.stderr
    assert harness.runs() == []
    assert harness.agent("run", "etl", "--project", "two").returncode == 0


def test_what_the_cloud_refuses_is_said_in_its_words(harness: CommandHarness) -> None:
    """Exit code 1, once."""
    harness.flow(parameters=[{"name": "n", "required": True, "default": None, "slug": "n"}])

    done = harness.agent("run", "etl")

    assert done.returncode == 1
    assert done.stderr.splitlines() == [
        "Error: the Cloud does not create the run: Required parameters were not supplied: n"
    ]


@pytest.mark.parametrize(("words", "hint"), [(("--param", "n"), "--param"), (("--at", "soon"), "--at")])
def test_words_that_mean_nothing_are_wrong_usage(harness: CommandHarness, words: tuple[str, ...], hint: str) -> None:
    """Exit code 2; nothing is created."""
    harness.flow()

    done = harness.agent("run", "etl", *words)

    assert done.returncode == 2
    assert f"Invalid value for {hint}" in done.stderr
    assert harness.runs() == []


def test_a_cloud_that_is_not_there_has_the_agents_exit_code(harness: CommandHarness) -> None:
    """As a start without waiting."""
    done = harness.agent("run", "etl", "--api", "http://127.0.0.1:1")

    assert done.returncode == 69
    assert done.stderr.startswith("Error: cannot reach")


def test_a_watch_that_is_over_says_that_the_run_goes_on(harness: CommandHarness) -> None:
    """Exit code 4, and the command that says why it does not start."""
    harness.flow()

    done = harness.agent("run", "etl", "--watch", "--timeout", "0.2")

    (row,) = harness.runs()
    assert done.returncode == 4, done.stderr
    assert "Scheduled: Flow run scheduled." in done.stdout
    assert f"the flow run goes on. If it does not start: prefect agent why {row['id']}" in done.stderr


def test_ctrl_c_ends_the_watch_and_not_the_run(harness: CommandHarness) -> None:
    """Exit code 130."""
    harness.flow()
    words = [str(PREFECT), "agent", "run", "etl", "--watch"]
    with subprocess.Popen(
        words, env=harness.env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=harness.home
    ) as child:
        try:
            assert child.stdout is not None
            seen = [child.stdout.readline() for _ in range(3)]
            child.send_signal(signal.SIGINT)
            _, error = child.communicate(timeout=30)
        finally:
            child.kill()

    assert "Scheduled" in seen[-1]
    assert child.returncode == 130, error
    assert "Stopped watching: the flow run goes on" in error
    assert "Traceback" not in error
    assert harness.runs()[0]["state"] == "Scheduled"


@pytest.mark.parametrize(("state", "code"), [("Success", 0), ("Failed", 1), ("Cancelled", 3)])
def test_the_exit_code_of_a_watch_is_the_runs_end(harness: CommandHarness, state: str, code: int) -> None:
    """A run that ended before, ordered again by its key, is shown from its beginning."""
    flow_id = harness.flow()
    run_id = harness.mutate("create_flow_run", flow_id=flow_id, idempotency_key="k")
    change = "mutation($input: set_flow_run_states_input!) { set_flow_run_states(input: $input) { states { id } } }"
    for each in ("Running", state):
        entry = {"flow_run_id": run_id, "state": {"type": each, "message": f"it is {each}"}}
        harness.ask(change, input={"states": [entry]})

    done = harness.agent("run", "etl", "--idempotency-key", "k", "--watch", "--output", "json")

    said = [json.loads(line) for line in done.stdout.splitlines()]
    assert done.returncode == code, done.stderr
    assert [each["name"] for each in said if each["kind"] == "state"] == ["Scheduled", "Running", state]
    assert said[-1] == {"kind": "ended", "state": state, "exit_code": code}


# --- render ---


def test_a_rendered_process_is_the_one_that_an_agent_starts(harness: CommandHarness) -> None:
    """Command and environment of the same run with the same options; the key is masked, nothing was claimed."""
    harness.flow(storage=STORED)
    assert harness.agent("run", "etl").returncode == 0
    run_id = harness.runs()[0]["id"]
    options = ("--no-hostname-label", "--env", "OWN=a=b c", "--token", SECRET)

    rendered = harness.agent("render", run_id, "--platform", "process", "--output", "json", *options)
    assert rendered.returncode == 0, rendered.stderr
    assert harness.runs()[0]["state"] == "Scheduled"
    assert not (harness.home / ".prefect-agent").exists()
    started = harness.agent("start", "process", "--max-polls", "1", *options)
    assert started.returncode == 0, started.stderr
    wait_until((harness.home / "words").exists, 30, "the process runs")

    said = json.loads(rendered.stdout)
    lines = (harness.home / "told").read_text(encoding="utf-8").splitlines()
    env = dict(line.split("=", 1) for line in lines)
    shown = {name: value for name, value in env.items() if name not in {"PWD", "OLDPWD", "SHLVL", "_"}}
    secrets = {name for name, value in shown.items() if SECRET in value}
    assert secrets == {"PREFECT__CLOUD__API_KEY", "PREFECT__CLOUD__AUTH_TOKEN"}
    assert said["environment"] == shown | dict.fromkeys(secrets, "********")
    assert [*said["command"][1:]] == (harness.home / "words").read_text(encoding="utf-8").split()
    assert SECRET not in rendered.stdout + rendered.stderr


@pytest.mark.docker
def test_a_rendered_container_has_the_options_and_no_secret(harness: CommandHarness, small_image: str) -> None:
    """By the run's name, as YAML."""
    config = {"type": "DockerRun", "image": small_image, "env": {}, "host_config": {"mem_limit": "64m"}}
    harness.flow(storage=STORED, run_config=config)
    assert harness.agent("run", "etl", "--name", "blue").returncode == 0

    done = harness.agent("render", "blue", "--platform", "docker", "--volume", "/tmp:/data", "--token", SECRET)

    assert done.returncode == 0, done.stderr
    assert f"name: prefect-{harness.runs()[0]['id']}-1" in done.stdout
    assert "Memory: 67108864" in done.stdout
    assert '"/tmp:/data:rw"' in done.stdout
    assert "PREFECT__CLOUD__API_KEY=********" in done.stdout
    assert SECRET not in done.stdout + done.stderr


@pytest.mark.kubernetes
def test_a_rendered_job_is_the_one_that_an_agent_creates(
    harness: CommandHarness, control_plane: "ControlPlane", namespace: str
) -> None:
    """Every field of it, but for the uid and the name of its Secret; the key is masked."""
    harness.flow(storage=STORED, run_config={"type": "KubernetesRun", "image": "etl:1", "env": {}, "cpu_limit": "2"})
    assert harness.agent("run", "etl").returncode == 0
    run_id = harness.runs()[0]["id"]
    options = ("--namespace", namespace, "--kubeconfig", str(control_plane.kubeconfig), "--token", SECRET)

    rendered = harness.agent("render", run_id, "--platform", "kubernetes", "--output", "json", *options)
    assert rendered.returncode == 0, rendered.stderr
    jobs = f"/apis/batch/v1/namespaces/{namespace}/jobs"
    assert control_plane.api.list(jobs) == []
    started = harness.agent("start", "kubernetes", "--max-polls", "1", *options)
    assert started.returncode == 0, started.stderr

    job, secret = sorted(json.loads(rendered.stdout), key=lambda each: str(each["kind"]))
    [made] = control_plane.api.list(jobs)
    assert (job["kind"], secret["kind"]) == ("Job", "Secret")
    assert job["metadata"]["name"] == made["metadata"]["name"]
    assert differences(job["spec"], made["spec"], secret["metadata"]["name"]) == []
    assert SECRET not in rendered.stdout + rendered.stderr
    assert "********" in rendered.stdout


def differences(said: Any, made: Any, secret: str, where: str = "spec") -> list[str]:
    """What is said and not so; the API server adds fields of its own."""
    if isinstance(said, dict) and isinstance(made, dict):
        return [each for name in said for each in differences(said[name], made.get(name), secret, f"{where}.{name}")]
    if isinstance(said, list) and isinstance(made, list) and len(said) == len(made):
        pairs = enumerate(zip(said, made, strict=True))
        return [each for index, (a, b) in pairs for each in differences(a, b, secret, f"{where}[{index}]")]
    is_so = said in (made, secret) or (not said and made is None)
    return [] if is_so else [f"{where}: {said!r}, made {made!r}"]


def test_a_flow_without_a_run_is_rendered_as_a_new_run(harness: CommandHarness) -> None:
    """Nothing is created; what is shown instead of a run is said."""
    flow_id = harness.flow(storage=STORED)

    done = harness.agent("render", "etl", "--platform", "process", "--output", "json")

    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["environment"]["PREFECT__CONTEXT__FLOW_ID"] == flow_id
    assert "what a new run of the flow would become" in done.stderr
    assert harness.runs() == []


def test_what_an_agent_would_refuse_is_not_rendered(harness: CommandHarness) -> None:
    """By its platform or by its policy: exit code 1 and the reason; what is not there: 2."""
    harness.flow("docker-only", run_config={"type": "DockerRun", "image": "x", "env": {}}, storage=STORED)
    harness.flow("forbidden", "q", run_config={"type": "UniversalRun", "env": {"A": "1"}}, storage=STORED)
    policy = harness.home / "policy.json"
    policy.write_text('{"preset": "open", "environment": []}', encoding="utf-8")

    other = harness.agent("render", "docker-only", "--platform", "process")
    forbidden = harness.agent("render", "forbidden", "--platform", "process", "--policy", str(policy))
    nothing = harness.agent("render", "no-such-thing", "--platform", "process")

    assert other.returncode == 1
    assert other.stderr.splitlines()[-1].startswith(
        "This agent would refuse the flow run: the flow run has a DockerRun"
    )
    assert forbidden.returncode == 1
    assert "rule environment" in forbidden.stderr
    assert nothing.returncode == 2
    assert "neither a flow run nor a flow" in nothing.stderr


# --- dry run ---


def dry_run(harness: CommandHarness, *words: str) -> list[tuple[str, str]]:
    """What one poll of a dry run says: fate and message of each flow run."""
    options = ("--no-hostname-label", "--dry-run", "--max-polls", "1", "--log-format", "json", *words)
    done = harness.agent("start", "process", *options)
    assert done.returncode == 0, done.stdout + done.stderr
    said = [json.loads(line) for line in (done.stdout + done.stderr).splitlines()]
    return [(each["fate"], each["message"]) for each in said if "fate" in each]


def test_a_dry_run_says_what_would_become_of_each_run(harness: CommandHarness) -> None:
    """Claimed, refused, waiting for room and for its time; the Cloud and the platform stay as they are."""
    good = harness.flow(storage=STORED)
    bad = harness.flow("bad", "q", run_config={"type": "DockerRun", "image": "x", "env": {}}, storage=STORED)
    at = "2020-01-01T00:00:0{}+00:00"
    runs = [
        harness.mutate("create_flow_run", flow_id=flow, flow_run_name=name, scheduled_start_time=at.format(number))
        for number, (flow, name) in enumerate([(bad, "first"), (good, "second"), (good, "third")])
    ]

    said = dry_run(harness, "--limit", "1")

    assert [fate for fate, _ in said] == ["fail", "start", "wait"]
    assert f"Flow run bad/first ({runs[0]}): would claim it and let it fail: the flow run has a DockerRun" in said[0][1]
    assert f"would claim it and start prefect-{runs[1]}-1" in said[1][1]
    assert "would wait for room: this agent runs 1 at the same time" in said[2][1]
    assert {row["state"] for row in harness.runs()} == {"Scheduled"}
    assert harness.ask("query { agent { id } }")["agent"] == []
    assert not (harness.home / "words").exists()


def test_a_dry_run_leaves_late_runs_and_runs_of_other_labels(harness: CommandHarness) -> None:
    """By ``--max-lateness``; what the Cloud does not offer is not mentioned."""
    flow = harness.flow(storage=STORED)
    harness.mutate("create_flow_run", flow_id=flow, scheduled_start_time="2020-01-01T00:00:00+00:00")
    harness.mutate("create_flow_run", flow_id=flow, labels=["vm"])

    said = dry_run(harness, "--max-lateness", "60")

    assert [fate for fate, _ in said] == ["ignore"]
    assert "overdue by more than 60 s" in said[0][1]


def test_a_dry_run_checks_as_a_start_does(harness: CommandHarness) -> None:
    """The same exit code as a start, for a Cloud that is not there."""
    words = ("start", "process", "--no-wait", "--api", "http://127.0.0.1:1")

    dry, real = harness.agent(*words, "--dry-run"), harness.agent(*words)

    assert dry.returncode == real.returncode == 69
    assert dry.stderr.splitlines()[-1] == real.stderr.splitlines()[-1]


def test_a_dry_run_ends_at_a_signal(harness: CommandHarness) -> None:
    """Exit code 0, soon, and it says that nothing happened."""
    words = [str(PREFECT), "agent", "start", "process", "--dry-run"]
    with subprocess.Popen(
        words, env=harness.env, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, cwd=harness.home
    ) as child:
        assert child.stderr is not None
        seen = next((line for line in child.stderr if "No flow run is due" in line), "")
        began = time.monotonic()
        child.send_signal(signal.SIGINT)
        _, rest = child.communicate(timeout=30)

    assert seen
    assert child.returncode == 0, rest
    assert "nothing was registered, claimed or started" in rest
    assert time.monotonic() - began < 9, "it did not wait for the next poll"

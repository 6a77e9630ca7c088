"""From a flow run to a submission: precedence, image, refusals (protocol sections 6.1 to 6.3)."""

from collections.abc import Mapping

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from prefect.agent.domain.errors import SubmissionRefused
from prefect.agent.domain.model.flow_runs import FlowRun
from prefect.agent.domain.model.run_configs import (
    DockerRun,
    KubernetesRun,
    LocalRun,
    RunConfig,
    Storage,
    UniversalRun,
    UnusableRunConfig,
)
from prefect.agent.domain.model.submissions import (
    MAX_ENV_BYTES,
    MAX_VARIABLE_BYTES,
    PlatformTraits,
    Submission,
    Workload,
    plan_submission,
)
from prefect.agent.domain.model.units import unit_name
from support.builders import a_run

DOCKER = PlatformTraits(kind="docker", run_config=DockerRun)
PROCESS = PlatformTraits(kind="process", run_config=LocalRun, runs_images=False)
COMMAND = ("prefect", "execute", "flow-run")


def plan(
    run: FlowRun | None = None,
    workload: Workload | None = None,
    traits: PlatformTraits = DOCKER,
    env: Mapping[str, str] | None = None,
) -> Submission:
    """A submission with defaults for what a test does not care about."""
    workload = workload or Workload(command=COMMAND, default_image="backend/image:1")
    return plan_submission(run or a_run(), workload, traits, agent_env=env or {})


@pytest.mark.parametrize(
    ("layers", "winner"),
    [
        ({"defaults"}, "defaults"),
        ({"defaults", "agent"}, "agent"),
        ({"defaults", "agent", "run"}, "run"),
        ({"defaults", "agent", "run", "fixed"}, "fixed"),
        ({"agent", "fixed"}, "fixed"),
        ({"run", "defaults"}, "run"),
    ],
)
def test_environment_precedence(layers: set[str], winner: str) -> None:
    """Backend's defaults, then --env, then the run config, then what nobody may override: later wins."""
    given_by = {layer: {"X": layer} if layer in layers else {} for layer in ("defaults", "agent", "run", "fixed")}
    workload = Workload(command=COMMAND, default_image="i", defaults=given_by["defaults"], fixed=given_by["fixed"])

    submission = plan(a_run(run_config=DockerRun(env=given_by["run"])), workload, env=given_by["agent"])

    assert submission.env["X"] == winner


names = st.sampled_from(["A", "B", "KEY", "TOKEN"])
environments = st.dictionaries(names, st.text(alphabet="xyz", max_size=3))


@given(environments, environments, environments, environments, environments)
def test_secrets_never_get_into_the_plain_environment(
    defaults: dict[str, str],
    fixed: dict[str, str],
    secrets: dict[str, str],
    agent_env: dict[str, str],
    run_env: dict[str, str],
) -> None:
    """A name that is secret is given by the backend alone and only as a secret, whoever else set it (P5)."""
    workload = Workload(command=COMMAND, default_image="i", defaults=defaults, fixed=fixed, secrets=secrets)

    submission = plan(a_run(run_config=DockerRun(env=run_env)), workload, env=agent_env)

    assert not set(submission.env) & set(secrets)
    assert dict(submission.secret_env) == secrets


@pytest.mark.parametrize(
    ("storage", "config", "template", "image"),
    [
        (None, DockerRun(), None, "flow/image"),
        (None, UniversalRun(), None, "flow/image"),
        (None, UniversalRun(), "agent/image", "flow/image"),
        (None, DockerRun(image="run/image"), None, "run/image"),
        (Storage(type="Docker", image="stored/image:2"), UniversalRun(), None, "stored/image:2"),
    ],
)
def test_the_flows_own_image_beats_what_nobody_chose(
    storage: Storage | None, config: RunConfig, template: str | None, image: str
) -> None:
    """Template and backend's default; storage and run config are closer to the run."""
    traits = PlatformTraits(kind="docker", run_config=DockerRun, default_image=template)
    run = a_run(run_config=config, storage=storage)
    submission = plan(attrs.evolve(run, flow=attrs.evolve(run.flow, image="flow/image")), traits=traits)
    assert (submission.image, submission.image_is_default) == (image, False)


STORED = Storage(type="Docker", image="stored/image:2")


@pytest.mark.parametrize(
    ("storage", "config", "template", "backend", "image"),
    [
        (STORED, "run/image", "agent/image", "backend/image", "stored/image:2"),
        (None, "run/image", "agent/image", "backend/image", "run/image"),
        (None, None, "agent/image", "backend/image", "agent/image"),
        (None, None, None, "backend/image", "backend/image"),
    ],
)
def test_image_resolution(
    storage: Storage | None, config: str | None, template: str | None, backend: str | None, image: str
) -> None:
    """Storage beats run config beats the agent's template beats the backend's default (protocol section 6.1)."""
    traits = PlatformTraits(kind="docker", run_config=DockerRun, default_image=template)
    run = a_run(run_config=DockerRun(image=config), storage=storage)

    submission = plan(run, Workload(command=COMMAND, default_image=backend, image_variable="IMAGE"), traits)

    assert (submission.image, submission.env["IMAGE"]) == (image, image)


@pytest.mark.parametrize(
    ("storage", "config", "template", "is_default"),
    [
        (STORED, None, None, False),
        (None, "run/image", None, False),
        (STORED, "run/image", "agent/image", False),
        (None, None, "agent/image", True),
        (None, None, None, True),
    ],
)
def test_an_image_that_nobody_asked_for_is_known_as_one(
    storage: Storage | None, config: str | None, template: str | None, is_default: bool
) -> None:
    """A platform's own template may put another image in place of the default, never of one that was chosen."""
    traits = PlatformTraits(kind="docker", run_config=DockerRun, default_image=template)

    submission = plan(a_run(run_config=DockerRun(image=config), storage=storage), traits=traits)

    assert submission.image_is_default is is_default


@pytest.mark.parametrize("variable", ["IMAGE", None])
def test_the_variable_with_the_image_is_named(variable: str | None) -> None:
    """Whoever changes the image has to change the variable too."""
    workload = Workload(command=COMMAND, default_image="i", image_variable=variable)

    submission = plan(workload=workload)

    assert submission.image_variable == variable
    assert submission.env == ({variable: "i"} if variable else {})


def test_no_image_anywhere_is_refused() -> None:
    """A platform of images cannot start a run that has none, and says so before anything is created."""
    with pytest.raises(SubmissionRefused, match="no image"):
        plan(workload=Workload(command=COMMAND))


def test_a_platform_without_images_ignores_them() -> None:
    """A process has no image, and no variable says that it had one."""
    submission = plan(
        workload=Workload(command=COMMAND, default_image="backend/image", image_variable="IMAGE"), traits=PROCESS
    )

    assert submission.image is None
    assert not submission.image_is_default
    assert submission.image_variable is None
    assert "IMAGE" not in submission.env


MANY = {f"A{number}": "x" * 100_000 for number in range(MAX_ENV_BYTES // 100_000 + 1)}


@pytest.mark.parametrize(
    ("run", "traits", "words"),
    [
        (a_run(run_config=KubernetesRun()), DOCKER, "KubernetesRun.*docker agent.*DockerRun"),
        (a_run(run_config=LocalRun()), DOCKER, "LocalRun.*docker agent"),
        (a_run(run_config=DockerRun()), PROCESS, "DockerRun.*process agent.*LocalRun"),
        (a_run(run_config=UnusableRunConfig(reason="made of cheese")), DOCKER, "made of cheese"),
        (a_run(storage=Storage(type="S3", problem="no bucket")), DOCKER, "no bucket"),
        (a_run(storage=STORED), PROCESS, "stored in a Docker image.*process agent"),
        (a_run(run_config=DockerRun(env={"": "x"})), DOCKER, "environment variable"),
        (a_run(run_config=DockerRun(env={"A=B": "x"})), DOCKER, "environment variable"),
        (a_run(run_config=DockerRun(env={"A": "x\0"})), DOCKER, "environment variable"),
        (a_run(run_config=DockerRun(env={"A": "x" * MAX_VARIABLE_BYTES})), DOCKER, "'A' is larger than 128 KiB"),
        (a_run(run_config=DockerRun(env={"A": "é" * (MAX_VARIABLE_BYTES // 2)})), DOCKER, "'A' is larger than 128 KiB"),
        (a_run(run_config=DockerRun(env=MANY)), DOCKER, "environment is larger than 512 KiB"),
        (a_run(run_config=DockerRun(env={"A": "\ud800"})), DOCKER, "it holds half of a character"),
        (a_run(run_config=DockerRun(env={"\udfff": "x"})), DOCKER, "it holds half of a character"),
    ],
    ids=[
        "kubernetes",
        "local",
        "docker",
        "unusable",
        "storage",
        "image",
        "empty",
        "equals",
        "nul",
        "large",
        "bytes",
        "many",
        "half a value",
        "half a name",
    ],
)
def test_what_cannot_run_here_is_refused_with_the_reason(run: FlowRun, traits: PlatformTraits, words: str) -> None:
    """A run of the wrong kind, or without sense, fails before anything is created; its maker reads why."""
    with pytest.raises(SubmissionRefused, match=f"(?s){words}"):
        plan(run, traits=traits)


@pytest.mark.parametrize("config", [UniversalRun(env={"A": "1"}), RunConfig(env={"A": "1"})])
def test_a_universal_run_config_becomes_the_platforms_own(config: RunConfig) -> None:
    """UniversalRun fits everywhere and keeps its variables."""
    assert plan(a_run(run_config=config)).run_config == DockerRun(env={"A": "1"})


def test_the_platforms_own_run_config_arrives_unchanged() -> None:
    """Resources and ports reach the platform as the run asked for them."""
    config = DockerRun(image="run/image", ports=(80,), host_config={"mem_limit": "1g"})

    assert plan(a_run(run_config=config)).run_config == config


@pytest.mark.parametrize(
    ("agent_env", "run_env", "expected"),
    [({}, {}, {"API"}), ({"API": "http://other"}, {}, set()), ({}, {"API": "http://other"}, set())],
)
def test_only_the_machines_own_address_may_be_rewritten(
    agent_env: dict[str, str], run_env: dict[str, str], expected: set[str]
) -> None:
    """An address that a person gave is theirs: no platform touches it."""
    workload = Workload(
        command=COMMAND,
        default_image="i",
        defaults={"API": "http://localhost:4200"},
        address_variables=frozenset({"API"}),
    )

    submission = plan(a_run(run_config=DockerRun(env=run_env)), workload, env=agent_env)

    assert submission.address_variables == expected


def test_a_submission_says_what_it_is_of() -> None:
    """Name, attempt, flow and run travel into the platform's labels."""
    run = a_run(4, attempt="9")

    submission = plan(run)

    assert submission.name == unit_name(run.id, run.attempt)
    assert (submission.flow_run_id, submission.attempt, submission.command) == (run.id, "9", COMMAND)
    assert (submission.flow_id, submission.flow_name, submission.flow_run_name) == (run.flow.id, "flow", "run-4")

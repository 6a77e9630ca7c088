"""Attack: a run config names an address of its own for Prefect, and the agent's key is sent there.

Rule: address and key belong together; a run config changes neither, in whatever spelling. Its log says so.
"""

import json
from collections.abc import Iterator
from typing import Any, Final

import pytest

from prefect.agent.adapters.graphql.workloads import KEPT, workload
from prefect.agent.adapters.kubernetes import manifest, templates
from prefect.agent.adapters.kubernetes.manifest import JobDefaults, SecretReference
from prefect.agent.domain.model.flow_runs import FlowRun
from prefect.agent.domain.model.run_configs import DockerRun, KubernetesRun, LocalRun, RunConfig
from prefect.agent.domain.model.submissions import PlatformTraits, Submission, Workload, plan_submission
from support.builders import a_run
from support.kubernetes.control_plane import ControlPlane
from support.kubernetes.harness import KubernetesHarness, kubernetes_harness, submission, with_pod

KEY: Final = "pak_SECRET-that-must-never-be-seen"
OURS: Final = "http://cloud.test:4200"
THEIRS: Final = "http://elsewhere.test"
KINDS: Final[dict[str, type[RunConfig]]] = {"docker": DockerRun, "kubernetes": KubernetesRun, "process": LocalRun}
SPELLINGS: Final = (
    *sorted(KEPT),
    "PREFECT__cloud__api",
    "PREFECT__Cloud__Api_Key",
    "prefect__cloud__api",
    "PREFECT__backend",
    "PREFECT__context__flow_run_id",
    "prefect_api_key",
    "PREFECT__CLOUD__API_\N{KELVIN SIGN}EY",
    "PREFECT__CLOUD",
    "PREFECT__cloud__",
    "PREFECT__CLOUD__API__X",
    "PREFECT__CONTEXT",
    "PREFECT__CONTEXT__CONFIG",
    "PREFECT__CONTEXT__config__CLOUD",
    "PREFECT__CONTEXT__CONFIG__CLOUD__API",
    "PREFECT__CONTEXT__CONFIG__Cloud__Api_Key",
    "PREFECT__CONTEXT__CONFIG__BACKEND",
)


def workload_of(run: FlowRun) -> Workload:
    """As of an agent with a key."""
    return workload(
        run, url=OURS, backend="cloud", key=KEY, tenant_id=None, labels=(), log_level="INFO", send_logs=True
    )


def plan(kind: str, config: RunConfig, agent_env: dict[str, str] | None = None) -> Submission:
    """What a platform of this kind gets."""
    run = a_run(run_config=config)
    traits = PlatformTraits(kind=kind, run_config=KINDS[kind], runs_images=kind != "process")
    return plan_submission(run, workload_of(run), traits, agent_env=agent_env or {})


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", SPELLINGS)
def test_a_run_config_changes_neither_address_nor_key(kind: str, name: str) -> None:
    """The flow run is started all the same, with ours; every other variable counts."""
    made = plan(kind, KINDS[kind](env={name: THEIRS, "MINE": "1"}))

    assert made.env["PREFECT__CLOUD__API"] == OURS
    assert made.secret_env["PREFECT__CLOUD__API_KEY"] == KEY
    assert THEIRS not in made.env.values()
    assert made.env["MINE"] == "1"
    assert made.ignored == (name,)


def test_the_operator_may_change_the_address() -> None:
    """``--env`` is not the author's."""
    env = {"PREFECT__CLOUD__API": "http://inside.test:4200"}
    made = plan("docker", DockerRun(env={"PREFECT__CLOUD__API": THEIRS}), env)
    assert made.env["PREFECT__CLOUD__API"] == "http://inside.test:4200"
    assert "PREFECT__CLOUD__API" not in made.address_variables


@pytest.mark.parametrize(
    "name",
    [
        "MY_SETTING",
        "PREFECT",
        "PREFECT__LOGGING__LEVEL",
        "PREFECT__TASKS__DEFAULTS__MAX_RETRIES",
        "PREFECT__CONTEXT__SECRETS__CLOUD",
        "PREFECT__CLOUD__HEARTBEAT_MODE",
        "PREFECT__CONTEXT__CONFIG__LOGGING__LEVEL",
    ],
)
def test_what_is_no_address_and_no_key_is_the_authors(name: str) -> None:
    """As in 1.4.1."""
    made = plan("docker", DockerRun(env={name: "x"}))
    assert (made.env[name], made.ignored) == ("x", ())


def job_of(name: str, *, from_run: bool) -> tuple[dict[str, Any], Submission, dict[str, Any]]:
    """The container of a Job whose template sets that variable, the submission, and the template."""
    entry = {"name": name, "value": THEIRS}
    container = {"name": "flow", "image": "i", "env": [entry, {"name": "MINE", "value": "1"}]}
    template = {"spec": {"template": {"spec": {"containers": [container]}}}}
    made = plan("kubernetes", KubernetesRun(job_template=template))
    job = manifest.job(
        made, template, from_run=from_run, defaults=JobDefaults(), secret=SecretReference(name="s", key="k")
    )
    return job["spec"]["template"]["spec"]["containers"][0], made, template


@pytest.mark.parametrize("name", SPELLINGS)
def test_the_job_template_of_a_run_changes_neither_address_nor_key(name: str) -> None:
    """Variables of the flow's container count but for these."""
    container, made, template = job_of(name, from_run=True)
    values = {entry["name"]: entry.get("value") for entry in container["env"]}
    assert values["PREFECT__CLOUD__API"] == OURS
    assert values["MINE"] == "1"
    assert THEIRS not in values.values()
    assert manifest.ignored(made, template) == ([] if name in {*made.env, *made.secret_env} else [name])


def test_the_job_template_of_the_agent_is_the_operators() -> None:
    """What it sets stays, if the agent does not set it."""
    container, _, _ = job_of("PREFECT__CLOUD__GRAPHQL", from_run=False)
    assert {"name": "PREFECT__CLOUD__GRAPHQL", "value": THEIRS} in container["env"]
    assert templates.checked(templates.BUILT_IN)


@pytest.fixture
def harness(control_plane: ControlPlane) -> Iterator[KubernetesHarness]:
    """A new namespace."""
    with kubernetes_harness(control_plane) as harness:
        yield harness


@pytest.mark.kubernetes
def test_the_log_of_the_run_says_what_of_its_template_is_ignored(harness: KubernetesHarness) -> None:
    """A real API server gets the Job without it."""
    container = {"name": "flow", "env": [{"name": "PREFECT__CLOUD__GRAPHQL", "value": THEIRS}]}
    made = submission(template=with_pod(containers=[container]), reserved=KEPT)

    unit = harness.platform().create(made)

    assert unit.info.endswith("; ignored of its job template: PREFECT__CLOUD__GRAPHQL")
    assert THEIRS not in json.dumps(harness.job(made.name))

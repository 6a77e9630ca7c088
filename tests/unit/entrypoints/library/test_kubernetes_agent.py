"""The Kubernetes agent: which options come from where, before there is any cluster."""

from typing import Any

import attrs
import pytest

from prefect.agent import AgentSettings, KubernetesAgent
from prefect.agent.adapters.fakes import InMemoryCloudApi
from prefect.agent.entrypoints.library.kinds import KUBERNETES_OPTIONS, VARIABLES, kubernetes_options

EVERYTHING = {
    "NAMESPACE": "metrics",
    "SERVICE_ACCOUNT_NAME": "flows",
    "IMAGE_PULL_SECRETS": "a,b",
    "IMAGE_PULL_POLICY": "Always",
    "JOB_CPU_REQUEST": "100m",
    "JOB_CPU_LIMIT": "1",
    "JOB_MEM_REQUEST": "64Mi",
    "JOB_MEM_LIMIT": "1Gi",
    "YAML_TEMPLATE": "/etc/job.yaml",
    "PREFECT_AGENT_API_KEY_SECRET": "prefect-agent/api-key",
    "PREFECT_AGENT_JOB_SECURITY": "none",
    "PREFECT_AGENT_CLUSTER_WIDE": "True",
    "PREFECT_AGENT_WITHOUT": "logs, events",
}


def options_of(environ: dict[str, str] | None = None, **given: Any) -> dict[str, Any]:
    """What the platform's factory would be called with."""
    home = {"HOME": "/nonexistent", **(environ or {})}
    agent = KubernetesAgent(cloud=InMemoryCloudApi(), environ=home, **given)
    return dict(agent._options.platform_options)


def test_variables_of_the_manifests_are_read() -> None:
    """All that the manifests of 1.x and ours set, also what 1.x itself sets and ignores."""
    assert set(EVERYTHING) == set(VARIABLES.values())
    assert kubernetes_options(EVERYTHING) == {
        "namespace": "metrics",
        "service_account_name": "flows",
        "image_pull_secrets": "a,b",
        "image_pull_policy": "Always",
        "job_cpu_request": "100m",
        "job_cpu_limit": "1",
        "job_mem_request": "64Mi",
        "job_mem_limit": "1Gi",
        "job_template_path": "/etc/job.yaml",
        "api_key_secret": "prefect-agent/api-key",
        "job_security": "none",
        "cluster_wide": True,
        "without": ["logs", "events"],
    }


def test_an_empty_variable_sets_nothing() -> None:
    """The manifest of 1.x writes every variable, most of them empty."""
    assert kubernetes_options(dict.fromkeys(EVERYTHING, "")) == {}


def test_arguments_win_over_variables() -> None:
    """What is typed is meant."""
    found = options_of(EVERYTHING, namespace="other", image_pull_secrets=["c"], job_mem_limit="2Gi", qps=5)

    assert (found["namespace"], found["image_pull_secrets"], found["job_mem_limit"]) == ("other", ["c"], "2Gi")
    assert (found["qps"], found["job_cpu_limit"]) == (5, "1")


def test_arguments_stand_where_1x_has_them() -> None:
    """``KubernetesAgent(id, namespace, service account, pull secrets, template, name, labels)``."""
    agent = KubernetesAgent(
        "id", "ns", "sa", ["s"], "t.yaml", "ann", ["l"], cloud=InMemoryCloudApi(), environ={"HOME": "/nonexistent"}
    )

    assert (agent.agent_config_id, agent.name, agent.labels) == ("id", "ann", ["l"])
    assert agent._options.platform_options == {
        "namespace": "ns",
        "service_account_name": "sa",
        "image_pull_secrets": ["s"],
        "job_template_path": "t.yaml",
    }


def test_volumes_of_1x_are_honoured() -> None:
    """They were stored and forgotten there."""
    found = options_of(volumes=[{"name": "v"}], volume_mounts=[{"name": "v", "mountPath": "/v"}])

    assert (found["volumes"], found["volume_mounts"]) == ([{"name": "v"}], [{"name": "v", "mountPath": "/v"}])


@pytest.mark.parametrize(
    ("environ", "given"),
    [
        ({}, {"delete_finished_jobs": False}),
        ({"DELETE_FINISHED_JOBS": "False"}, {}),
        ({"DELETE_FINISHED_JOBS": "false"}, {"delete_finished_jobs": True}),
        ({"PREFECT_AGENT_WITHOUT": "clean-up"}, {}),
    ],
)
def test_finished_jobs_can_be_kept(environ: dict[str, str], given: dict[str, Any]) -> None:
    """By argument, by the variable of 1.x (only ``True`` deletes), by feature: nobody removes them then."""
    agent = KubernetesAgent(cloud=InMemoryCloudApi(), environ={"HOME": "/nonexistent", **environ}, **given)

    assert agent._options.settings.keep_ended is None
    assert agent._options.platform_options["job_ttl"] is None


def test_finished_jobs_go_by_themselves() -> None:
    """The default, and what ``True`` means; settings of one's own stay."""
    environ = {"HOME": "/nonexistent", "DELETE_FINISHED_JOBS": "True"}
    settings = AgentSettings(keep_ended=7)
    agent = KubernetesAgent(cloud=InMemoryCloudApi(), environ=environ, settings=settings)

    assert agent._options.settings.keep_ended == 7
    assert "job_ttl" not in agent._options.platform_options


def test_every_option_is_one_of_the_factory() -> None:
    """A name that the factory does not know would fail at the first use only."""
    from prefect.agent.adapters.kubernetes.options import KubernetesOptions  # noqa: PLC0415

    known = {each.name for each in attrs.fields(KubernetesOptions)}
    assert known == KUBERNETES_OPTIONS | {
        "namespace",
        "service_account_name",
        "image_pull_secrets",
        "job_template_path",
    }
    assert VARIABLES.keys() <= known

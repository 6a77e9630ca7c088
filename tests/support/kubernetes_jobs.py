"""Jobs of the Kubernetes adapter, as its unit tests make them."""

from collections.abc import Mapping
from typing import Any

import attrs

from prefect.agent.adapters.kubernetes import manifest, templates
from prefect.agent.adapters.kubernetes.manifest import JobDefaults, SecretReference
from prefect.agent.domain.model.flow_runs import FlowRunId
from prefect.agent.domain.model.run_configs import KubernetesRun, RunConfig
from prefect.agent.domain.model.submissions import Submission

OWN = SecretReference("prefect-x-1")


def a_submission(config: RunConfig | None = None, **changes: Any) -> Submission:
    """A submission for Kubernetes."""
    base = Submission(
        name="prefect-x-1", flow_run_id=FlowRunId("x"), attempt="1", command=("prefect", "execute"), image="image"
    )
    return attrs.evolve(base, run_config=config or KubernetesRun(), **changes)


def a_job(
    submission: Submission | None = None,
    template: Mapping[str, Any] = templates.BUILT_IN,
    *,
    from_run: bool = False,
    **defaults: Any,
) -> dict[str, Any]:
    """The Job of *submission*."""
    return manifest.job(
        submission or a_submission(), template, from_run=from_run, defaults=JobDefaults(**defaults), secret=OWN
    )


def pod_of(job: Mapping[str, Any]) -> dict[str, Any]:
    """The PodSpec of a Job."""
    pod: dict[str, Any] = job["spec"]["template"]["spec"]
    return pod


def flow_of(job: Mapping[str, Any]) -> dict[str, Any]:
    """The container of a Job that runs the flow."""
    flow: dict[str, Any] = pod_of(job)["containers"][0]
    return flow


def with_pod(pod: Mapping[str, Any]) -> dict[str, Any]:
    """A template with *pod* as its PodSpec."""
    return {"spec": {"template": {"spec": pod}}}


def with_flow(flow: Mapping[str, Any]) -> dict[str, Any]:
    """A template with *flow* as its first container."""
    return with_pod({"containers": [flow]})

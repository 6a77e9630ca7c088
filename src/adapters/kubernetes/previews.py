"""The Job that a submission would become, with its Secret, and whether the agent may make it where it asks to be."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from prefect.agent.adapters.kubernetes import manifest
from prefect.agent.adapters.kubernetes.jobs import Scope
from prefect.agent.adapters.kubernetes.manifest import SecretReference
from prefect.agent.domain.errors import SubmissionRefused
from prefect.agent.domain.model.submissions import Submission

NOT_YET: Final = "uid-of-the-job"
"""Stands for the uid that the API server gives to the Job."""


def documents(
    submission: Submission, job: Mapping[str, Any], secret: SecretReference | None
) -> Sequence[Mapping[str, Any]]:
    """The Job, and the Secret that the agent would make for it."""
    if secret is None or secret.key is not None:
        return (job,)
    made = manifest.secret(submission, name=secret.name, job_name=submission.name, job_uid=NOT_YET)
    made["metadata"]["namespace"] = job["metadata"]["namespace"]
    return (job, made)


def check_namespace(job: Mapping[str, Any], scope: Scope) -> None:
    """Raise unless the agent makes Jobs in the namespace of *job*.

    Raises:
        SubmissionRefused: Its template names another one.
    """
    namespace = job["metadata"]["namespace"]
    if namespace != scope.namespace and not scope.cluster_wide:
        raise SubmissionRefused(
            f"the job template names the namespace {namespace!r}, but the agent creates Jobs in "
            f"{scope.namespace!r} only; leave it out, or start the agent with --cluster-wide"
        )

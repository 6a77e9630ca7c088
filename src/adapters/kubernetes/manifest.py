"""Builds the Job of a submission and its Secret (protocol sections 7.2, 7.3). Pure."""

import base64
import hashlib
import re
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import urlsplit

from prefect.agent.adapters.kubernetes import pods, templates
from prefect.agent.adapters.kubernetes.fields import BadTemplate, TemplateSection
from prefect.agent.adapters.kubernetes.pods import JobDefaults, SecretReference
from prefect.agent.domain.addresses import is_loopback
from prefect.agent.domain.errors import ConfigurationError, SubmissionRefused
from prefect.agent.domain.model.flow_runs import FlowRunId
from prefect.agent.domain.model.submissions import Submission

__all__ = [
    "ATTEMPT",
    "CLOUD_LABEL",
    "CONTAINER",
    "ENDED",
    "FLOW_ID_LABEL",
    "FLOW_NAME",
    "FLOW_RUN_ID",
    "FLOW_RUN_ID_LABEL",
    "FLOW_RUN_NAME",
    "IDENTIFIER",
    "MANAGED_BY",
    "MANAGER",
    "OWNER_LABEL",
    "SECRET",
    "STOPPED",
    "UNIT",
    "JobDefaults",
    "SecretReference",
    "annotations",
    "check",
    "job",
    "labels",
    "namespace_of",
    "secret",
    "trial",
    "unreachable_addresses",
]

UNIT: Final = "prefect.io/unit"
"""The label that marks a unit: its value is the Job's own name."""

IDENTIFIER: Final = "prefect.io/identifier"
FLOW_RUN_ID_LABEL: Final = "prefect.io/flow_run_id"
FLOW_ID_LABEL: Final = "prefect.io/flow_id"
CLOUD_LABEL: Final = "prefect.io/cloud"
OWNER_LABEL: Final = "prefect.io/owner"
"""Labels of the owner, on Job and pods."""

MANAGED_BY: Final = "app.kubernetes.io/managed-by"
MANAGER: Final = "prefect-agent"

FLOW_RUN_ID: Final = "prefect.io/flow-run-id"
"""Annotation with the exact value, which may not be a valid label; the following names are annotations, too."""

ATTEMPT: Final = "prefect.io/attempt"
FLOW_NAME: Final = "prefect.io/flow-name"
FLOW_RUN_NAME: Final = "prefect.io/flow-run-name"
SECRET: Final = "prefect.io/secret"  # noqa: S105 - the name of an annotation
"""Name of the Secret that was created for this Job only."""

CONTAINER: Final = "prefect.io/container"
"""Name of the container that executes the flow run, if it is not the usual one; set on the pod."""

ENDED: Final = "prefect.io/ended"
"""How that container ended (exit code and reason), if an agent then ended the other containers."""

STOPPED: Final = "prefect.io/stopped"
"""Why an agent ended the Job; set when it does."""

_LABELS: Final = (UNIT, IDENTIFIER, FLOW_RUN_ID_LABEL, FLOW_ID_LABEL, CLOUD_LABEL, OWNER_LABEL, MANAGED_BY)
_ANNOTATIONS: Final = (FLOW_RUN_ID, ATTEMPT, FLOW_NAME, FLOW_RUN_NAME, SECRET, STOPPED, ENDED, CONTAINER)
_ON_PODS: Final = (FLOW_RUN_ID, ATTEMPT)

_OF_THE_SERVER: Final = (
    "name",
    "generateName",
    "uid",
    "resourceVersion",
    "generation",
    "creationTimestamp",
    "deletionTimestamp",
    "managedFields",
    "selfLink",
)
"""Metadata to remove from a template that was exported from a Job."""

LEAST_TIME_TO_LIVE: Final = 86_400
"""Least seconds for which Kubernetes keeps a finished Job, also if its template asks for less."""


def job(
    submission: Submission,
    template: Mapping[str, Any],
    *,
    from_run: bool,
    defaults: JobDefaults,
    secret: SecretReference | None,
) -> dict[str, Any]:
    """Return the Job of *submission*; *template* is not changed.

    Args:
        from_run: Whether the template is the run config's own, not the agent's.
        secret: The Secret with the secret variables; required if there are any, since they are never in the Job.

    Raises:
        SubmissionRefused: The template is invalid; the message names the field.
        ValueError: There are secret variables, but no *secret*.
    """
    try:
        whole = TemplateSection(templates.checked(template))
        whole.data.update(apiVersion="batch/v1", kind="Job")
        whole.data.pop("status", None)
        notes = annotations(submission, secret)
        _fill_metadata(whole.section("metadata"), submission, defaults)
        _mark(whole.section("metadata"), submission, notes)
        spec = whole.section("spec")
        _check_started_once(spec)
        spec.default("backoffLimit", 0)
        _fill_time_to_live(spec, defaults)
        pod = spec.section("template")
        _mark(pod.section("metadata"), submission, {name: notes[name] for name in _ON_PODS if name in notes})
        main = pods.fill(pod.section("spec"), submission, from_run=from_run, defaults=defaults, secret=secret)
        if main != pods.CONTAINER:
            pod.section("metadata").section("annotations").data[CONTAINER] = main
    except BadTemplate as problem:
        raise SubmissionRefused(str(problem)) from problem
    return whole.data


def secret(submission: Submission, *, name: str, job_name: str, job_uid: str) -> dict[str, Any]:
    """Return the Secret of one Job, with each secret variable under its name; it is deleted with the Job."""
    owner = {"apiVersion": "batch/v1", "kind": "Job", "name": job_name, "uid": job_uid}
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "type": "Opaque",
        "immutable": True,
        "metadata": {
            "name": name,
            "labels": labels(submission),
            "ownerReferences": [{**owner, "controller": False, "blockOwnerDeletion": False}],
        },
        "data": {
            variable: base64.b64encode(value.encode(errors="surrogatepass")).decode()
            for variable, value in submission.secret_env.items()
        },
    }


def labels(submission: Submission) -> dict[str, str]:
    """Return the labels of all objects of *submission*, without values that Kubernetes would refuse."""
    wanted = {
        UNIT: submission.name,
        IDENTIFIER: hashlib.sha256(submission.name.encode()).hexdigest()[:8],
        FLOW_RUN_ID_LABEL: submission.flow_run_id,
        FLOW_ID_LABEL: submission.flow_id,
        CLOUD_LABEL: submission.owner.cloud if submission.owner else "",
        OWNER_LABEL: submission.owner.agent if submission.owner else "",
        MANAGED_BY: MANAGER,
    }
    return {name: value for name, value in wanted.items() if _is_label_value(value)}


def annotations(submission: Submission, secret: SecretReference | None) -> dict[str, str]:
    """Return the annotations of the Job; empty values are omitted."""
    wanted = {
        FLOW_RUN_ID: submission.flow_run_id,
        ATTEMPT: submission.attempt,
        FLOW_NAME: submission.flow_name,
        FLOW_RUN_NAME: submission.flow_run_name,
        SECRET: secret.name if secret and secret.key is None else "",
    }
    return {name: value for name, value in wanted.items() if value}


def namespace_of(template: Mapping[str, Any], default: str) -> str:
    """Return the namespace that *template* names, else *default*; the caller decides whether it is allowed.

    Raises:
        SubmissionRefused: It is not a text.
    """
    try:
        return TemplateSection(dict(template)).peek("metadata").text("namespace") or default
    except BadTemplate as problem:
        raise SubmissionRefused(str(problem)) from problem


def check(template: Mapping[str, Any], *, defaults: JobDefaults) -> None:
    """Check the agent's own *template* before any flow run uses it.

    Raises:
        ConfigurationError: No Job can be made of it; the message names the field.
    """
    try:
        trial("trial", template, defaults=defaults)
    except SubmissionRefused as problem:
        raise ConfigurationError(f"no flow run can use the agent's job template: {problem}") from problem


def ignored(submission: Submission, template: Mapping[str, Any]) -> list[str]:
    """Return the variables that the run's own *template* sets without permission; the Job does not have them."""
    pod = TemplateSection(templates.checked(template)).peek("spec").peek("template").peek("spec")
    return pods.reserved_in(pod, submission)


def trial(name: str, template: Mapping[str, Any], *, defaults: JobDefaults) -> dict[str, Any]:
    """Return a Job of the agent's own *template* for a test, without a flow run.

    Raises:
        SubmissionRefused: No Job can be made of it; the message names the field.
    """
    nothing = Submission(name=name, flow_run_id=FlowRunId("trial"), attempt="1", command=("true",), image="trial")
    return job(nothing, template, from_run=False, defaults=defaults, secret=None)


def unreachable_addresses(submission: Submission, template: Mapping[str, Any] | None = None) -> list[str]:
    """Return the variables with a loopback address, which a pod would take for its own; sorted.

    Args:
        template: The Job or its template; for a pod on its node's network the result is empty.
    """
    if _is_on_its_nodes_network(template or {}):
        return []
    env = {**submission.env, **submission.secret_env}
    return sorted(name for name in submission.address_variables if name in env and _is_on_this_machine(env[name]))


def _fill_metadata(metadata: TemplateSection, submission: Submission, defaults: JobDefaults) -> None:
    for key in _OF_THE_SERVER:
        metadata.data.pop(key, None)
    namespace = metadata.text("namespace") or defaults.namespace
    metadata.data.update(name=submission.name, namespace=namespace)


def _mark(metadata: TemplateSection, submission: Submission, notes: Mapping[str, str]) -> None:
    """Set the agent's labels and annotations, and remove all others with its names, since it reads them back."""
    for key, names, ours in (("labels", _LABELS, labels(submission)), ("annotations", _ANNOTATIONS, notes)):
        section = metadata.section(key)
        for name in names:
            section.data.pop(name, None)
        section.data.update(ours)


def _fill_time_to_live(spec: TemplateSection, defaults: JobDefaults) -> None:
    """Set the time to live to the template's, but long enough for a restarted agent to observe the end."""
    floor = LEAST_TIME_TO_LIVE if defaults.ttl_seconds is None else min(LEAST_TIME_TO_LIVE, defaults.ttl_seconds)
    own = spec.get("ttlSecondsAfterFinished")
    if own is None:
        spec.default("ttlSecondsAfterFinished", defaults.ttl_seconds)
    elif isinstance(own, int) and 0 <= own < floor:  # what makes no sense the API server refuses
        spec.data["ttlSecondsAfterFinished"] = floor


def _check_started_once(spec: TemplateSection) -> None:
    for key in ("parallelism", "completions"):
        value = spec.get(key)
        if value is not None and value != 1:
            raise BadTemplate(f"the job template's {spec.at(key)} must be 1 or absent: a flow run is started once")
    if spec.get("completionMode") not in (None, "NonIndexed"):
        raise BadTemplate(
            f"the job template's {spec.at('completionMode')} must be NonIndexed or absent: a flow run is started once"
        )


def _is_on_its_nodes_network(template: Mapping[str, Any]) -> bool:
    try:
        return TemplateSection(dict(template)).peek("spec").peek("template").peek("spec").get("hostNetwork") is True
    except BadTemplate:  # reported when the Job is created
        return False


def _is_label_value(text: str) -> bool:
    return re.fullmatch(r"[A-Za-z0-9]([A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?", text) is not None


def _is_on_this_machine(url: str) -> bool:
    try:
        host = urlsplit(url).hostname
    except ValueError:
        return False
    return host is not None and is_loopback(host)

"""From a submission to the Job that is made for it, and its Secret (protocol sections 7.2, 7.3). Pure."""

import base64
import hashlib
import re
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import urlsplit

from prefect.agent.adapters.kubernetes import pods, templates
from prefect.agent.adapters.kubernetes.fields import BadTemplate, Section
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
"""The mark of this product: a Job whose label of this name holds the Job's own name is a unit."""

IDENTIFIER: Final = "prefect.io/identifier"
FLOW_RUN_ID_LABEL: Final = "prefect.io/flow_run_id"
FLOW_ID_LABEL: Final = "prefect.io/flow_id"
CLOUD_LABEL: Final = "prefect.io/cloud"
OWNER_LABEL: Final = "prefect.io/owner"
"""Marks of the owner, on Job and pods."""

MANAGED_BY: Final = "app.kubernetes.io/managed-by"
MANAGER: Final = "prefect-agent"

FLOW_RUN_ID: Final = "prefect.io/flow-run-id"
"""Annotation, as are the following: the exact value, which a label might not take."""

ATTEMPT: Final = "prefect.io/attempt"
FLOW_NAME: Final = "prefect.io/flow-name"
FLOW_RUN_NAME: Final = "prefect.io/flow-run-name"
SECRET: Final = "prefect.io/secret"  # noqa: S105 - the name of an annotation
"""Name of the Secret that was made for this Job alone."""

CONTAINER: Final = "prefect.io/container"
"""Name of the container that executes the flow run, if it is not the usual one; on the pod: others may add theirs."""

ENDED: Final = "prefect.io/ended"
"""How that container ended (exit code and reason), if an agent ended what went on beside it."""

STOPPED: Final = "prefect.io/stopped"
"""Why an agent ended the Job; put there when it does."""

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
"""Metadata of a template that was once a Job; the name is ours."""

LEAST_TIME_TO_LIVE: Final = 86_400
"""Seconds that Kubernetes keeps a finished Job at least, whatever its template says; the agent removes it earlier."""


def job(
    submission: Submission,
    template: Mapping[str, Any],
    *,
    from_run: bool,
    defaults: JobDefaults,
    secret: SecretReference | None,
) -> dict[str, Any]:
    """The Job of *submission*. *template* is left as it is.

    Args:
        from_run: Whether the template is the run config's own, not the agent's.
        secret: Where the secret variables are; needed if there are any, for they are never written out.

    Raises:
        SubmissionRefused: The template makes no sense; the message names the field.
        ValueError: There are secret variables, but no *secret*.
    """
    try:
        whole = Section(templates.checked(template))
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
    """The Secret of a Job's own, with each secret variable under its name; removed with the Job."""
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
    """Labels of everything that is made for *submission*; values that Kubernetes would refuse are left out."""
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
    """Annotations of the Job: ids as they are, names cut for people."""
    wanted = {
        FLOW_RUN_ID: submission.flow_run_id,
        ATTEMPT: submission.attempt,
        FLOW_NAME: submission.flow_name,
        FLOW_RUN_NAME: submission.flow_run_name,
        SECRET: secret.name if secret and secret.key is None else "",
    }
    return {name: value for name, value in wanted.items() if value}


def namespace_of(template: Mapping[str, Any], default: str) -> str:
    """The namespace that *template* names, else *default*; whether a Job may go there the caller decides.

    Raises:
        SubmissionRefused: It is not a text.
    """
    try:
        return Section(dict(template)).peek("metadata").text("namespace") or default
    except BadTemplate as problem:
        raise SubmissionRefused(str(problem)) from problem


def check(template: Mapping[str, Any], *, defaults: JobDefaults) -> None:
    """Try the agent's own *template*, so that no flow run has to find out.

    Raises:
        ConfigurationError: No Job can be made of it; the message names the field.
    """
    try:
        trial("trial", template, defaults=defaults)
    except SubmissionRefused as problem:
        raise ConfigurationError(f"no flow run can use the agent's job template: {problem}") from problem


def ignored(submission: Submission, template: Mapping[str, Any]) -> list[str]:
    """Variables that the run's own *template*, of which a Job was made, sets and may not: they are left out."""
    pod = Section(templates.checked(template)).peek("spec").peek("template").peek("spec")
    return pods.reserved_in(pod, submission)


def trial(name: str, template: Mapping[str, Any], *, defaults: JobDefaults) -> dict[str, Any]:
    """A Job of the agent's own *template* for no flow run.

    Raises:
        SubmissionRefused: No Job can be made of it; the message names the field.
    """
    nothing = Submission(name=name, flow_run_id=FlowRunId("trial"), attempt="1", command=("true",), image="trial")
    return job(nothing, template, from_run=False, defaults=defaults, secret=None)


def unreachable_addresses(submission: Submission, template: Mapping[str, Any] | None = None) -> list[str]:
    """Variables that hold an address of the agent's own machine, which a pod takes for its own; sorted.

    Args:
        template: Of the Job, or the Job itself. A pod on its node's network is not warned of: it may be right.
    """
    if _is_on_its_nodes_network(template or {}):
        return []
    env = {**submission.env, **submission.secret_env}
    return sorted(name for name in submission.address_variables if name in env and _is_on_this_machine(env[name]))


def _fill_metadata(metadata: Section, submission: Submission, defaults: JobDefaults) -> None:
    for key in _OF_THE_SERVER:
        metadata.data.pop(key, None)
    namespace = metadata.text("namespace") or defaults.namespace
    metadata.data.update(name=submission.name, namespace=namespace)


def _mark(metadata: Section, submission: Submission, notes: Mapping[str, str]) -> None:
    """Put our labels and *notes*; whatever a template has under names of ours goes, for the agent reads them back."""
    for key, names, ours in (("labels", _LABELS, labels(submission)), ("annotations", _ANNOTATIONS, notes)):
        section = metadata.section(key)
        for name in names:
            section.data.pop(name, None)
        section.data.update(ours)


def _fill_time_to_live(spec: Section, defaults: JobDefaults) -> None:
    """The template's, but no shorter one than an agent that is away may need: a Job that is gone tells no end."""
    floor = LEAST_TIME_TO_LIVE if defaults.ttl_seconds is None else min(LEAST_TIME_TO_LIVE, defaults.ttl_seconds)
    own = spec.get("ttlSecondsAfterFinished")
    if own is None:
        spec.default("ttlSecondsAfterFinished", defaults.ttl_seconds)
    elif isinstance(own, int) and 0 <= own < floor:  # what makes no sense the API server refuses
        spec.data["ttlSecondsAfterFinished"] = floor


def _check_started_once(spec: Section) -> None:
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
        return Section(dict(template)).peek("spec").peek("template").peek("spec").get("hostNetwork") is True
    except BadTemplate:  # said when the Job is made
        return False


def _is_label_value(text: str) -> bool:
    return re.fullmatch(r"[A-Za-z0-9]([A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?", text) is not None


def _is_on_this_machine(url: str) -> bool:
    try:
        host = urlsplit(url).hostname
    except ValueError:
        return False
    return host is not None and is_loopback(host)

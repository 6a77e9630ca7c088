"""Reasons of a cluster to make no Jobs in a namespace: a quota without room, a policy that denies them."""

import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from support.kubernetes.api import ApiRefused
from support.kubernetes.harness import KubernetesHarness
from support.kubernetes.scratch_namespace import job
from support.waiting import wait_until

ADMISSION: Final = "/apis/admissionregistration.k8s.io/v1"
POLICIES: Final = f"{ADMISSION}/validatingadmissionpolicies"
BINDINGS: Final = f"{ADMISSION}/validatingadmissionpolicybindings"


def limit_jobs(harness: KubernetesHarness, jobs: int) -> None:
    """Let the namespace have so many Jobs."""
    path = f"/api/v1/namespaces/{harness.namespace}/resourcequotas"
    hard = {"spec": {"hard": {"count/jobs.batch": str(jobs)}}}
    if harness.scratch.api.exists(f"{path}/one"):
        harness.scratch.api.patch(f"{path}/one", hard)
    else:
        harness.scratch.api.post(path, {"metadata": {"name": "one"}, **hard})
    wait_until(lambda: _is_held(harness, jobs), 20, "the quota holds")


@contextmanager
def denied_jobs(harness: KubernetesHarness, message: str) -> Iterator[None]:
    """For the time of the block, a ValidatingAdmissionPolicy denies every Job of the namespace with this message."""
    api, name = harness.scratch.api, f"lab-{uuid.uuid4().hex[:8]}"
    rule = {"apiGroups": ["batch"], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["jobs"]}
    only = {"matchLabels": {"kubernetes.io/metadata.name": harness.namespace}}
    spec = {
        "failurePolicy": "Fail",
        "matchConstraints": {"resourceRules": [rule]},
        "validations": [{"expression": "false", "message": message}],
    }
    api.post(POLICIES, {"metadata": {"name": name}, "spec": spec})
    binding = {"policyName": name, "validationActions": ["Deny"], "matchResources": {"namespaceSelector": only}}
    api.post(BINDINGS, {"metadata": {"name": name}, "spec": binding})
    try:
        wait_until(lambda: _is_denied(harness), 60, "the policy holds")
        yield
    finally:
        api.delete(f"{BINDINGS}/{name}")
        api.delete(f"{POLICIES}/{name}")


def _is_held(harness: KubernetesHarness, jobs: int) -> bool:
    """Whether the quota's controller has counted."""
    quota = harness.scratch.api.get(f"/api/v1/namespaces/{harness.namespace}/resourcequotas/one")
    return bool(quota.get("status", {}).get("hard", {}).get("count/jobs.batch") == str(jobs))


def _is_denied(harness: KubernetesHarness) -> bool:
    try:
        harness.scratch.api.post(harness.scratch.jobs, job("tried"), dryRun="All")
    except ApiRefused as refused:
        if refused.status not in {403, 422}:
            raise
        return True
    return False

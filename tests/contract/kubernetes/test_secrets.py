"""Promise P5 on a real Kubernetes API server: the API key is in Secrets, and nowhere else."""

import base64
import json
import logging
from collections.abc import Iterator
from typing import Final

import pytest

from prefect.agent.domain.errors import PlatformError
from prefect.agent.domain.model.submissions import Submission
from support.kubernetes.control_plane import ControlPlane
from support.kubernetes.harness import KEY, KubernetesHarness, kubernetes_harness, once_ended, submission
from support.kubernetes.kubelet import ProcessKubelet
from support.kubernetes.proxy import FaultProxy
from support.waiting import wait_until

pytestmark = pytest.mark.kubernetes

EVERYTHING: Final = (
    "apis/batch/v1 jobs",
    "api/v1 pods",
    "api/v1 events",
    "api/v1 configmaps",
    "api/v1 serviceaccounts",
    "api/v1 replicationcontrollers",
    "apis/apps/v1 controllerrevisions",
)


@pytest.fixture
def harness(
    control_plane: ControlPlane, kubelet: ProcessKubelet, fault_proxy: FaultProxy
) -> Iterator[KubernetesHarness]:
    """A new namespace, behind a proxy."""
    with kubernetes_harness(control_plane, proxy=fault_proxy) as harness:
        yield harness


def dump(harness: KubernetesHarness) -> str:
    """All that is in the namespace but Secrets, as JSON."""
    paths = [f"/{group}/namespaces/{harness.namespace}/{resource}" for group, resource in map(str.split, EVERYTHING)]
    return json.dumps([harness.scratch.api.get(path) for path in paths])


def traces(text: str) -> list[str]:
    """Which forms of the key are in a text."""
    return [form for form in (KEY, base64.b64encode(KEY.encode()).decode()) if form in text]


def test_the_key_is_in_secrets_only(
    harness: KubernetesHarness, fault_proxy: FaultProxy, kubelet: ProcessKubelet, caplog: pytest.LogCaptureFixture
) -> None:
    """Whatever happens to units: not in Jobs, pods, events; not in the log, not in errors, not in what people read."""
    caplog.set_level(logging.DEBUG)
    platform, told = harness.platform(), list[str]()
    good, bad, refused, interrupted = (
        submission('echo "key: $API_KEY" | wc -c'),
        submission("exit 3"),
        submission(template={"spec": {"parallelizm": 1}}),
        submission(),
    )
    platform.create(good)
    platform.create(bad)
    for made in (refused, interrupted):
        told += _told(harness, fault_proxy, made)
    for each in (good, bad, interrupted):
        unit = once_ended(platform, each.name)
        told += [repr(unit), platform.account(each.name), platform.logs_tail(each.name), repr(each)]

    assert kubelet.environment(good.name)["API_KEY"] == KEY
    assert platform.logs_tail(good.name).split() == [str(len("key: ") + len(KEY) + 1)]
    everything = dump(harness)
    assert everything.count(good.name) > 3
    assert traces(everything) == []
    assert traces("\n".join(told)) == []
    assert traces(caplog.text) == []
    assert traces("".join(str(each.query) + each.path for each in fault_proxy.requests)) == []
    assert traces(json.dumps(harness.scratch.api.get(f"/api/v1/namespaces/{harness.namespace}/secrets"))) != []


def _told(harness: KubernetesHarness, proxy: FaultProxy, made: Submission) -> list[str]:
    """What a caller of ``create`` is told until it is refused or works."""
    platform, told = harness.platform(), list[str]()
    proxy.answer(500, method="POST", path="/secrets$")
    for _ in range(3):
        try:
            platform.create(made)
        except PlatformError as problem:
            told += [repr(problem), repr(problem.__cause__)]
    proxy.clear()
    return told


def test_a_secret_goes_with_its_job(harness: KubernetesHarness) -> None:
    """Each is owned by its very Job, so nothing is left when the Job is removed."""
    platform, made = harness.platform(), submission()
    unit = platform.create(made)
    (secret,) = harness.scratch.api.list(f"/api/v1/namespaces/{harness.namespace}/secrets")
    assert [(each["kind"], each["name"], each["uid"]) for each in secret["metadata"]["ownerReferences"]] == [
        ("Job", made.name, unit.id)
    ]
    assert secret["immutable"] is True
    once_ended(platform, made.name)

    platform.remove(made.name)

    wait_until(lambda: harness.secrets() == [], 20, "the Secret is gone")


def test_no_secret_is_left_by_what_is_refused(harness: KubernetesHarness) -> None:
    """Neither is a Job."""
    with pytest.raises(PlatformError):
        harness.platform().create(submission(template={"spec": {"parallelizm": 1}}))
    assert (harness.secrets(), harness.scratch.api.list(harness.scratch.jobs)) == ([], [])

"""A real API server that makes no Jobs at present, and settings of which it would never make one."""

import logging
from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from prefect.agent.domain.errors import ConfigurationError, CreateBlocked, PlatformUnavailable
from prefect.agent.domain.model.units import UnitStatus
from support.kubernetes.control_plane import ControlPlane
from support.kubernetes.harness import KubernetesHarness, kubernetes_harness, submission, with_pod
from support.kubernetes.refusing import limit_jobs
from support.kubernetes.scratch_namespace import NOWHERE
from support.kubernetes.webhook import Webhook
from support.waiting import wait_until

pytestmark = pytest.mark.kubernetes

SILENT = "https://127.0.0.1:1/"


@pytest.fixture
def harness(control_plane: ControlPlane) -> Iterator[KubernetesHarness]:
    """A new namespace."""
    with kubernetes_harness(control_plane) as harness:
        yield harness


def waits() -> Any:
    """A unit whose pod finds no node."""
    return submission(template=with_pod(nodeSelector=NOWHERE))


def test_a_full_quota_is_waited_for(harness: KubernetesHarness) -> None:
    """As long as the documentation says; the check tells whether there is room, and makes nothing."""
    limit_jobs(harness, 0)
    platform, unit = harness.platform(start=600), waits()
    platform.check()  # an agent starts all the same: what it removes may make the room

    with pytest.raises(CreateBlocked, match=r"the namespace's quota has no room.*exceeded quota: one") as raised:
        platform.create(unit)
    assert (raised.value.patience, raised.value.needs_room) == (600, True)
    for _ in range(2):
        with pytest.raises(CreateBlocked, match="exceeded quota: one"):
            platform.check()

    limit_jobs(harness, 1)
    wait_until(lambda: passes(platform), 20, "there is room")
    assert harness.scratch.api.list(harness.scratch.jobs) == []
    assert platform.create(unit).status is UnitStatus.PENDING
    platform.check()


def passes(platform: Any) -> bool:
    """Whether the check does."""
    try:
        platform.check()
    except CreateBlocked:
        return False
    return True


@pytest.mark.parametrize("resource", ["jobs"])
def test_a_webhook_that_is_down_is_waited_for(harness: KubernetesHarness, resource: str) -> None:
    """Likewise: the Job is made when it answers again, or is gone."""
    platform, unit = harness.platform(start=600), waits()
    platform.check()
    with Webhook(harness.plane, harness.namespace, resource=resource, url=SILENT):
        wait_until(lambda: is_blocked(harness, unit), 20, "the webhook is asked")
        with pytest.raises(CreateBlocked, match=r"a webhook does not answer.*containers\.lab\.test") as raised:
            platform.create(unit)
        assert (raised.value.patience, raised.value.needs_room) == (600, False)
        with pytest.raises(CreateBlocked):
            platform.check()
    wait_until(lambda: passes(platform), 20, "the webhook is gone")

    assert platform.create(unit).status is UnitStatus.PENDING


def is_blocked(harness: KubernetesHarness, unit: Any) -> bool:
    """Whether a platform of its own cannot make anything; the API server hears of webhooks a moment late."""
    try:
        harness.platform().create(unit)
    except PlatformUnavailable:
        return True
    harness.scratch.api.delete(f"{harness.scratch.jobs}/{unit.name}", propagationPolicy="Background")
    wait_until(lambda: not harness.scratch.api.exists(f"{harness.scratch.jobs}/{unit.name}"), 20, "it is gone")
    return False


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"memory_limit": "1Gb"}, "quantities must match"),
        ({"cpu_request": "2", "cpu_limit": "1"}, "must be less than or equal to cpu limit"),
        ({"service_account_name": "No_Such"}, "serviceAccountName"),
        ({"volumes": [{"name": "x", "hostPth": {}}]}, "hostPth"),
        ({"volume_mounts": [{"name": "x", "mountPath": "/x"}]}, "volumeMounts.*Not found"),
        ({"template": {"spec": {"template": {"spec": {"nodeSelectr": {}}}}}}, "nodeSelectr"),
        ({"template": {"spec": {"backoffLimit": -1}}}, "backoffLimit"),
    ],
)
def test_settings_that_fit_no_job_are_found_at_start(
    harness: KubernetesHarness, settings: Mapping[str, Any], words: str
) -> None:
    """Before the first flow run, by the API server's own word; nothing is made."""
    platform = harness.platform(**settings)

    with pytest.raises(ConfigurationError, match=f"no flow run can use the agent's settings for Jobs.*{words}"):
        platform.check()

    assert harness.scratch.api.list(harness.scratch.jobs) == []


def test_a_webhook_that_takes_no_trials_keeps_no_agent_from_starting(
    harness: KubernetesHarness, caplog: pytest.LogCaptureFixture
) -> None:
    """Policies and webhooks may have another word for real Jobs: the agent warns, and starts."""
    with Webhook(harness.plane, harness.namespace, resource="jobs", url=SILENT), caplog.at_level(logging.WARNING):
        wait_until(lambda: is_blocked(harness, waits()), 20, "the webhook is asked")
        harness.platform().check()
    assert "Flow runs will have to wait: a webhook does not answer" in caplog.text

"""Units whose life on a real Kubernetes API server has several acts: retries, deletions by hand, quotas, policies."""

import threading
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import attrs
import pytest

from prefect.agent.adapters.kubernetes import KubernetesPlatform
from prefect.agent.domain.errors import PlatformUnavailable
from prefect.agent.domain.model.submissions import Submission
from prefect.agent.domain.model.units import Unit, UnitStatus
from support.kubernetes import pods
from support.kubernetes.api import ApiRefused
from support.kubernetes.control_plane import ControlPlane
from support.kubernetes.harness import (
    FOREVER,
    KubernetesHarness,
    kubernetes_harness,
    once,
    once_ended,
    seen,
    submission,
    with_pod,
)
from support.kubernetes.kubelet import ProcessKubelet
from support.waiting import wait_until

pytestmark = pytest.mark.kubernetes

STUBBORN = "trap '' TERM; echo deaf; while :; do sleep 1; done"
FAILS_ONCE = """
echo start
[ -e "$MARK" ] && exit
touch "$MARK"
while [ ! -e "$MARK.go" ]; do sleep 0.05; done
exit 4
"""


@pytest.fixture
def harness(control_plane: ControlPlane, kubelet: ProcessKubelet) -> Iterator[KubernetesHarness]:
    """A new namespace."""
    with kubernetes_harness(control_plane) as harness:
        yield harness


@attrs.frozen
class Slow:
    """A unit that takes its time, begun early, and where it is."""

    harness: KubernetesHarness
    platform: KubernetesPlatform
    submission: Submission

    @property
    def name(self) -> str:
        """Of the unit."""
        return self.submission.name


@pytest.fixture(scope="module")
def slow(control_plane: ControlPlane, kubelet: ProcessKubelet) -> Iterator[dict[str, Slow]]:
    """Units for whose trouble Kubernetes takes its time, all begun at once."""
    quota = {"metadata": {"name": "no-pods"}, "spec": {"hard": {"pods": "0"}}}
    restricted = {"pod-security.kubernetes.io/enforce": "restricted"}
    demanding = with_pod(hostPID=True)
    with (
        kubernetes_harness(control_plane) as main,
        kubernetes_harness(control_plane) as full,
        kubernetes_harness(control_plane, labels=restricted) as strict,
    ):
        full.post("api/v1 resourcequotas", quota)
        wait_until(lambda: forbids_pods(full, "exceeded quota"), 30, "the quota holds")
        wait_until(lambda: forbids_pods(strict, "violates PodSecurity"), 30, "the policy holds")
        retries = {"spec": {"backoffLimit": 2}}
        mark = {"MARK": str(mark_of(main, kubelet))}
        slow = {
            "retried": Slow(main, main.platform(), submission(FAILS_ONCE, template=retries, env=mark)),
            "quota": Slow(full, full.platform(trouble=30, start=600), submission()),
            "no security": Slow(strict, strict.platform(trouble=30, start=600, restricted=False), submission()),
            "demanding": Slow(strict, strict.platform(trouble=30, start=600), submission(template=demanding)),
            "restricted": Slow(strict, strict.platform(trouble=30, start=600), submission()),
        }
        for each in slow.values():
            each.platform.create(each.submission)
        yield slow


def forbids_pods(harness: KubernetesHarness, why: str) -> bool:
    """Whether a pod would be refused for this reason by now; none is made."""
    pod = {"metadata": {"name": "none"}, "spec": {"containers": [{"name": "none", "image": "none"}]}}
    try:
        harness.scratch.api.post(harness.scratch.pods, pod, dryRun="All")
    except ApiRefused as refused:
        return why in str(refused)
    return False


def mark_of(harness: KubernetesHarness, kubelet: ProcessKubelet) -> Path:
    """What :data:`FAILS_ONCE` makes in its first pod, which ends once there is a file of this name and ``.go``."""
    return kubelet.folder / f"{harness.namespace}.mark"


def change(harness: KubernetesHarness, made: Submission) -> bool:
    """Change something about the unit's Job that no reader needs; always false, so that a wait changes it again."""
    note = {"annotations": {"lab.test/note": uuid.uuid4().hex}}
    harness.scratch.api.patch(f"{harness.scratch.jobs}/{made.name}", {"metadata": note})
    return False


def is_deaf(platform: KubernetesPlatform, made: Submission) -> bool:
    """Whether :data:`STUBBORN` has come as far as to hear no signal any more."""
    return platform.logs_tail(made.name) == "deaf"


class TestByHand:
    """What people do to Jobs and pods."""

    def test_a_deleted_job_is_a_unit_until_its_pod_is_gone(
        self, harness: KubernetesHarness, kubelet: ProcessKubelet
    ) -> None:
        """As long as something executes there is a unit; then there is none."""
        platform, made = harness.platform(), submission(STUBBORN)
        platform.create(made)
        wait_until(lambda: kubelet.is_executing(made.name), 20, "it executes")
        pod = harness.pod_name(made.name)
        once(platform, made.name, lambda unit: unit.status is UnitStatus.RUNNING)

        harness.scratch.api.delete(f"{harness.scratch.jobs}/{made.name}", propagationPolicy="Orphan")
        wait_until(lambda: not harness.scratch.api.exists(f"{harness.scratch.jobs}/{made.name}"), 20, "the Job is gone")

        unit = once(platform, made.name, lambda unit: unit.info == f"Pod {pod}")
        assert unit.status is UnitStatus.RUNNING
        assert (unit.flow_run_id, unit.attempt) == (made.flow_run_id, "1")
        assert platform.unit(made.name) == unit
        assert f"Pod {pod}" in platform.account(made.name)
        assert harness.platform().unit(made.name) == unit
        platform.stop(made.name, grace=1)
        assert not kubelet.is_executing(made.name)
        assert platform.unit(made.name) is None
        assert seen(platform, made.name) is None

    def test_a_watcher_sees_a_deletion(self, harness: KubernetesHarness) -> None:
        """So that the sweep looks at once and not half a minute later; of a unit that we removed nothing is told."""
        platform, deleted, ended = harness.platform(), submission(FOREVER), submission("exit 0")
        told: list[Unit] = []

        def listen() -> None:
            for unit in platform.watch(seconds=120):  # a single one: between two of them something might be missed
                told.append(unit)
                if unit.status is UnitStatus.FAILED:
                    return

        def is_heard() -> bool:
            change(harness, deleted)  # once more: it may not listen yet
            return any(unit.name == deleted.name for unit in told)

        thread = threading.Thread(target=listen)
        thread.start()
        try:
            platform.create(deleted)
            wait_until(is_heard, 20, "it is told of")
            platform.create(ended)
            wait_until(lambda: any(unit.status is UnitStatus.SUCCEEDED for unit in told), 20, "the end is told")
            platform.remove(ended.name)
            harness.scratch.api.delete(f"{harness.scratch.jobs}/{deleted.name}", propagationPolicy="Background")
            wait_until(lambda: any(unit.status is UnitStatus.FAILED for unit in told), 20, "the deletion is told")
        finally:
            thread.join(130)
        [unit] = [unit for unit in told if unit.status is UnitStatus.FAILED]
        assert (unit.name, str(unit.evidence)) == (deleted.name, "Deleted, its Job was deleted externally")
        wait_until(lambda: platform.unit(deleted.name) is None, 60, "its pod is gone, too")

    def test_a_late_watcher_does_not_see_an_earlier_removal(self, harness: KubernetesHarness) -> None:
        """What it was told last does not make a deletion by somebody of what the agent removed."""
        platform, removed, other = harness.platform(), submission(FOREVER), submission(FOREVER)
        platform.create(removed)
        watch = platform.watch(seconds=120)
        with ThreadPoolExecutor(1) as people:
            first = people.submit(next, watch)
            wait_until(lambda: first.done() or change(harness, removed), 20, "it is told of")
        assert first.result().name == removed.name

        platform.stop(removed.name, grace=1)
        platform.remove(removed.name)
        platform.create(other)

        assert next(watch).name == other.name

    def test_a_job_deleted_in_the_foreground(self, harness: KubernetesHarness, kubelet: ProcessKubelet) -> None:
        """The Job object lingers; the unit is there as long as its pod is."""
        platform, made = harness.platform(), submission(STUBBORN)
        platform.create(made)
        wait_until(lambda: is_deaf(platform, made), 20, "it executes and hears nothing")

        harness.scratch.api.delete(f"{harness.scratch.jobs}/{made.name}", propagationPolicy="Foreground")

        unit = once(platform, made.name, lambda unit: unit.info.startswith("Pod "))
        assert unit.status is UnitStatus.RUNNING
        with pytest.raises(PlatformUnavailable, match=f"the Job {made.name} is being deleted externally"):
            platform.create(made)
        kubelet.kill(made.name)
        wait_until(lambda: seen(platform, made.name) is None, 20, "the unit is gone")
        wait_until(lambda: platform.unit(made.name) is None, 20, "the Job is gone")

    def test_a_suspended_unit_can_be_stopped(self, harness: KubernetesHarness) -> None:
        """It can have no end, so it is removed."""
        platform, made = harness.platform(), submission(template={"spec": {"suspend": True}})
        platform.create(made)
        once(platform, made.name, lambda unit: unit.evidence is not None)

        platform.stop(made.name, grace=1)

        assert not harness.scratch.api.exists(f"{harness.scratch.jobs}/{made.name}")
        assert seen(platform, made.name) is None

    def test_the_agents_word_for_a_unit_it_stopped(self, harness: KubernetesHarness, kubelet: ProcessKubelet) -> None:
        """No exit code of a container that was told to end is taken for the run's own."""
        platform, made = harness.platform(), submission("exec sleep 600")
        platform.create(made)
        wait_until(lambda: kubelet.is_executing(made.name), 20, "it executes")
        platform.stop(made.name, grace=30)
        unit = once(platform, made.name, lambda unit: unit.evidence and unit.evidence.exit_code is not None)
        assert (unit.status, str(unit.evidence)) == (UnitStatus.FAILED, "Stopped, ended by the agent, exit code 143")

    def test_a_container_that_is_restarted_in_place(self, harness: KubernetesHarness, kubelet: ProcessKubelet) -> None:
        """Between two starts of its container the pod runs, and so does the unit."""
        template = {"spec": {"backoffLimit": 6, "template": {"spec": {"restartPolicy": "OnFailure"}}}}
        platform, made = harness.platform(), submission(ending="creating", template=template)
        platform.create(made)
        wait_until(lambda: "waiting" in harness.scratch.state(made.name), 20, "its node has it")
        state = pods.waiting("CrashLoopBackOff", "back-off 10s")
        status = {"phase": "Running", "containerStatuses": [{"name": "flow", "state": state, "restartCount": 1}]}

        kubelet.play(harness.pod_name(made.name), status)

        unit = once(platform, made.name, lambda unit: unit.status is UnitStatus.RUNNING)
        assert (unit.evidence, unit.hopeless_at) == (None, None)
        assert "CrashLoopBackOff: back-off 10s; 1 restarts" in platform.account(made.name)


class TestSlowly:
    """What Kubernetes says by events, and does after a pause."""

    def test_retries_of_the_template(self, slow: dict[str, Slow], kubelet: ProcessKubelet) -> None:
        """Between two pods the unit runs; it is one unit, and its end is that of the last pod."""
        retried = slow["retried"]
        mark = mark_of(retried.harness, kubelet)
        wait_until(lambda: kubelet.starts(retried.name) == 1, 20, "the first pod starts")
        Path(f"{mark}.go").touch()
        wait_until(lambda: not kubelet.is_executing(retried.name), 20, "the first pod ends")
        statuses = set()

        def is_over() -> bool:
            unit = seen(retried.platform, retried.name)
            assert unit is not None
            statuses.add(unit.status)
            return unit.status.has_ended

        wait_until(is_over, 40, "it is over")

        assert kubelet.starts(retried.name) == 2
        assert UnitStatus.FAILED not in statuses
        unit = once_ended(retried.platform, retried.name)
        assert (unit.status, str(unit.evidence)) == (UnitStatus.SUCCEEDED, "exit code 0")
        table = retried.platform.account(retried.name)
        assert table.count("container flow") == 2
        assert retried.platform.logs_tail(retried.name) == "start"

    def test_a_quota_keeps_pods_away(self, slow: dict[str, Slow]) -> None:
        """The unit says so and waits long: a quota fills and empties."""
        unit = self._reported(slow["quota"])
        assert "exceeded quota: no-pods, requested: pods=1, used: pods=0, limited: pods=0" in str(unit.evidence)
        assert unit.created_at is not None
        assert unit.hopeless_at is not None
        assert (unit.hopeless_at - unit.created_at).total_seconds() == 600
        assert "exceeded quota: no-pods" in slow["quota"].platform.account(unit.name)

    @pytest.mark.parametrize("kind", ["no security", "demanding"])
    def test_a_policy_forbids_pods(self, slow: dict[str, Slow], kind: str) -> None:
        """What is forbidden now will be forbidden later: there is little patience."""
        unit = self._reported(slow[kind])
        assert 'is forbidden: violates PodSecurity "restricted:latest"' in str(unit.evidence)
        assert unit.created_at is not None
        assert unit.hopeless_at is not None
        assert (unit.hopeless_at - unit.created_at).total_seconds() == 30

    def test_the_strictest_policy_lets_our_own_pods_pass(self, slow: dict[str, Slow]) -> None:
        """What the agent adds by itself is enough for Pod Security ``restricted``."""
        unit = once_ended(slow["restricted"].platform, slow["restricted"].name)
        assert unit.status is UnitStatus.SUCCEEDED

    @staticmethod
    def _reported(slow: Slow) -> Unit:
        unit = once(slow.platform, slow.name, lambda unit: unit.evidence is not None)
        assert unit.status is UnitStatus.PENDING
        assert unit.evidence is not None
        assert unit.evidence.reason == "FailedCreate"
        return unit

"""Pods with more than the flow's container, on a real API server: its end is the unit's end, wherever it stands."""

from collections.abc import Iterator
from typing import Any, Final

import attrs
import pytest

from prefect.agent.adapters.kubernetes import KubernetesPlatform
from prefect.agent.domain.model.submissions import Submission
from prefect.agent.domain.model.units import UnitStatus
from support.kubernetes import pods
from support.kubernetes.control_plane import ControlPlane
from support.kubernetes.harness import (
    KubernetesHarness,
    kubernetes_harness,
    merged,
    once,
    once_ended,
    submission,
    with_pod,
)
from support.kubernetes.kubelet import ProcessKubelet
from support.kubernetes.webhook import PodWebhook
from support.waiting import wait_until

pytestmark = pytest.mark.kubernetes

HELPED: Final = with_pod(containers=[{"name": "flow"}, {"name": "helper", "image": "x"}])
INIT: Final = with_pod(initContainers=[{"name": "prepare", "image": "x"}], containers=[{"name": "flow"}])


@attrs.frozen(kw_only=True)
class PodHarness:
    """A platform, and a kubelet whose pods report what a test says."""

    harness: KubernetesHarness
    kubelet: ProcessKubelet
    platform: KubernetesPlatform

    def begin(self, unit: Submission, **status: Any) -> None:
        """Make the unit and let its node report *status*, once it has the pod."""
        self.platform.create(unit)
        wait_until(lambda: "waiting" in self.harness.scratch.state(unit.name), 20, "its node has the pod")
        self.kubelet.play(self.harness.pod_name(unit.name), status)

    def write(self, unit: Submission, container: str, text: str) -> None:
        """Let a container have put *text* out."""
        uid = self.harness.pod(unit.name)["metadata"]["uid"]
        (self.kubelet.folder / f"{uid}.{container}").write_text(text)

    def is_over(self, unit: Submission) -> bool:
        """Whether the Job has ended and nothing is left that executes."""
        ends = {each["type"] for each in self.harness.scratch.conditions(unit.name)}
        pod = self.harness.scratch.pod(unit.name)
        return bool({"Complete", "Failed"} & ends) and (
            pod is None or pod["status"]["phase"] in {"Succeeded", "Failed"}
        )


@pytest.fixture
def pod_harness(control_plane: ControlPlane, kubelet: ProcessKubelet) -> Iterator[PodHarness]:
    """A namespace with a platform that watches."""
    with kubernetes_harness(control_plane) as harness:
        platform = harness.platform()
        platform.units()
        yield PodHarness(harness=harness, kubelet=kubelet, platform=platform)


def one(name: str, state: dict[str, Any]) -> dict[str, Any]:
    """Status of one container."""
    ready = "running" in state
    return {"name": name, "image": "x", "imageID": "", "ready": ready, "restartCount": 0, "state": state}


def beside(state: dict[str, Any]) -> dict[str, Any]:
    """The status of a pod whose flow container is like that while its helper executes."""
    return {"phase": "Running", "containerStatuses": [one("flow", state), one("helper", pods.running(pods.now()))]}


@pytest.mark.parametrize(
    ("code", "status", "evidence"),
    [(3, UnitStatus.FAILED, "Error, exit code 3"), (0, UnitStatus.SUCCEEDED, "exit code 0")],
)
def test_the_end_of_the_main_container_is_the_units_end(
    pod_harness: PodHarness, code: int, status: UnitStatus, evidence: str
) -> None:
    """A helper that goes on keeps no unit alive; stop ends it, and the end stays what it was, for other agents too."""
    unit = submission(ending="creating", template=HELPED)
    pod_harness.begin(unit, **beside(pods.terminated(code, None)))
    pod_harness.write(unit, "flow", "out of the flow\n")

    ended = once_ended(pod_harness.platform, unit.name, 20)

    assert (ended.status, str(ended.evidence), ended.lingers) == (status, evidence, True)
    assert ended.ended_at is not None
    assert pod_harness.platform.logs_tail(unit.name) == "out of the flow"

    pod_harness.platform.stop(unit.name, grace=1)

    assert pod_harness.is_over(unit)
    assert pod_harness.harness.job(unit.name)["spec"]["activeDeadlineSeconds"] == 1
    for platform in (pod_harness.platform, pod_harness.harness.platform()):
        again = once(platform, unit.name, lambda found: not found.lingers, 20)
        assert (again.status, str(again.evidence)) == (status, evidence)


def test_a_job_that_is_to_be_retried_goes_on(pod_harness: PodHarness) -> None:
    """While its template leaves a retry, a failed main container is no end: the Job's controller decides."""
    unit = submission(ending="creating", template=merged(HELPED, {"spec": {"backoffLimit": 1}}))
    pod_harness.begin(unit, **beside(pods.terminated(3, None)))

    once(pod_harness.platform, unit.name, lambda found: found.status is UnitStatus.RUNNING, 20)
    pod_harness.kubelet.play(pod_harness.harness.pod_name(unit.name), beside(pods.terminated(0, None)))

    assert once_ended(pod_harness.platform, unit.name, 20).status is UnitStatus.SUCCEEDED


def test_a_container_that_is_restarted_in_place_has_not_ended(pod_harness: PodHarness) -> None:
    """With restartPolicy OnFailure only a success is the end."""
    template = merged(HELPED, {"spec": {"template": {"spec": {"restartPolicy": "OnFailure"}}}})
    unit = submission(ending="creating", template=template)
    pod_harness.begin(unit, **beside(pods.terminated(3, None)))
    once(pod_harness.platform, unit.name, lambda found: found.status is UnitStatus.RUNNING, 20)

    pod_harness.kubelet.play(pod_harness.harness.pod_name(unit.name), beside(pods.terminated(0, None)))

    assert once_ended(pod_harness.platform, unit.name, 20).status is UnitStatus.SUCCEEDED


def test_the_container_named_flow_is_the_main_one(pod_harness: PodHarness) -> None:
    """A template may put others before it; without one of that name its first container is the main one."""
    named = with_pod(containers=[{"name": "proxy", "image": "x"}, {"name": "flow"}])
    first = with_pod(containers=[{"name": "main"}, {"name": "proxy", "image": "x"}])
    for template, main in ((named, "flow"), (first, "main")):
        unit = submission("exit 0", ending="creating", template=template)
        pod_harness.platform.create(unit)
        pod = pod_harness.harness.pod(unit.name)
        words = {each["name"]: each.get("args") for each in pod["spec"]["containers"]}
        assert words == {main: ["sh", "-c", "exit 0"], "proxy": None}
        assert pod["metadata"]["annotations"].get("prefect.io/container", "flow") == main


def test_a_webhook_may_put_its_container_first(pod_harness: PodHarness) -> None:
    """Exit code, output and memory limit are those of the flow's container."""
    limited = with_pod(containers=[{"name": "work", "resources": {"limits": {"memory": "64Mi"}}}])
    unit = submission(ending="creating", template=limited)
    with PodWebhook(pod_harness.harness.plane, pod_harness.harness.namespace, container={"name": "mesh", "image": "x"}):
        pod_harness.platform.create(unit)
        wait_until(lambda: "waiting" in pod_harness.harness.scratch.state(unit.name), 20, "its node has the pod")
    assert [each["name"] for each in pod_harness.harness.pod(unit.name)["spec"]["containers"]] == ["mesh", "work"]

    pod_harness.write(unit, "mesh", "the mesh\n")
    pod_harness.write(unit, "work", "the flow\n")
    states = [one("mesh", pods.running(pods.now())), one("work", pods.terminated(137, None, reason="OOMKilled"))]
    pod_harness.kubelet.play(pod_harness.harness.pod_name(unit.name), {"phase": "Running", "containerStatuses": states})

    ended = once_ended(pod_harness.platform, unit.name, 20)
    assert str(ended.evidence) == "OOMKilled, out of memory, the limit is 64Mi, exit code 137"
    assert pod_harness.platform.logs_tail(unit.name) == "the flow"


def test_a_failed_init_container_leaves_its_output(pod_harness: PodHarness) -> None:
    """It says why the flow's container never started."""
    unit = submission(ending="creating", template=INIT)
    pod_harness.begin(unit)
    pod_harness.write(unit, "prepare", "no such bucket\n")
    pod_harness.kubelet.play(
        pod_harness.harness.pod_name(unit.name),
        {
            "phase": "Failed",
            "initContainerStatuses": [one("prepare", pods.terminated(7, None))],
            "containerStatuses": [one("flow", pods.waiting("PodInitializing"))],
        },
    )

    once_ended(pod_harness.platform, unit.name, 20)

    assert pod_harness.platform.logs_tail(unit.name) == "no such bucket"


def test_a_lost_node_is_said_while_the_pod_counts_as_running(pod_harness: PodHarness) -> None:
    """As soon as the node controller says so, and again when Kubernetes wants the pod to go; it is no end yet."""
    unit = submission(ending="creating")
    pod_harness.begin(unit, phase="Running", containerStatuses=[one("flow", pods.running(pods.now()))])
    once(pod_harness.platform, unit.name, lambda found: found.status is UnitStatus.RUNNING, 20)
    unready = {"type": "Ready", "status": "False", "reason": "", "lastTransitionTime": pods.now()}
    pod_harness.kubelet.play(pod_harness.harness.pod_name(unit.name), {"conditions": [unready]})

    lost = once(pod_harness.platform, unit.name, lambda found: found.evidence is not None, 20)
    assert lost.status is UnitStatus.RUNNING
    assert str(lost.evidence).startswith(f"NodeLost, {pod_harness.kubelet.node} does not answer")

    evicting = {"type": "DisruptionTarget", "status": "True", "reason": "DeletionByTaintManager", "message": "taints"}
    # Without a time Kubernetes takes the condition for an old one that led to nothing, and says no to it at once.
    evicting["lastTransitionTime"] = pods.now()
    pod_harness.kubelet.play(pod_harness.harness.pod_name(unit.name), {"conditions": [evicting]})
    once(pod_harness.platform, unit.name, lambda found: str(found.evidence) == "DeletionByTaintManager, taints")


def test_used_up_restarts_are_no_deletion(pod_harness: PodHarness) -> None:
    """With restartPolicy OnFailure the Job's controller deletes the pod in the end; the flow's exit code is told."""
    spec = {"backoffLimit": 1, "template": {"spec": {"restartPolicy": "OnFailure"}}}
    unit = submission(ending="creating", template={"spec": spec})
    pod_harness.begin(unit)
    last = pods.terminated(3, None)
    state = {**one("flow", pods.running(pods.now())), "restartCount": 2, "lastState": last}
    pod_harness.kubelet.play(
        pod_harness.harness.pod_name(unit.name), {"phase": "Running", "containerStatuses": [state]}
    )

    ended = once_ended(pod_harness.platform, unit.name)

    said = "Error, the container flow failed 2 times: the Job's backoffLimit is used up, exit code 3"
    assert str(ended.evidence) == said
    assert pod_harness.harness.scratch.conditions(unit.name)[-1]["reason"] == "BackoffLimitExceeded"


def test_the_end_outlasts_a_short_time_to_live(pod_harness: PodHarness) -> None:
    """An agent that was away finds the Job that its template would have removed at once, and how it ended."""
    unit = submission("exit 3", template={"spec": {"ttlSecondsAfterFinished": 0}})
    pod_harness.platform.create(unit)
    wait_until(lambda: pod_harness.is_over(unit), 20, "it has ended")

    assert str(once_ended(pod_harness.harness.platform(), unit.name, 20).evidence) == "Error, exit code 3"


def test_no_group_is_given_to_the_files_of_a_volume(pod_harness: PodHarness) -> None:
    """Kubernetes would change the group of all files in it."""
    unit = submission(ending="creating", template=with_pod(volumes=[{"name": "data", "emptyDir": {}}]))
    pod_harness.platform.create(unit)

    assert "fsGroup" not in pod_harness.harness.pod(unit.name)["spec"]["securityContext"]

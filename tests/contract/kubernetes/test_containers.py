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
from support.kubernetes.kubelet import ProcessKubelet
from support.kubernetes.lab import Lab, laboratory, merged, once, once_ended, submission, with_pod
from support.kubernetes.webhook import PodWebhook
from support.waiting import wait_until

pytestmark = pytest.mark.kubernetes

HELPED: Final = with_pod(containers=[{"name": "flow"}, {"name": "helper", "image": "x"}])
INIT: Final = with_pod(initContainers=[{"name": "prepare", "image": "x"}], containers=[{"name": "flow"}])


@attrs.frozen(kw_only=True)
class Stage:
    """Where pods play."""

    lab: Lab
    kubelet: ProcessKubelet
    platform: KubernetesPlatform

    def begin(self, unit: Submission, **status: Any) -> None:
        """Make the unit and let its node report *status*, once it has the pod."""
        self.platform.create(unit)
        wait_until(lambda: "waiting" in self.lab.place.state(unit.name), 20, "its node has the pod")
        self.kubelet.play(self.lab.pod_name(unit.name), status)

    def write(self, unit: Submission, container: str, text: str) -> None:
        """Let a container have put *text* out."""
        uid = self.lab.pod(unit.name)["metadata"]["uid"]
        (self.kubelet.folder / f"{uid}.{container}").write_text(text)

    def is_over(self, unit: Submission) -> bool:
        """Whether the Job has ended and nothing is left that executes."""
        ends = {each["type"] for each in self.lab.place.conditions(unit.name)}
        pod = self.lab.place.pod(unit.name)
        return bool({"Complete", "Failed"} & ends) and (
            pod is None or pod["status"]["phase"] in {"Succeeded", "Failed"}
        )


@pytest.fixture
def stage(control_plane: ControlPlane, kubelet: ProcessKubelet) -> Iterator[Stage]:
    """A namespace with a platform that watches."""
    with laboratory(control_plane) as lab:
        platform = lab.platform()
        platform.units()
        yield Stage(lab=lab, kubelet=kubelet, platform=platform)


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
    stage: Stage, code: int, status: UnitStatus, evidence: str
) -> None:
    """A helper that goes on keeps no unit alive; stop ends it, and the end stays what it was, for other agents too."""
    unit = submission(ending="creating", template=HELPED)
    stage.begin(unit, **beside(pods.terminated(code, None)))
    stage.write(unit, "flow", "out of the flow\n")

    ended = once_ended(stage.platform, unit.name, 20)

    assert (ended.status, str(ended.evidence), ended.lingers) == (status, evidence, True)
    assert ended.ended_at is not None
    assert stage.platform.logs_tail(unit.name) == "out of the flow\n"

    stage.platform.stop(unit.name, grace=1)

    assert stage.is_over(unit)
    assert stage.lab.job(unit.name)["spec"]["activeDeadlineSeconds"] == 1
    for platform in (stage.platform, stage.lab.platform()):
        again = once(platform, unit.name, lambda found: not found.lingers, 20)
        assert (again.status, str(again.evidence)) == (status, evidence)


def test_a_job_that_is_to_be_retried_goes_on(stage: Stage) -> None:
    """While its template leaves a retry, a failed main container is no end: the Job's controller decides."""
    unit = submission(ending="creating", template=merged(HELPED, {"spec": {"backoffLimit": 1}}))
    stage.begin(unit, **beside(pods.terminated(3, None)))

    once(stage.platform, unit.name, lambda found: found.status is UnitStatus.RUNNING, 20)
    stage.kubelet.play(stage.lab.pod_name(unit.name), beside(pods.terminated(0, None)))

    assert once_ended(stage.platform, unit.name, 20).status is UnitStatus.SUCCEEDED


def test_a_container_that_is_restarted_in_place_has_not_ended(stage: Stage) -> None:
    """With restartPolicy OnFailure only a success is the end."""
    template = merged(HELPED, {"spec": {"template": {"spec": {"restartPolicy": "OnFailure"}}}})
    unit = submission(ending="creating", template=template)
    stage.begin(unit, **beside(pods.terminated(3, None)))
    once(stage.platform, unit.name, lambda found: found.status is UnitStatus.RUNNING, 20)

    stage.kubelet.play(stage.lab.pod_name(unit.name), beside(pods.terminated(0, None)))

    assert once_ended(stage.platform, unit.name, 20).status is UnitStatus.SUCCEEDED


def test_the_container_named_flow_is_the_main_one(stage: Stage) -> None:
    """A template may put others before it; without one of that name its first container is the main one."""
    named = with_pod(containers=[{"name": "proxy", "image": "x"}, {"name": "flow"}])
    first = with_pod(containers=[{"name": "main"}, {"name": "proxy", "image": "x"}])
    for template, main in ((named, "flow"), (first, "main")):
        unit = submission("exit 0", ending="creating", template=template)
        stage.platform.create(unit)
        pod = stage.lab.pod(unit.name)
        words = {each["name"]: each.get("args") for each in pod["spec"]["containers"]}
        assert words == {main: ["sh", "-c", "exit 0"], "proxy": None}
        assert pod["metadata"]["annotations"].get("prefect.io/container", "flow") == main


def test_a_webhook_may_put_its_container_first(stage: Stage) -> None:
    """Exit code, output and memory limit are those of the flow's container."""
    limited = with_pod(containers=[{"name": "work", "resources": {"limits": {"memory": "64Mi"}}}])
    unit = submission(ending="creating", template=limited)
    with PodWebhook(stage.lab.plane, stage.lab.namespace, container={"name": "mesh", "image": "x"}):
        stage.platform.create(unit)
        wait_until(lambda: "waiting" in stage.lab.place.state(unit.name), 20, "its node has the pod")
    assert [each["name"] for each in stage.lab.pod(unit.name)["spec"]["containers"]] == ["mesh", "work"]

    stage.write(unit, "mesh", "the mesh\n")
    stage.write(unit, "work", "the flow\n")
    states = [one("mesh", pods.running(pods.now())), one("work", pods.terminated(137, None, reason="OOMKilled"))]
    stage.kubelet.play(stage.lab.pod_name(unit.name), {"phase": "Running", "containerStatuses": states})

    ended = once_ended(stage.platform, unit.name, 20)
    assert str(ended.evidence) == "OOMKilled, out of memory, the limit is 64Mi, exit code 137"
    assert stage.platform.logs_tail(unit.name) == "the flow\n"


def test_a_failed_init_container_leaves_its_output(stage: Stage) -> None:
    """It says why the flow's container never started."""
    unit = submission(ending="creating", template=INIT)
    stage.begin(unit)
    stage.write(unit, "prepare", "no such bucket\n")
    stage.kubelet.play(
        stage.lab.pod_name(unit.name),
        {
            "phase": "Failed",
            "initContainerStatuses": [one("prepare", pods.terminated(7, None))],
            "containerStatuses": [one("flow", pods.waiting("PodInitializing"))],
        },
    )

    once_ended(stage.platform, unit.name, 20)

    assert stage.platform.logs_tail(unit.name) == "no such bucket\n"


def test_a_lost_node_is_said_while_the_pod_counts_as_running(stage: Stage) -> None:
    """As soon as the node controller says so, and again when Kubernetes wants the pod to go; it is no end yet."""
    unit = submission(ending="creating")
    stage.begin(unit, phase="Running", containerStatuses=[one("flow", pods.running(pods.now()))])
    once(stage.platform, unit.name, lambda found: found.status is UnitStatus.RUNNING, 20)
    unready = {"type": "Ready", "status": "False", "reason": "", "lastTransitionTime": pods.now()}
    stage.kubelet.play(stage.lab.pod_name(unit.name), {"conditions": [unready]})

    lost = once(stage.platform, unit.name, lambda found: found.evidence is not None, 20)
    assert lost.status is UnitStatus.RUNNING
    assert str(lost.evidence).startswith(f"NodeLost, {stage.kubelet.node} does not answer")

    evicting = {"type": "DisruptionTarget", "status": "True", "reason": "DeletionByTaintManager", "message": "taints"}
    stage.kubelet.play(stage.lab.pod_name(unit.name), {"conditions": [evicting]})
    once(stage.platform, unit.name, lambda found: str(found.evidence) == "DeletionByTaintManager, taints", 20)


def test_used_up_restarts_are_no_deletion(stage: Stage) -> None:
    """With restartPolicy OnFailure the Job's controller deletes the pod in the end; the flow's exit code is told."""
    spec = {"backoffLimit": 1, "template": {"spec": {"restartPolicy": "OnFailure"}}}
    unit = submission(ending="creating", template={"spec": spec})
    stage.begin(unit)
    last = pods.terminated(3, None)
    state = {**one("flow", pods.running(pods.now())), "restartCount": 2, "lastState": last}
    stage.kubelet.play(stage.lab.pod_name(unit.name), {"phase": "Running", "containerStatuses": [state]})

    ended = once_ended(stage.platform, unit.name)

    said = "Error, the container flow failed 2 times: the Job's backoffLimit is used up, exit code 3"
    assert str(ended.evidence) == said
    assert stage.lab.place.conditions(unit.name)[-1]["reason"] == "BackoffLimitExceeded"


def test_the_end_outlasts_a_short_time_to_live(stage: Stage) -> None:
    """An agent that was away finds the Job that its template would have removed at once, and how it ended."""
    unit = submission("exit 3", template={"spec": {"ttlSecondsAfterFinished": 0}})
    stage.platform.create(unit)
    wait_until(lambda: stage.is_over(unit), 20, "it has ended")

    assert str(once_ended(stage.lab.platform(), unit.name, 20).evidence) == "Error, exit code 3"


def test_no_group_is_given_to_the_files_of_a_volume(stage: Stage) -> None:
    """Kubernetes would change the group of all files in it."""
    unit = submission(ending="creating", template=with_pod(volumes=[{"name": "data", "emptyDir": {}}]))
    stage.platform.create(unit)

    assert "fsGroup" not in stage.lab.pod(unit.name)["spec"]["securityContext"]

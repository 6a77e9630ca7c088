"""How units on a real Kubernetes API server stand and end, each in every way there is; all of them at the same time."""

from collections.abc import Callable, Iterator, Sequence
from datetime import datetime, timezone
from typing import Any, Final

import attrs
import pytest

from prefect.agent.adapters.kubernetes import KubernetesPlatform
from prefect.agent.domain.model.submissions import Submission
from prefect.agent.domain.model.units import UnitStatus
from support.kubernetes import pods
from support.kubernetes.api import Object
from support.kubernetes.control_plane import ControlPlane
from support.kubernetes.harness import (
    KubernetesHarness,
    cells,
    kubernetes_harness,
    merged,
    once,
    once_ended,
    submission,
    with_pod,
)
from support.kubernetes.kubelet import ProcessKubelet
from support.kubernetes.scratch_namespace import NOWHERE
from support.waiting import wait_until

pytestmark = pytest.mark.kubernetes

FAILED: Final = ["Failed", "BackoffLimitExceeded: Job has reached the specified backoff limit"]
FLOW: Final = "container flow"


@attrs.frozen(kw_only=True)
class Theatre:
    """Where the units play."""

    harness: KubernetesHarness
    kubelet: ProcessKubelet
    platform: KubernetesPlatform

    def waits(self, name: str) -> None:
        """Return once the node has taken its pod and waits for our word."""
        wait_until(lambda: "waiting" in self.harness.scratch.state(name), 20, f"the pod of {name} waits")

    def play(self, name: str, **status: Any) -> None:
        """Patch the status of its pod, as its node would."""
        self.waits(name)
        self.kubelet.play(self.harness.pod_name(name), status)


Act = Callable[[Theatre, str], None]


@attrs.frozen(kw_only=True)
class Ending:
    """A way to end, and what is told of it.

    Attributes:
        act: What happens to the unit.
        evidence: As text; ``{pod}`` stands for the pod's name.
        account: Cells of the rows for the Job, the pod and its containers; the first row's name is left out.
        tail: The last output.
    """

    submission: Submission
    act: Act = lambda *_: None
    status: UnitStatus = UnitStatus.FAILED
    evidence: str
    account: list[list[str]]
    tail: str = ""


def flow(state: Object | None = None, **more: Any) -> Object:
    """Status of the flow's container."""
    return {"name": "flow", **({"state": state} if state else {}), **more}


def other(name: str, state: Object) -> Object:
    """Status of another container."""
    return {"name": name, "image": "x", "imageID": "", "ready": False, "restartCount": 0, "state": state}


def plays(**status: Any) -> Act:
    """The node reports this."""

    def act(theatre: Theatre, name: str) -> None:
        theatre.play(name, **status)

    return act


def is_disrupted(theatre: Theatre, name: str) -> None:
    """The scheduler needs the room for somebody else."""
    message = "default-scheduler: preempting to accommodate a higher priority pod"
    condition = {"type": "DisruptionTarget", "status": "True", "reason": "PreemptionByScheduler", "message": message}
    condition["lastTransitionTime"] = pods.now()
    ended = pods.terminated(143, None)
    theatre.play(name, phase="Failed", conditions=[condition], containerStatuses=[flow(ended)])


def loses_its_node(theatre: Theatre, name: str) -> None:
    """The node does not answer any more, first for a while, then for good."""
    theatre.play(name, phase="Running", reason="NodeLost", message="node-1 did not answer")
    once(theatre.platform, name, lambda unit: unit.status is UnitStatus.RUNNING)
    theatre.play(name, phase="Failed")


def loses_its_pod(theatre: Theatre, name: str) -> None:
    """Somebody deletes the pod, not the Job."""
    wait_until(lambda: theatre.platform.logs_tail(name) == "deaf", 20, "it executes and hears nothing")
    theatre.harness.scratch.api.delete(
        f"{theatre.harness.scratch.pods}/{theatre.harness.pod_name(name)}", gracePeriodSeconds=1
    )


def takes_too_long(theatre: Theatre, name: str) -> None:
    """The time that its Job may take is over."""
    wait_until(lambda: theatre.kubelet.is_executing(name), 20, "it executes")
    theatre.harness.scratch.api.patch(f"{theatre.harness.scratch.jobs}/{name}", {"spec": {"activeDeadlineSeconds": 1}})


RESTARTS: Final = {"spec": {"backoffLimit": 6, "template": {"spec": {"restartPolicy": "OnFailure"}}}}
SIDECAR: Final = with_pod(containers=[{"name": "flow"}, {"name": "shipper", "image": "x"}])
INIT: Final = with_pod(initContainers=[{"name": "prepare", "image": "x"}], containers=[{"name": "flow"}])
LIMITED: Final = with_pod(containers=[{"name": "flow", "resources": {"limits": {"memory": "64Mi"}}}])

ENDINGS: Final = {
    "succeeded": Ending(
        submission=submission("echo one; echo two"),
        status=UnitStatus.SUCCEEDED,
        evidence="exit code 0",
        account=[["Complete", "CompletionsReached: Reached expected number of succeeded pods"], ["Succeeded"], ["0"]],
        tail="one\ntwo",
    ),
    "exit code": Ending(
        submission=submission("echo oh no >&2; exit 3"),
        evidence="Error, exit code 3",
        account=[FAILED, ["Failed"], ["terminated", "3", "Error"]],
        tail="oh no",
    ),
    "signal 9": Ending(
        submission=submission("kill -9 $$"),
        evidence="Killed, ended by signal 9, exit code 137",
        account=[FAILED, ["Failed"], ["terminated", "137", "Error"]],
    ),
    "signal 15": Ending(
        submission=submission("kill -15 $$"),
        evidence="Killed, ended by signal 15, exit code 143",
        account=[FAILED, ["Failed"], ["terminated", "143", "Error"]],
    ),
    "out of memory": Ending(
        submission=submission(ending="oom", template=LIMITED),
        evidence="OOMKilled, out of memory, the limit is 64Mi, exit code 137",
        account=[FAILED, ["Failed"], ["terminated", "137", "OOMKilled"]],
    ),
    "out of memory beside": Ending(
        submission=submission(ending="creating", template=SIDECAR),
        act=plays(
            phase="Failed",
            containerStatuses=[
                flow(pods.terminated(143, None)),
                other("shipper", pods.terminated(137, None, reason="OOMKilled")),
            ],
        ),
        evidence="OOMKilled, out of memory in the container shipper, exit code 137",
        account=[FAILED, ["Failed"], ["terminated", "143", "Error"], ["terminated", "137", "OOMKilled"]],
    ),
    "sidecar failed": Ending(
        submission=submission(ending="creating", template=SIDECAR),
        act=plays(
            phase="Failed",
            containerStatuses=[flow(pods.terminated(0, None)), other("shipper", pods.terminated(9, None))],
        ),
        evidence="Error, the container shipper ended with exit code 9, exit code 0",
        account=[FAILED, ["Failed"], ["terminated", "0", "Completed"], ["container shipper", "terminated", "9"]],
    ),
    "init container failed": Ending(
        submission=submission(ending="creating", template=INIT),
        act=plays(
            phase="Failed",
            initContainerStatuses=[other("prepare", pods.terminated(7, None))],
            containerStatuses=[flow(pods.waiting("PodInitializing"))],
        ),
        evidence="Error, the init container prepare ended with exit code 7",
        account=[FAILED, ["Failed"], ["init container prepare", "terminated", "7", "Error"], ["waiting"]],
    ),
    "evicted": Ending(
        submission=submission(ending="evict"),
        evidence="Evicted, The node was low on resource: memory., exit code 137",
        account=[FAILED, ["Failed", "; Evicted: The node was low on resource: memory."], ["terminated", "137"]],
    ),
    "preempted": Ending(
        submission=submission(ending="creating"),
        act=is_disrupted,
        evidence="PreemptionByScheduler, default-scheduler: preempting to accommodate a higher priority pod, "
        "exit code 143",
        account=[FAILED, ["Failed", "; PreemptionByScheduler: default-scheduler: preempting"], ["terminated", "143"]],
    ),
    "node lost": Ending(
        submission=submission(ending="creating"),
        act=loses_its_node,
        evidence="NodeLost, node-1 did not answer",
        account=[FAILED, ["Failed", "; NodeLost: node-1 did not answer"], ["waiting", "ContainerCreating"]],
    ),
    "deadline": Ending(
        submission=submission("exec sleep 600", template={"spec": {"activeDeadlineSeconds": 600}}),
        act=takes_too_long,
        evidence="DeadlineExceeded, Job was active longer than specified deadline, exit code 143",
        account=[["Failed", "DeadlineExceeded: Job was active longer than specified deadline"], ["gone"], ["143"]],
    ),
    "pod deleted": Ending(
        submission=submission("trap '' TERM; echo deaf; while :; do sleep 1; done"),
        act=loses_its_pod,
        evidence="Deleted, its pod {pod} was deleted externally, exit code 137",
        account=[FAILED, ["gone"], ["terminated", "137"]],
    ),
    "restarted in place": Ending(
        submission=submission(ending="creating", template=RESTARTS),
        act=plays(phase="Succeeded", containerStatuses=[flow(pods.terminated(0, None), restartCount=2)]),
        status=UnitStatus.SUCCEEDED,
        evidence="exit code 0",
        account=[["Complete"], ["Succeeded"], ["terminated", "0", "Completed; 2 restarts"]],
    ),
}


@attrs.frozen(kw_only=True)
class Waiting:
    """A way to wait for the start.

    Attributes:
        evidence: How its text begins.
        hopeless_after: Seconds from the beginning of the trouble; None if there is always hope.
        told: What the account's rows say.
    """

    submission: Submission
    act: Act = lambda *_: None
    evidence: str
    hopeless_after: float | None
    told: list[str]


TROUBLE: Final = 30.0
START: Final = 600.0
NO_MAP: Final = with_pod(
    containers=[
        {"name": "flow", "env": [{"name": "A", "valueFrom": {"configMapKeyRef": {"name": "late", "key": "a"}}}]}
    ]
)

WAITINGS: Final = {
    # The first to be looked at: after a minute it would be asked why it is so slow.
    "still creating": Waiting(
        submission=submission(ending="creating"), evidence="", hopeless_after=None, told=["ContainerCreating"]
    ),
    "image": Waiting(
        submission=submission(ending="image-error:ErrImagePull:no such image"),
        evidence="ErrImagePull, no such image",
        hopeless_after=TROUBLE,
        told=["Pending", "ErrImagePull: no such image"],
    ),
    "image back-off": Waiting(
        submission=submission(ending="image-error:ImagePullBackOff:Back-off pulling"),
        evidence="ImagePullBackOff, Back-off pulling",
        hopeless_after=TROUBLE,
        told=["Pending", "ImagePullBackOff: Back-off pulling"],
    ),
    "image name": Waiting(
        submission=submission(ending="image-error:InvalidImageName:couldn't parse"),
        evidence="InvalidImageName, couldn't parse",
        hopeless_after=0,
        told=["Pending", "InvalidImageName: couldn't parse"],
    ),
    "config map": Waiting(
        submission=submission(template=NO_MAP),
        evidence='CreateContainerConfigError, configmap "late" not found',
        hopeless_after=TROUBLE,
        told=["Pending", 'CreateContainerConfigError: configmap "late" not found'],
    ),
    "crash loop of an init container": Waiting(
        submission=submission(ending="creating", template=merged(INIT, RESTARTS)),
        act=plays(initContainerStatuses=[other("prepare", pods.waiting("CrashLoopBackOff", "back-off 10s"))]),
        evidence="CrashLoopBackOff, back-off 10s",
        hopeless_after=START,
        told=["Pending", "CrashLoopBackOff: back-off 10s"],
    ),
    "no node": Waiting(
        submission=submission(template=with_pod(nodeSelector=NOWHERE)),
        evidence="Unschedulable, 0/",
        hopeless_after=START,
        told=["Pending", "didn't match Pod's node affinity/selector", "FailedScheduling"],
    ),
    "suspended": Waiting(
        submission=submission(template={"spec": {"suspend": True}}),
        evidence="Suspended, its Job was suspended externally",
        hopeless_after=None,
        told=["Suspended"],
    ),
}


@pytest.fixture(scope="module")
def theatre(control_plane: ControlPlane, kubelet: ProcessKubelet) -> Iterator[Theatre]:
    """All units begin at once."""
    with kubernetes_harness(control_plane) as harness:
        theatre = Theatre(harness=harness, kubelet=kubelet, platform=harness.platform(trouble=TROUBLE, start=START))
        theatre.platform.units()  # from now on it sees all that happens, however short
        units: list[Ending | Waiting] = [*ENDINGS.values(), *WAITINGS.values()]
        for each in units:
            theatre.platform.create(each.submission)
        for each in units:
            each.act(theatre, each.submission.name)
        yield theatre


def account_with(platform: KubernetesPlatform, name: str, words: Sequence[str]) -> str:
    """The account, once it has these words: events come when they like, and so does the news that a pod is gone."""
    found: list[str] = []

    def look() -> bool:
        found[:] = [platform.account(name)]
        return all(word in found[0] for word in words)

    try:
        wait_until(look, 20, f"all of {words} are told")
    except AssertionError as late:
        raise AssertionError(f"{late}; but {found[0]}") from None
    return found[0]


@pytest.mark.parametrize("kind", WAITINGS)
def test_waits(theatre: Theatre, kind: str) -> None:
    """A unit that does not start says what it waits for, and from when on that is pointless."""
    waiting, platform = WAITINGS[kind], theatre.platform
    name = waiting.submission.name

    unit = once(platform, name, lambda unit: str(unit.evidence or "").startswith(waiting.evidence))

    assert unit.status is UnitStatus.PENDING
    assert (unit.evidence is None) is (not waiting.evidence)
    assert (unit.hopeless_at is None) is (waiting.hopeless_after is None)
    if waiting.hopeless_after is not None:
        assert unit.created_at is not None
        assert unit.hopeless_at is not None
        slack = (unit.hopeless_at - unit.created_at).total_seconds() - waiting.hopeless_after
        assert 0 <= slack <= (datetime.now(timezone.utc) - unit.created_at).total_seconds()
    again = platform.unit(name)
    assert again is not None
    assert again.hopeless_at == unit.hopeless_at
    account_with(platform, name, waiting.told)
    assert platform.logs_tail(name) == ""


@pytest.mark.parametrize("kind", ENDINGS)
def test_ends(theatre: Theatre, kind: str) -> None:
    """Status, evidence, account and last output tell how it ended, from the watches as from a fresh look."""
    ending, platform = ENDINGS[kind], theatre.platform
    name = ending.submission.name

    unit = once_ended(platform, name)
    gone = ["  gone  "] if ["gone"] in ending.account else []
    table = account_with(platform, name, [": Scheduled: Successfully assigned", *gone])
    pod = table.partition("Pod ")[2].split(None, 1)[0]

    assert (unit.status, str(unit.evidence)) == (ending.status, ending.evidence.format(pod=pod))
    assert platform.unit(name) == unit
    assert unit.ended_at is not None
    rows = cells(table)
    assert rows[0] == ["WHAT", "STATE", "EXIT", "DETAIL"]
    assert rows[1][0] == f"Job {name}"
    assert rows[2][0] == f"Pod {pod}"
    for row, wanted in zip(rows[1:], ending.account, strict=False):
        for word in wanted:
            assert any(cell.startswith(word) or (word[0] == ";" and word in cell) for cell in row), (row, wanted)
    assert "Events reported by Kubernetes:" in table
    assert f"Pod {pod}: Scheduled: Successfully assigned" in table
    assert platform.logs_tail(name) == ending.tail


def test_what_comes_late_is_not_too_late(theatre: Theatre) -> None:
    """A unit goes on when what it waits for is there."""
    name = WAITINGS["config map"].submission.name
    theatre.harness.post("api/v1 configmaps", {"metadata": {"name": "late"}, "data": {"a": "1"}})
    assert once_ended(theatre.platform, name).status is UnitStatus.SUCCEEDED

"""What a Job that does not start waits for, on a real Kubernetes API server: why names it, and what to do."""

import shlex
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from prefect.agent.domain.model.submissions import Submission
from support.agent_machine import machine_at
from support.kubernetes.control_plane import ControlPlane
from support.kubernetes.harness import KubernetesHarness, kubernetes_harness, merged, once, submission, with_pod
from support.kubernetes.installing import kubectl
from support.kubernetes.kubelet import ProcessKubelet
from support.kubernetes.refusing import limit_jobs
from support.kubernetes.scratch_namespace import NOWHERE
from support.waiting import wait_until
from support.why_cloud import Cloud, claim, served, why

pytestmark = pytest.mark.kubernetes

Template = dict[str, Any]


@pytest.fixture(scope="module")
def harness(control_plane: ControlPlane, kubelet: ProcessKubelet) -> Iterator[KubernetesHarness]:
    """A namespace in which no pod may ask for a gigabyte."""
    with kubernetes_harness(control_plane) as harness:
        path = f"/api/v1/namespaces/{harness.namespace}/resourcequotas"
        harness.scratch.api.post(path, {"metadata": {"name": "memory"}, "spec": {"hard": {"requests.memory": "1Gi"}}})
        yield harness


LITTLE = {"resources": {"requests": {"memory": "1Mi"}}}


def pod(**spec: Any) -> Template:
    """Of a run whose pod has this specification, and asks for a little memory."""
    return with_pod(**{"containers": [{"name": "flow", **LITTLE}], **spec})


LARGE = [{"name": "flow", "resources": {"requests": {"memory": "2Gi"}}}]
CLAIM = [{"name": "data", "persistentVolumeClaim": {"claimName": "no-such-claim"}}]


def made(harness: KubernetesHarness, cloud: Cloud, template: Template, ending: str = "") -> Submission:
    """Of a claimed run, whose unit says what it waits for."""
    platform = harness.platform()
    claimed = claim(cloud, platform.identity)
    about = {"name": claimed.name, "flow_run_id": claimed.flow_run_id, "attempt": claimed.attempt}
    submitted = submission(ending=ending, template=template, **about)
    platform.create(submitted)
    early = {"Slow", "ContainerCreating"}
    once(platform, submitted.name, lambda unit: unit.evidence and unit.evidence.reason not in early)
    return submitted


def asked(harness: KubernetesHarness, cloud: Cloud, home: Path, made: Submission) -> dict[str, dict[str, Any]]:
    """What the command says about the run, here."""
    words = (made.flow_run_id, "kubernetes", "--namespace", harness.namespace)
    return why(cloud, home, *words, KUBECONFIG=harness.kubeconfig())


@pytest.fixture
def cloud(tmp_path: Path) -> Iterator[Cloud]:
    """A Cloud of one's own."""
    with served(tmp_path / "cloud.db") as cloud:
        yield cloud


@pytest.mark.parametrize(
    ("template", "ending", "waits_for", "says"),
    [
        (pod(nodeSelector=NOWHERE), "", "a node", "node"),
        (pod(volumes=CLAIM), "", "a volume", "no-such-claim"),
        (pod(containers=LARGE), "", "room in a quota", "exceeded quota"),
        (pod(), "image-error:ErrImagePull:no such image", "its image", "no such image"),
        (pod(), 'image-error:CreateContainerConfigError:configmap "x" not found', "its settings", "configmap"),
    ],
    ids=["scheduling", "volume", "quota", "image", "settings"],
)
def test_a_pending_unit_says_what_it_waits_for(
    harness: KubernetesHarness, cloud: Cloud, tmp_path: Path, template: Template, ending: str, waits_for: str, says: str
) -> None:
    """The command names it in the platform's words, with what to do about it."""
    found = asked(harness, cloud, tmp_path, made(harness, cloud, template, ending))["unit-pending"]

    assert found["stops"]
    assert f"waits for {waits_for}: " in found["text"]
    assert says in found["text"]
    assert found["remedies"]


def test_a_suspended_job_goes_on_by_the_command_that_is_printed(
    harness: KubernetesHarness, cloud: Cloud, tmp_path: Path
) -> None:
    """As a person types it."""
    pending = made(harness, cloud, merged(pod(), {"spec": {"suspend": True}}))

    found = asked(harness, cloud, tmp_path, pending)["unit-pending"]

    assert "waits for a person: Suspended, its Job was suspended externally" in found["text"]
    [(_, command)] = [remedy.split(": ", 1) for remedy in found["remedies"]]
    program, *words = shlex.split(command)
    assert (program, words[:2]) == ("kubectl", ["--namespace", harness.namespace])
    typed = [kubectl() or pytest.skip("there is no kubectl"), "--kubeconfig", str(harness.plane.kubeconfig), *words]
    done = subprocess.run(typed, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert harness.job(pending.name)["spec"]["suspend"] is False


def test_a_job_that_is_gone_is_said_to_be_absent(harness: KubernetesHarness, cloud: Cloud, tmp_path: Path) -> None:
    """The cluster was asked, and has none of that name."""
    claimed = claim(cloud, harness.platform().identity)

    words = (claimed.flow_run_id, "kubernetes", "--namespace", harness.namespace)
    found = why(cloud, tmp_path, *words, KUBECONFIG=harness.kubeconfig())

    assert f"Its unit {claimed.name} does not exist." in found["unit-absent"]["text"]


def test_an_agent_that_has_no_room_for_a_job_says_so(control_plane: ControlPlane, tmp_path: Path) -> None:
    """The Job does not exist; the agent that creates it is asked, and its log tells of the quota once for the run."""
    with kubernetes_harness(control_plane) as harness, machine_at(tmp_path) as machine:
        limit_jobs(harness, 0)
        place = ("--namespace", harness.namespace)
        machine.start("ann", platform=("kubernetes", "--kubeconfig", harness.kubeconfig(), *place))
        config = {"type": "KubernetesRun", "image": "registry.test/flow:1", "labels": []}
        run = machine.cloud.run(machine.cloud.flow(machine.cloud.project(), run_config=config))

        def tries() -> int:
            problems = machine.status("ann")["problems"]
            return next((each["count"] for each in problems if each["kind"].startswith("unit_retried")), 0)

        wait_until(lambda: tries() >= 3, 90, "it was tried again")
        for words in ((), ("kubernetes", *place)):
            found = machine.why(run, *words, KUBECONFIG=harness.kubeconfig())["unit-pending"]
            assert found["stops"]
            assert "waits for room in a quota. The agent ann (process " in found["text"]
            assert "exceeded quota: one" in found["text"]
            assert found["remedies"] == ["end other runs, or raise the quota"]
        begun = [line for line in machine.log("ann").splitlines() if "| Cannot start flow run" in line]
        assert len(begun) <= 2, begun  # for the Job, and for the trial that looks for room


@pytest.mark.usefixtures("kubelet")
def test_a_run_whose_pod_could_not_start_says_what_was_lacking(control_plane: ControlPlane, tmp_path: Path) -> None:
    """The agent gave it up; its last message has the kind, so that `why` knows it later without the cluster."""
    ending = {"lab.test/ending": "image-error:ErrImagePull:no such image"}
    template = {"spec": {"template": {"metadata": {"annotations": ending}}}}
    config = {"type": "KubernetesRun", "image": "registry.test/flow:1", "labels": [], "job_template": template}
    with kubernetes_harness(control_plane) as harness, machine_at(tmp_path) as machine:
        place = ("--kubeconfig", harness.kubeconfig(), "--namespace", harness.namespace, "--start-trouble", "1")
        machine.start("ann", platform=("kubernetes", *place))
        run = machine.cloud.run(machine.cloud.flow(machine.cloud.project(), run_config=config))
        wait_until(lambda: machine.cloud.state(run) == "Failed", 120, "the agent gives it up")

        found = machine.why(run)["gave-up"]

    assert found["stops"]
    assert "could not start for lack of its image (ErrImagePull, no such image)" in found["text"]
    assert found["remedies"][0] == "correct or push the image"

"""Whose a Job is, and whom it is said to belong to: on a real API server with its garbage collector."""

import logging
from collections.abc import Iterator
from typing import Any

import attrs
import pytest

from prefect.agent.adapters.kubernetes import manifest
from prefect.agent.adapters.kubernetes.presence import PodPresence, PodProcess
from prefect.agent.domain.errors import PlatformUnavailable, SubmissionRefused, UnitNameTaken
from prefect.agent.domain.model.submissions import Submission
from prefect.agent.domain.model.units import Owner
from support.kubernetes.api import Object
from support.kubernetes.control_plane import ControlPlane
from support.kubernetes.harness import (
    FOREVER,
    KubernetesHarness,
    kubernetes_harness,
    merged,
    once,
    once_ended,
    submission,
    with_pod,
)
from support.kubernetes.kubelet import ProcessKubelet
from support.kubernetes.proxy import FaultProxy
from support.kubernetes.scratch_namespace import NOWHERE
from support.kubernetes.scratch_namespace import job as foreign_job
from support.waiting import wait_until

pytestmark = pytest.mark.kubernetes

OURS = Owner(cloud="c1", agent="a1")
NO_SUCH_UID = "00000000-0000-4000-8000-00000000dead"


@pytest.fixture
def harness(
    control_plane: ControlPlane, kubelet: ProcessKubelet, fault_proxy: FaultProxy
) -> Iterator[KubernetesHarness]:
    """A new namespace, behind a proxy."""
    with kubernetes_harness(control_plane, proxy=fault_proxy) as harness:
        yield harness


def waiting(template: Object | None = None, **changes: Any) -> Submission:
    """One whose pod finds no node."""
    return submission(template=merged(with_pod(nodeSelector=NOWHERE), template or {}), **changes)


class TestMarks:
    """Labels on the Job and on its pod."""

    def test_the_owner_comes_back(self, harness: KubernetesHarness) -> None:
        """From the create, from a look, from the list, and from a pod whose Job was deleted."""
        platform, made = harness.platform(), submission(FOREVER, owner=OURS)
        assert platform.create(made).owner == OURS
        other = harness.platform()
        assert getattr(other.unit(made.name), "owner", None) == OURS
        assert once(other, made.name, lambda unit: unit.status.value == "running").owner == OURS
        harness.scratch.api.delete(f"{harness.scratch.jobs}/{made.name}", propagationPolicy="Orphan")
        assert once(other, made.name, lambda unit: unit.info.startswith("Pod ")).owner == OURS
        other.stop(made.name, grace=1)

    @pytest.mark.parametrize("owner", [None, OURS])
    def test_a_template_cannot_mark_a_unit(self, harness: KubernetesHarness, owner: Owner | None) -> None:
        """Neither the Job nor its pod."""
        marks = {"metadata": {"labels": {manifest.CLOUD_LABEL: "c9", manifest.OWNER_LABEL: "a9"}}}
        made = waiting({**marks, "spec": {"template": marks}}, owner=owner)
        assert harness.platform().create(made).owner == owner
        expected = (owner.cloud, owner.agent) if owner else (None, None)
        for thing in (harness.job(made.name), harness.pod(made.name)):
            labels = thing["metadata"]["labels"]
            assert (labels.get(manifest.CLOUD_LABEL), labels.get(manifest.OWNER_LABEL)) == expected

    def test_the_job_of_another_cloud_keeps_its_name(self, harness: KubernetesHarness) -> None:
        """It is not taken for ours."""
        made = waiting(owner=OURS)
        harness.platform().create(made)
        with pytest.raises(UnitNameTaken, match="another Prefect Cloud or tenant"):
            harness.platform().create(attrs.evolve(made, owner=Owner(cloud="c2", agent="a1")))

    @pytest.mark.parametrize("marks", [{}, {manifest.CLOUD_LABEL: "NOT_A.MARK"}, {manifest.OWNER_LABEL: "a2"}])
    def test_other_jobs_of_the_name_are_adopted(self, harness: KubernetesHarness, marks: dict[str, str]) -> None:
        """Made by a sibling, or by a version that did not mark."""
        made = waiting(owner=OURS)
        harness.platform().create(made)
        labels = {manifest.CLOUD_LABEL: None, **marks} if manifest.OWNER_LABEL not in marks else marks
        harness.scratch.api.patch(f"{harness.scratch.jobs}/{made.name}", {"metadata": {"labels": labels}})
        unit = harness.platform().create(attrs.evolve(made, owner=OURS))
        assert unit.owner == (Owner(cloud="c1", agent="a2") if manifest.OWNER_LABEL in marks else None)

    def test_a_unit_whose_run_id_was_taken_away_is_still_known(self, harness: KubernetesHarness) -> None:
        """To an agent that saw it before; others warn of it once, and list the others."""
        platform, made, good = harness.platform(), waiting(owner=OURS), waiting(owner=OURS)
        for each in (made, good):
            platform.create(each)
        nothing = {"labels": {manifest.FLOW_RUN_ID_LABEL: None}, "annotations": {manifest.FLOW_RUN_ID: None}}
        harness.scratch.api.patch(f"{harness.scratch.jobs}/{made.name}", {"metadata": nothing})
        assert getattr(platform.unit(made.name), "flow_run_id", None) == made.flow_run_id
        assert [unit.name for unit in harness.platform().units()] == [good.name]


class TestOwnerReferences:
    """A Job that belongs to nothing is deleted at once: it must not be made again and again."""

    def reference(self, harness: KubernetesHarness, name: str = "owner", uid: str | None = None) -> Object:
        """To a Job of the namespace, which is made unless there is a *uid*."""
        if uid is None:
            uid = str(harness.post("apis/batch/v1 jobs", foreign_job(name))["metadata"]["uid"])
        return {"apiVersion": "batch/v1", "kind": "Job", "name": name, "uid": uid}

    def made_with(self, *references: Object) -> Submission:
        """A submission whose template has them."""
        return waiting({"metadata": {"ownerReferences": list(references)}})

    @pytest.mark.parametrize(
        "changes",
        [
            {},
            {"name": "owner"},
            {"kind": "NoSuchKind"},
            {"apiVersion": "no.such/v1"},
            {"apiVersion": "v1", "kind": "Namespace"},
        ],
        ids=str,
    )
    def test_an_owner_that_does_not_exist_refuses_the_run(self, harness: KubernetesHarness, changes: Object) -> None:
        """With the field, the owner and what to do; nothing is made. Also if another object has its name."""
        self.reference(harness)
        stale = {**self.reference(harness, "gone", NO_SUCH_UID), **changes}
        if stale["kind"] == "Namespace":
            stale["name"] = harness.namespace
        made = self.made_with(stale)
        words = rf"metadata\.ownerReferences name the {stale['kind']} {stale['name']}.*Take the ownerReferences out"
        with pytest.raises(SubmissionRefused, match=words):
            harness.platform().create(made)
        assert not harness.scratch.api.exists(f"{harness.scratch.jobs}/{made.name}")

    def test_an_owner_that_exists_stays(self, harness: KubernetesHarness) -> None:
        """In the namespace, or above it; the Job goes when its owner goes."""
        namespace = harness.scratch.api.get(f"/api/v1/namespaces/{harness.namespace}")
        above = {
            "apiVersion": "v1",
            "kind": "Namespace",
            "name": harness.namespace,
            "uid": namespace["metadata"]["uid"],
        }
        only, both = self.made_with(self.reference(harness)), self.made_with(above)
        platform = harness.platform()
        for each in (only, both):
            platform.create(each)
        assert harness.job(both.name)["metadata"]["ownerReferences"][0]["kind"] == "Namespace"
        assert harness.job(only.name)["metadata"]["ownerReferences"][0]["name"] == "owner"
        harness.scratch.api.delete(f"{harness.scratch.jobs}/owner", propagationPolicy="Background")
        wait_until(lambda: not harness.scratch.api.exists(f"{harness.scratch.jobs}/{only.name}"), 30, "the Job goes")
        assert harness.scratch.api.exists(f"{harness.scratch.jobs}/{both.name}")

    def test_an_owner_that_may_not_be_looked_at_is_left_out(
        self, harness: KubernetesHarness, caplog: pytest.LogCaptureFixture
    ) -> None:
        """The run executes; the agent's log says once what is missing."""
        unseen = {"apiVersion": "batch/v1", "kind": "CronJob", "name": "nightly", "uid": NO_SUCH_UID}
        platform = harness.platform()
        for _ in range(2):
            made = submission(template={"metadata": {"ownerReferences": [unseen]}})
            platform.create(made)
            assert once_ended(platform, made.name).status.value == "succeeded"
        said = [each.getMessage() for each in caplog.records if each.levelno == logging.WARNING]
        assert ["CronJob nightly" in text for text in said] == [True]

    def test_cannot_look_refuses_nothing(self, harness: KubernetesHarness, fault_proxy: FaultProxy) -> None:
        """An API server that fails does not say that an owner is gone."""
        made = self.made_with(self.reference(harness))
        fault_proxy.answer(500, method="GET", path="/jobs/owner$")
        platform = harness.platform()
        with pytest.raises(PlatformUnavailable, match="HTTP 500"):
            platform.create(made)
        fault_proxy.answer(404, "<html>no route</html>", method="GET", path="/jobs/owner$")
        with pytest.raises(PlatformUnavailable):
            platform.create(made)
        assert platform.create(made).name == made.name


class TestPresence:
    """Agents in pods know of each other by the API server."""

    def a_pod(self, harness: KubernetesHarness, name: str) -> PodProcess:
        """A process in a new pod that finds no node."""
        spec = {"containers": [{"name": "agent", "image": "none"}], "nodeSelector": NOWHERE}
        pod = harness.post("api/v1 pods", {"metadata": {"name": name}, "spec": spec})
        env = {"POD_NAMESPACE": harness.namespace, "POD_NAME": name, "POD_UID": pod["metadata"]["uid"]}
        found = PodProcess.this({**env, "POD_CONTAINER": "agent"})
        assert found is not None
        return found

    def presence(self, harness: KubernetesHarness, process: PodProcess) -> PodPresence:
        """As that process has it."""
        found = harness.platform(process=process).presence
        assert isinstance(found, PodPresence)
        return found

    def test_a_pod_is_gone_when_the_server_says_so(self, harness: KubernetesHarness) -> None:
        """Deleted, ended, or made anew under its name; one that waits or ends is not gone yet."""
        us, one, two, three = (self.a_pod(harness, name) for name in ("us", "one", "two", "three"))
        presence = self.presence(harness, us)
        assert presence.place == us.place
        assert us.place.startswith(f"pod:{harness.namespace}/us/{us.uid}/")
        assert [presence.is_gone(each.place) for each in (us, one, two, three)] == [False] * 4

        harness.scratch.api.delete(f"{harness.scratch.pods}/one", gracePeriodSeconds=0)
        for phase, pod in (("Failed", "two"), ("Succeeded", "three")):
            harness.scratch.api.patch(f"{harness.scratch.pods}/{pod}/status", {"status": {"phase": phase}})

        fresh = self.presence(harness, us)
        assert [fresh.is_gone(each.place) for each in (us, one, two, three)] == [False, True, True, True]
        again = self.a_pod(harness, "one")
        assert [self.presence(harness, us).is_gone(each.place) for each in (one, again)] == [True, False]

    def test_nothing_is_proven_without_an_answer(self, harness: KubernetesHarness, fault_proxy: FaultProxy) -> None:
        """Refused, broken, unreadable, or from a place that may not be looked at."""
        us = self.a_pod(harness, "us")
        gone = attrs.evolve(us, name="gone", uid=NO_SUCH_UID)
        presence = self.presence(harness, us)
        assert presence.is_gone(gone.place)
        for status in (403, 404, 410, 500):
            fault_proxy.answer(status, path="/pods$", watch=False)
            assert not self.presence(harness, us).is_gone(gone.place)
        fault_proxy.cut(path="/pods$", watch=False)
        assert not self.presence(harness, us).is_gone(gone.place)
        fault_proxy.answer(200, "{}", path="/pods$", watch=False)
        assert not self.presence(harness, us).is_gone(gone.place)
        assert not self.presence(harness, us).is_gone(attrs.evolve(gone, namespace="elsewhere").place)

    def test_a_server_that_does_not_know_us_proves_nothing(self, harness: KubernetesHarness) -> None:
        """An agent may make Jobs in another cluster than its own."""
        us = self.a_pod(harness, "us")
        stranger = self.presence(harness, attrs.evolve(us, uid=NO_SUCH_UID))
        assert not stranger.is_gone(attrs.evolve(us, name="gone").place)

    def test_a_process_outside_a_pod_has_no_presence(self, harness: KubernetesHarness) -> None:
        """It has no place there."""
        assert harness.platform().presence is None

"""What the mirror of Jobs and pods believes when answers and events come in any order."""

import queue
import threading
from collections.abc import Iterator
from itertools import count

import pytest

from prefect.agent.adapters.kubernetes.errors import StatusError
from prefect.agent.adapters.kubernetes.mirror import KEPT_CHANGES, MOST_BURIED, PODS_OF_A_UNIT, Mirror, misses_pods
from prefect.agent.adapters.kubernetes.reflector import WatchRhythm
from prefect.agent.domain.errors import PlatformForbidden, PlatformUnavailable
from support.kubernetes_objects import Object, ScriptedCluster, a_job_object, a_pod_object, state
from support.waiting import wait_until


@pytest.fixture
def cluster() -> ScriptedCluster:
    """An API server that says nothing by itself."""
    cluster = ScriptedCluster()
    for path in ("/jobs", "/pods"):
        cluster.lists[path] = queue.Queue()  # two threads that ask at the same time would make one each
    return cluster


@pytest.fixture
def mirror(cluster: ScriptedCluster) -> Iterator[Mirror]:
    """An empty one."""
    mirror = Mirror(
        cluster.as_cluster(), jobs_path="/jobs", pods_path="/pods", selector="a", rhythm=WatchRhythm(first_list=30)
    )
    yield mirror
    mirror.close()


def knows(mirror: Mirror, name: str = "unit") -> tuple[int, dict[str, str]]:
    """Version of the Job, 0 if there is none; and of each pod its phase, or ``gone``."""
    job, pods = mirror.facts(name)
    return job.version if job else 0, {pod.uid: "gone" if pod.is_gone else pod.phase for pod in pods}


def misses(mirror: Mirror, name: str = "unit") -> bool:
    """Whether the Job has pods that the mirror has heard nothing of."""
    job, pods = mirror.facts(name)
    assert job is not None
    return misses_pods(job, pods)


def waiting(reason: str, version: int) -> Object:
    """A pod that waits."""
    return a_pod_object(phase="Pending", version=version, containerStatuses=[state("waiting", reason=reason)])


class TestJobs:
    """Jobs come and go."""

    def test_the_later_version_counts(self, mirror: Mirror) -> None:
        """In whatever order they are heard of, by whatever way."""
        mirror.apply_job("MODIFIED", a_job_object(version=12))
        mirror.saw_job(a_job_object(version=9))
        mirror.apply_job("ADDED", a_job_object(version=5))
        mirror.replace_jobs([a_job_object(version=3)], 20)
        assert knows(mirror) == (12, {})

    def test_what_is_not_ours(self, mirror: Mirror) -> None:
        """Does not exist."""
        foreign = a_job_object()
        foreign["metadata"]["labels"] = {}
        mirror.apply_job("ADDED", foreign)
        assert mirror.saw_job(foreign) is None
        mirror.apply_pod("ADDED", {"metadata": {"uid": "1"}})
        mirror.replace_jobs([foreign], 9)
        mirror.replace_pods([{}], 9)
        assert knows(mirror) == (0, {})

    def test_a_deleted_job_is_gone(self, mirror: Mirror) -> None:
        """Its pods that live are kept until they do not, the others are forgotten with it."""
        mirror.apply_job("ADDED", a_job_object())
        mirror.apply_pod("ADDED", a_pod_object("dead", version=2, phase="Failed"))
        mirror.apply_pod("ADDED", a_pod_object("alive", version=3))
        mirror.apply_job("DELETED", a_job_object(version=4))
        assert knows(mirror) == (0, {"alive": "Running"})
        mirror.apply_pod("MODIFIED", a_pod_object("alive", version=5, phase="Failed"))
        mirror.apply_pod("DELETED", a_pod_object("alive", version=6, phase="Failed"))
        assert knows(mirror) == (0, {})

    def test_an_event_under_way_does_not_bring_it_back(self, mirror: Mirror) -> None:
        """What the agent removed itself stays away, whatever its watch still has to tell; so does a slow answer."""
        job = mirror.saw_job(a_job_object(version=4))
        assert job is not None
        mirror.forget(job)
        mirror.apply_job("MODIFIED", a_job_object(version=6))
        mirror.saw_job(a_job_object(version=5))
        mirror.replace_jobs([a_job_object(version=5)], 5)
        assert knows(mirror) == (0, {})

    def test_another_job_of_the_name(self, mirror: Mirror) -> None:
        """Is another one: the end of the first says nothing of it."""
        first = mirror.saw_job(a_job_object(uid="first", version=1))
        assert first is not None
        mirror.apply_job("ADDED", a_job_object(uid="second", version=5))
        mirror.apply_job("DELETED", a_job_object(uid="first", version=4))
        mirror.forget(first)
        assert knows(mirror) == (5, {})

    def test_a_list_is_about_its_own_time(self, mirror: Mirror) -> None:
        """What is missing in it is gone, but not what was made after it."""
        mirror.saw_job(a_job_object("old", version=3))
        mirror.saw_job(a_job_object("new", version=8))
        mirror.replace_jobs([a_job_object("third", version=2)], 5)
        assert [knows(mirror, name)[0] for name in ("old", "new", "third")] == [0, 8, 2]


class TestPods:
    """Pods come and go faster."""

    def test_a_deleted_pod_is_remembered(self, mirror: Mirror) -> None:
        """As it was last, for as long as its Job is there; nothing that comes later changes it."""
        mirror.apply_job("ADDED", a_job_object())
        mirror.apply_pod("ADDED", a_pod_object(version=2))
        mirror.apply_pod("DELETED", a_pod_object(version=5, phase="Failed", reason="Evicted"))
        mirror.apply_pod("MODIFIED", a_pod_object(version=4))
        mirror.saw_pods("unit", [a_pod_object(version=3)], 3)
        _, (pod,) = mirror.facts("unit")
        assert (pod.is_gone, pod.phase, pod.reason) == (True, "Failed", "Evicted")

    def test_the_last_words_of_a_pod_that_a_look_missed(self, mirror: Mirror) -> None:
        """A look may be ahead of the watch: that the pod is gone is known first, how it ended comes after."""
        mirror.apply_job("ADDED", a_job_object())
        mirror.apply_pod("ADDED", a_pod_object(version=2))
        mirror.saw_pods("unit", [], 9)
        assert knows(mirror) == (1, {"pod-1": "gone"})
        ended = [state("terminated", exitCode=137, reason="OOMKilled")]
        mirror.apply_pod("MODIFIED", a_pod_object(version=5, phase="Failed", containerStatuses=ended))
        mirror.apply_pod("DELETED", a_pod_object(version=6, phase="Failed", containerStatuses=ended))
        _, (pod,) = mirror.facts("unit")
        assert (pod.is_gone, pod.version, pod.containers[0].reason) == (True, 6, "OOMKilled")

    def test_a_look_is_about_its_own_time(self, mirror: Mirror) -> None:
        """A pod that it does not show is gone, but not one that was made after it."""
        mirror.apply_job("ADDED", a_job_object())
        mirror.apply_pod("ADDED", a_pod_object("old", version=2))
        mirror.apply_pod("ADDED", a_pod_object("new", version=9))
        mirror.saw_pods("unit", [], 5)
        assert knows(mirror) == (1, {"old": "gone", "new": "Running"})
        mirror.replace_pods([a_pod_object("third", version=4)], 5)
        assert knows(mirror) == (1, {"old": "gone", "new": "Running", "third": "Running"})

    def test_pods_of_an_ended_job_may_be_missing(self, mirror: Mirror) -> None:
        """Until they are heard of or, if they are gone for good, asked for; whatever happens to that Job afterwards."""
        mirror.apply_job("ADDED", a_job_object(failed=1))
        assert not misses(mirror)
        mirror.apply_pod("ADDED", a_pod_object("first", version=2, phase="Failed"))
        mirror.apply_job("MODIFIED", a_job_object(version=5, end="Failed", failed=2))
        assert misses(mirror)
        mirror.apply_pod("ADDED", a_pod_object("second", version=4, phase="Failed"))
        assert not misses(mirror)
        other = mirror.saw_job(a_job_object("other", version=6, end="Complete", succeeded=1))
        mirror.saw_pods("other", [], 5)
        assert misses(mirror, "other")
        mirror.saw_pods("other", [], 7, after=other)
        mirror.apply_job("MODIFIED", a_job_object("other", version=9, end="Complete", succeeded=1))
        assert not misses(mirror, "other")
        mirror.apply_job("ADDED", a_job_object("other", version=12, uid="another", end="Complete", succeeded=1))
        mirror.saw_pods("other", [], 13, after=other)
        assert misses(mirror, "other")

    def test_more_pods_than_are_kept_are_not_missing(self, mirror: Mirror) -> None:
        """A template may allow many retries."""
        mirror.apply_job("ADDED", a_job_object(end="Failed", failed=PODS_OF_A_UNIT + 4))
        for number in range(PODS_OF_A_UNIT):
            assert misses(mirror)
            mirror.apply_pod("ADDED", a_pod_object(f"{number}", version=2, phase="Failed"))
        assert not misses(mirror)

    def test_a_pod_without_a_job_does_not_come_back(self, mirror: Mirror) -> None:
        """Once it is gone, a slow answer that shows it alive is not believed."""
        mirror.apply_pod("ADDED", a_pod_object(version=2))
        mirror.apply_pod("DELETED", a_pod_object(version=5))
        mirror.saw_pods("unit", [a_pod_object(version=4)], 4)
        assert knows(mirror) == (0, {})

    def test_a_pod_that_ended_does_not_outlive_its_job(self, mirror: Mirror) -> None:
        """The watch of pods may be behind: what it tells of then has happened before."""
        job = mirror.saw_job(a_job_object())
        assert job is not None
        mirror.apply_pod("ADDED", a_pod_object("gone", version=2))
        mirror.apply_pod("ADDED", a_pod_object("over", version=2))
        mirror.saw_pods("unit", [a_pod_object("over", version=8, phase="Failed")], 9)
        mirror.forget(job)
        for uid in ("gone", "over"):
            mirror.apply_pod("MODIFIED", a_pod_object(uid, version=5))
        assert knows(mirror) == (0, {})

    def test_pods_may_be_heard_of_before_their_job(self, mirror: Mirror) -> None:
        """Two watches know nothing of each other."""
        mirror.apply_pod("ADDED", a_pod_object(version=4, phase="Failed"))
        mirror.apply_job("ADDED", a_job_object(version=2))
        assert knows(mirror) == (2, {"pod-1": "Failed"})

    def test_the_oldest_dead_are_forgotten_first(self, mirror: Mirror) -> None:
        """A Job whose template allows retries may have many pods; the one that lives is not among the forgotten."""
        mirror.apply_job("ADDED", a_job_object())
        mirror.apply_pod("ADDED", a_pod_object("alive", version=2))
        for number in range(PODS_OF_A_UNIT + 5):
            mirror.apply_pod("ADDED", a_pod_object(f"dead-{number:02}", version=number + 3, phase="Failed"))
        _, pods = knows(mirror)
        assert len(pods) == PODS_OF_A_UNIT
        assert pods["alive"] == "Running"
        assert "dead-00" not in pods

    def test_since_when_it_waits(self, mirror: Mirror) -> None:
        """The same trouble in another word is no new trouble; none in between is an end of it."""

        def since() -> object:
            return mirror.facts("unit")[1][0].waiting_since

        mirror.apply_pod("ADDED", waiting("ErrImagePull", 1))
        first = since()
        mirror.apply_pod("MODIFIED", waiting("ImagePullBackOff", 2))
        assert first is not None
        assert since() == first
        mirror.apply_pod("MODIFIED", waiting("CreateContainerError", 3))
        assert since() != first
        mirror.apply_pod("MODIFIED", a_pod_object(version=4))
        assert since() is None


def test_ten_thousand_jobs_leave_nothing_behind(mirror: Mirror) -> None:
    """But a bounded number of names and uids."""
    for number in range(10_000):
        name = f"unit-{number}"
        mirror.saw_job(a_job_object(name, version=10 * number + 1))
        mirror.apply_pod("ADDED", a_pod_object(f"pod-{number}", unit=name, version=10 * number + 2))
        mirror.apply_pod("MODIFIED", a_pod_object(f"pod-{number}", unit=name, version=10 * number + 3, phase="Failed"))
        job = mirror.saw_job(a_job_object(name, version=10 * number + 4, end="Failed"))
        assert job is not None
        mirror.forget(job)
        mirror.apply_job("DELETED", a_job_object(name, version=10 * number + 5))
        mirror.apply_pod("DELETED", a_pod_object(f"pod-{number}", unit=name, version=10 * number + 6, phase="Failed"))
    assert (mirror._jobs, mirror._pods) == ({}, {})
    assert len(mirror._buried) == MOST_BURIED
    assert len(mirror._changes) == KEPT_CHANGES


EMPTY: Object = {"metadata": {"resourceVersion": "5"}, "items": []}


class TestBelieving:
    """When there is an answer, and when there is none."""

    def test_names_wait_for_both_lists(self, mirror: Mirror, cluster: ScriptedCluster) -> None:
        """Half of the truth is no answer."""
        found: list[set[str]] = []
        thread = threading.Thread(target=lambda: found.append(mirror.names()))
        thread.start()
        cluster.lists["/pods"].put(EMPTY)
        wait_until(lambda: any("watch" in each for each in cluster.asked), 30, "one kind is watched")
        assert found == []
        cluster.lists["/jobs"].put({**EMPTY, "items": [a_job_object()]})
        thread.join(30)
        assert found == [{"unit"}]

    def test_what_the_server_says_no_to(self, mirror: Mirror, cluster: ScriptedCluster) -> None:
        """Is told to whoever asks, at once."""
        words = 'pods is forbidden: cannot list resource "pods" in API group "" in the namespace "metrics"'
        cluster.lists["/pods"].put(StatusError(403, {"kind": "Status", "message": words}))
        with pytest.raises(PlatformForbidden, match="may not list pods"):
            mirror.names()
        cluster.lists["/jobs"].put(EMPTY)
        cluster.lists["/pods"].put(EMPTY)

    def test_nothing_heard(self, cluster: ScriptedCluster) -> None:
        """Is told in the end."""
        rhythm = WatchRhythm(first_list=0.01)
        mirror = Mirror(cluster.as_cluster(), jobs_path="/jobs", pods_path="/pods", selector="a", rhythm=rhythm)
        with pytest.raises(PlatformUnavailable, match="takes too long"):
            mirror.names()
        cluster.lists["/jobs"].put(EMPTY)
        cluster.lists["/pods"].put(EMPTY)
        mirror.close()

    def test_changes(self, mirror: Mirror, cluster: ScriptedCluster) -> None:
        """What happened before somebody watches is no change; no time is no changes."""
        cluster.lists["/jobs"].put(EMPTY)
        cluster.lists["/pods"].put(EMPTY)
        mirror.names()
        mirror.saw_job(a_job_object("before"))
        changes, seen, versions = mirror.changes(seconds=60), list[str](), count(1)
        watching = threading.Thread(target=lambda: seen.append(next(changes)))
        watching.start()
        wait_until(lambda: mirror.saw_job(a_job_object("one", version=next(versions))) and seen, 30, "a change is told")
        watching.join(30)
        assert seen == ["one"]
        assert list(mirror.changes(seconds=0)) == []

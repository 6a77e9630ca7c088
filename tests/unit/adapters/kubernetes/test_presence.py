"""Which process of which pod an agent is, and when an earlier one of the same pod is gone."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import attrs
import pytest

from prefect.agent.adapters.kubernetes.errors import StatusError
from prefect.agent.adapters.kubernetes.presence import PodPresence, PodProcess
from support.kubernetes_objects import ScriptedCluster

ENV = {"POD_NAMESPACE": "metrics", "POD_NAME": "agent-1", "POD_UID": "u-1", "POD_CONTAINER": "agent"}
PODS = "/api/v1/namespaces/metrics/pods"


@pytest.fixture
def us() -> PodProcess:
    """This process, as if it were in a pod."""
    found = PodProcess.this(ENV)
    assert found is not None
    return found


def presence(us: PodProcess, cluster: ScriptedCluster | None = None, **more: Any) -> PodPresence:
    """As that process has it; an API server that says nothing is not asked."""
    return PodPresence((cluster or ScriptedCluster()).as_cluster(), us, **more)


def pods(*found: tuple[str, str]) -> dict[str, Any]:
    """A list of pods with these uids and phases."""
    items = [{"metadata": {"uid": uid}, "status": {"phase": phase}} for uid, phase in found]
    return {"kind": "PodList", "items": items}


class TestPlace:
    """The text that goes into claims."""

    def test_it_names_pod_container_and_process(self, us: PodProcess) -> None:
        """It can be read back, is printable, and equal each time."""
        assert us.place.startswith("pod:metrics/agent-1/u-1/agent/")
        assert PodProcess.read(us.place) == us == PodProcess.this(ENV)
        assert us.place.isprintable()
        assert us.pid == os.getpid()

    @pytest.mark.parametrize("missing", ["POD_NAMESPACE", "POD_NAME", "POD_UID"])
    @pytest.mark.parametrize("value", [None, "", "a/b"])
    def test_without_its_variables_there_is_none(self, missing: str, value: str | None) -> None:
        """An agent outside a pod, or in one that was not made by our install command."""
        env = {**ENV, missing: value} if value is not None else {k: v for k, v in ENV.items() if k != missing}
        assert PodProcess.this(env) is None

    def test_the_container_may_have_no_name(self) -> None:
        """Then it is the only one with an agent."""
        found = PodProcess.this({key: value for key, value in ENV.items() if key != "POD_CONTAINER"})
        assert found is not None
        assert PodProcess.read(found.place) == found

    @pytest.mark.parametrize("place", ["", "pod:", "pod:a/b/c", "host:x", "pod:a/b/c/d/e", "pod:a/b/c/d/e.1.2", "\0"])
    def test_other_places_are_never_gone(self, us: PodProcess, place: str) -> None:
        """Nothing is known of them."""
        assert not presence(us).is_gone(place)


class TestOurOwnPod:
    """A new process in the same pod, which asks for the one before."""

    def test_it_is_not_gone_itself(self, us: PodProcess) -> None:
        """It asks."""
        assert not presence(us).is_gone(us.place)

    def test_a_process_of_this_container_is_gone_when_it_has_ended(self, us: PodProcess) -> None:
        """As /proc says: not before, and not because its id is another process's now."""
        child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
        ticks = Path(f"/proc/{child.pid}/stat").read_text().rpartition(")")[2].split()[19]
        other = attrs.evolve(us, pid=child.pid, start=int(ticks))
        assert not presence(us).is_gone(other.place)
        assert presence(us).is_gone(attrs.evolve(other, start=other.start - 1).place)
        child.communicate(b"\n", timeout=60)
        assert presence(us).is_gone(other.place)

    @pytest.mark.parametrize("changes", [{"first": 1}, {"boot": "0123456789ab"}])
    def test_all_of_an_earlier_container_is_gone(self, us: PodProcess, changes: dict[str, Any]) -> None:
        """The container was started anew since, or the node was: whatever has the process' id now is another one."""
        assert presence(us).is_gone(attrs.evolve(us, **changes).place)

    def test_another_container_of_the_pod_is_not_known(self, us: PodProcess) -> None:
        """It may execute an agent of its own, whose processes cannot be seen from here."""
        assert not presence(us).is_gone(attrs.evolve(us, container="sidecar", first=1).place)

    def test_cannot_look_is_not_gone(self, us: PodProcess, tmp_path: Path) -> None:
        """A /proc that cannot be read proves nothing."""
        (tmp_path / str(us.pid)).mkdir()
        (tmp_path / str(us.pid) / "stat").write_text("nonsense")
        other = attrs.evolve(us, start=us.start - 1)
        assert not presence(us, proc=tmp_path).is_gone(other.place)


class TestOtherPods:
    """Asked of the API server."""

    def test_an_answer_is_used_for_a_second(self, us: PodProcess) -> None:
        """A hundred claims of one pod are one question; after that it is asked anew."""
        time = [0.0]
        cluster, other = ScriptedCluster(), attrs.evolve(us, name="agent-0", uid="u-0")
        for answer in (pods(("u-1", "Running")), pods(("u-0", "Running")), pods()):
            cluster.lists[PODS].put(answer)
        here = presence(us, cluster, clock=lambda: time[0])
        assert [here.is_gone(other.place) for _ in range(100)] == [False] * 100
        time[0] = 1.5
        assert here.is_gone(other.place)
        assert [each["fieldSelector"] for each in cluster.asked] == [
            "metadata.name=agent-1",
            "metadata.name=agent-0",
            "metadata.name=agent-0",
        ]

    @pytest.mark.parametrize(
        "answer",
        [StatusError(403, {}), StatusError(404, {}), StatusError(500, {}), OSError(24, "EMFILE"), {}, {"items": [{}]}],
        ids=str,
    )
    def test_no_answer_proves_nothing(self, us: PodProcess, answer: Any) -> None:
        """It never raises."""
        cluster, other = ScriptedCluster(), attrs.evolve(us, name="agent-0", uid="u-0")
        cluster.lists[PODS].put(pods(("u-1", "Running")))
        cluster.lists[PODS].put(answer)
        assert not presence(us, cluster).is_gone(other.place)

"""The two watches of the Kubernetes platform, on a real API server, behind a proxy that does what networks do."""

import json
import logging
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Final

import pytest

from prefect.agent.adapters.kubernetes import KubernetesPlatform
from prefect.agent.adapters.kubernetes import platform as kubernetes_platform
from prefect.agent.adapters.kubernetes.manifest import FLOW_RUN_ID_LABEL, UNIT
from prefect.agent.adapters.kubernetes.reflector import WatchRhythm
from prefect.agent.domain.errors import PlatformUnavailable
from prefect.agent.domain.model.units import UnitStatus
from support.kubernetes.control_plane import ControlPlane
from support.kubernetes.harness import KubernetesHarness, kubernetes_harness, once, once_ended, seen, submission
from support.kubernetes.kubelet import ProcessKubelet
from support.kubernetes.proxy import FaultProxy
from support.waiting import wait_until

pytestmark = pytest.mark.kubernetes

KINDS: Final = ("jobs", "pods")


@pytest.fixture
def harness(
    control_plane: ControlPlane, kubelet: ProcessKubelet, fault_proxy: FaultProxy
) -> Iterator[KubernetesHarness]:
    """A new namespace, behind the proxy."""
    with kubernetes_harness(control_plane, proxy=fault_proxy) as harness:
        yield harness


@pytest.fixture
def direct(control_plane: ControlPlane, kubelet: ProcessKubelet, harness: KubernetesHarness) -> KubernetesPlatform:
    """Another agent's platform in the same namespace, whom no fault reaches."""
    config = control_plane.kubeconfig_for_token(harness.account.token(), harness.namespace)
    return harness.platform(kubeconfig=str(config))


def watching(harness: KubernetesHarness, rhythm: WatchRhythm | None = None) -> KubernetesPlatform:
    """A platform that watches."""
    platform = harness.platform(rhythm=rhythm)
    assert platform.units() == []
    wait_until(lambda: proxy_of(harness).streams == 2, 20, "both kinds are watched")
    return platform


def proxy_of(harness: KubernetesHarness) -> FaultProxy:
    """Its proxy."""
    assert harness.proxy is not None
    return harness.proxy


def lists(harness: KubernetesHarness) -> dict[str, int]:
    """How many lists of all units were asked for; not those of one unit."""
    asked = [each for each in list(proxy_of(harness).requests) if each.query.get("labelSelector") == UNIT]
    return {kind: sum(each.kind == kind and not each.is_watch for each in asked) for kind in KINDS}


def are_watched_anew(harness: KubernetesHarness, times: int) -> bool:
    """Whether a watch of each kind was asked for so many times."""
    return all(proxy_of(harness).count(kind=kind, watch=True) >= times for kind in KINDS)


def trouble(ask: Callable[[], object]) -> str:
    """What the platform says instead of an answer; empty if it answers."""
    try:
        ask()
    except PlatformUnavailable as unavailable:
        return str(unavailable)
    return ""


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    """What the log warns of."""
    return [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]


def event(kind: str, thing: object) -> str:
    """A line of a watch."""
    return json.dumps({"type": kind, "object": thing}) + "\n"


EXPIRED: Final = {"kind": "Status", "code": 410, "reason": "Expired", "message": "too old resource version: 1 (2)"}
FORGETS: Final[dict[str, tuple[int, object]]] = {
    "by its status": (410, EXPIRED),
    "by an event": (200, event("ERROR", EXPIRED)),
}
CUTS: Final[dict[str, Callable[[FaultProxy], object]]] = {
    "cleanly": lambda proxy: proxy.cut_streams(clean=True),
    "abruptly": lambda proxy: proxy.cut_streams(),
}


@pytest.mark.parametrize("cut", CUTS)
def test_a_watch_that_ends_goes_on_where_it_was(
    harness: KubernetesHarness, direct: KubernetesPlatform, cut: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Nothing is listed again, nothing is missed, nobody is alarmed."""
    platform, made = watching(harness), submission("exit 3")

    CUTS[cut](proxy_of(harness))
    direct.create(made)

    assert str(once_ended(platform, made.name).evidence) == "Error, exit code 3"
    assert lists(harness) == {"jobs": 1, "pods": 1}
    assert warnings(caplog) == []


def test_an_end_that_is_heard_of_before_the_pod(harness: KubernetesHarness, direct: KubernetesPlatform) -> None:
    """How the unit ended is asked for, once: only its pod says."""
    platform, made = watching(harness), submission("echo farewell; exit 3")
    watch = proxy_of(harness).hold(path="/pods$", watch=True)
    proxy_of(harness).cut_streams()
    direct.create(made)

    assert str(once_ended(platform, made.name).evidence) == "Error, exit code 3"

    looks = proxy_of(harness).count(kind="pods", watch=False)
    assert platform.logs_tail(made.name) == "farewell"
    assert "container flow" in platform.account(made.name)
    assert [str(unit.evidence) for unit in platform.units()] == ["Error, exit code 3"]
    assert proxy_of(harness).count(kind="pods", watch=False) == looks
    watch.release()


def test_the_last_words_of_a_unit_that_was_stopped(
    harness: KubernetesHarness, direct: KubernetesPlatform, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who stops a unit knows how it ended, though the watch tells of it after its pod is known to be gone."""
    monkeypatch.setattr(kubernetes_platform, "FINAL_STATE_WITHIN", 60.0)
    platform, made = watching(harness), submission("exec sleep 600")
    platform.create(made)
    once(platform, made.name, lambda unit: unit.status is UnitStatus.RUNNING)
    proxy_of(harness).freeze_streams()
    deletion = proxy_of(harness).hold(method="DELETE", path="/pods/")
    with ThreadPoolExecutor(1) as people:
        stopping = people.submit(platform.stop, made.name, grace=30)
        try:
            assert deletion.reached.wait(60)
            look = proxy_of(harness).hold(method="GET", path="/pods$", watch=False)
            deletion.release()
            wait_until(lambda: not harness.scratch.api.list(harness.scratch.pods), 60, "its pod is gone")
            look.release()
            once_ended(platform, made.name)
            assert not stopping.done()
        finally:
            proxy_of(harness).clear()
        stopping.result(60)

    assert [str(unit.evidence) for unit in platform.units()] == ["Stopped, ended by the agent, exit code 143"]


@pytest.mark.parametrize("kind", FORGETS)
def test_a_version_that_the_server_forgot(
    harness: KubernetesHarness, direct: KubernetesPlatform, kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    """There is one fresh list of each kind, and that is no error; units are there all the time."""
    platform, first, second = watching(harness), submission(), submission()
    direct.create(first)
    once_ended(platform, first.name)
    for each in KINDS:  # one each: whichever is watched anew first could take both
        proxy_of(harness).answer(*FORGETS[kind], path=f"/{each}$", watch=True)
    proxy_of(harness).cut_streams()
    direct.create(second)

    def is_over() -> bool:
        assert seen(platform, first.name) is not None
        unit = seen(platform, second.name)
        return unit is not None and unit.status.has_ended

    wait_until(is_over, 20, "the second ends")
    wait_until(lambda: are_watched_anew(harness, 3), 20, "watches of both kinds were refused, and follow the new lists")
    assert lists(harness) == {"jobs": 2, "pods": 2}
    assert warnings(caplog) == []


def test_a_list_whose_rest_the_server_forgot(harness: KubernetesHarness, caplog: pytest.LogCaptureFixture) -> None:
    """What was found so far is dropped, and the list begins anew."""
    ghost = {"metadata": {"name": "ghost", "uid": "1", "labels": {UNIT: "ghost"}, "resourceVersion": "1"}}
    page = {"kind": "JobList", "metadata": {"resourceVersion": "1", "continue": "more"}, "items": [ghost]}
    proxy_of(harness).answer(200, page, method="GET", path="/jobs$", watch=False)
    proxy_of(harness).answer(410, EXPIRED, method="GET", path="/jobs$", query={"continue": "more"})

    assert watching(harness).units() == []

    assert lists(harness) == {"jobs": 3, "pods": 1}
    assert warnings(caplog) == []


def test_a_watch_that_says_nothing_is_given_up(
    harness: KubernetesHarness, direct: KubernetesPlatform, caplog: pytest.LogCaptureFixture
) -> None:
    """After a time without event or bookmark there is a new one, from where the old one was."""
    # The silence is also what an answer may take to begin: it must be longer than this machine may stand still.
    platform, made = watching(harness, WatchRhythm(silence=6)), submission()
    proxy_of(harness).freeze_streams()
    direct.create(made)
    once_ended(direct, made.name)
    assert seen(platform, made.name) is None
    wait_until(lambda: are_watched_anew(harness, 2), 30, "both are watched anew")

    proxy_of(harness).thaw_streams()

    assert once_ended(platform, made.name).status is UnitStatus.SUCCEEDED
    assert lists(harness) == {"jobs": 1, "pods": 1}
    assert warnings(caplog) == []


def test_watches_are_renewed_before_anybody_cuts_them(
    harness: KubernetesHarness, caplog: pytest.LogCaptureFixture
) -> None:
    """The server is asked to end each in time, and to send bookmarks; it is not asked for a list again."""
    watching(harness, WatchRhythm(renewal=(1, 1)))
    wait_until(lambda: are_watched_anew(harness, 3), 20, "three watches of each kind")
    watches = [each for each in list(proxy_of(harness).requests) if each.is_watch]
    assert {each.query["timeoutSeconds"] for each in watches} == {"1"}
    assert {each.query["allowWatchBookmarks"] for each in watches} == {"true"}
    assert lists(harness) == {"jobs": 1, "pods": 1}
    assert warnings(caplog) == []


def test_events_that_make_no_sense(harness: KubernetesHarness, caplog: pytest.LogCaptureFixture) -> None:
    """Each is told of and passed over, in whatever way it makes none; the same watch brings what follows it."""
    nonsense = ["{", "[]", "1", '{"type": "ADDED"}', event("ADDED", "x"), event("ADDED", {"metadata": "x"}), "[" * 9999]
    harmless = [event("NEW", {"metadata": {}}), event("BOOKMARK", {}), '{"type": [], "object": {}}', "", " "]
    marks = {UNIT: "unit", FLOW_RUN_ID_LABEL: "run"}
    job = {"metadata": {"name": "unit", "uid": "1", "labels": marks, "resourceVersion": "999999999"}}
    lines = [line.strip() for line in (*nonsense, *harmless, event("ADDED", job))]
    proxy_of(harness).answer(200, "\n".join(lines) + "\n", path="/jobs$", watch=True)
    next_watch = proxy_of(harness).hold(path="/jobs$", watch=True)
    platform = harness.platform()
    assert len(platform.units()) <= 1

    wait_until(lambda: next_watch.reached.is_set() and platform.units(), 20, "the watch has ended")

    assert [unit.name for unit in platform.units()] == ["unit"]
    assert len(warnings(caplog)) == len(nonsense)
    assert {"cannot be read" in text for text in warnings(caplog)} == {True}
    assert lists(harness) == {"jobs": 1, "pods": 1}
    next_watch.release()


def test_a_hundred_jobs_cost_two_watches(harness: KubernetesHarness, direct: KubernetesPlatform) -> None:
    """Who follows units asks nothing about each of them."""
    platform = watching(harness)
    made = [submission(template={"spec": {"suspend": True}}) for _ in range(100)]
    before = len(proxy_of(harness).requests)
    for each in made:
        direct.create(each)

    wait_until(lambda: len(platform.units()) == 100, 20, "all are seen")

    assert {unit.status for unit in platform.units()} == {UnitStatus.PENDING}
    assert len(proxy_of(harness).requests) == before
    assert proxy_of(harness).count(watch=True) == 2


def test_a_list_that_takes_its_time(harness: KubernetesHarness) -> None:
    """Who asks for units is told so, and gets them when the list has come."""
    fault = proxy_of(harness).hold(method="GET", path="/pods$")
    platform = harness.platform(rhythm=WatchRhythm(first_list=0.2))
    with pytest.raises(PlatformUnavailable, match="the first list of Jobs and pods takes too long"):
        platform.units()
    fault.release()
    wait_until(lambda: proxy_of(harness).streams == 2, 20, "both kinds are watched")
    assert platform.units() == []


def test_what_is_too_old_is_not_believed(harness: KubernetesHarness) -> None:
    """Units that nobody has heard of for long are no answer; nor is silence."""
    platform = harness.platform(rhythm=WatchRhythm(renewal=(1, 1), stale=3.0))  # at each renewal the server is heard

    def knows() -> bool:
        return not trouble(platform.units) and not trouble(lambda: list(platform.watch(seconds=0.01)))

    wait_until(knows, 30, "the platform knows")
    proxy_of(harness).cut(times=None)
    proxy_of(harness).cut_streams()

    wait_until(lambda: "no Kubernetes API server answers" in trouble(platform.units), 30, "it knows that it does not")
    with pytest.raises(PlatformUnavailable):
        list(platform.watch(seconds=0.01))
    proxy_of(harness).clear()
    wait_until(knows, 60, "it knows again")
    assert list(platform.watch(seconds=0.01)) == []


def test_closing_ends_the_watches(harness: KubernetesHarness) -> None:
    """Connections and threads; whoever asks again begins anew."""
    platform = watching(harness)
    platform.close()
    platform.close()
    wait_until(lambda: proxy_of(harness).streams == 0, 20, "nothing is watched")
    assert platform.units() == []
    wait_until(lambda: proxy_of(harness).streams == 2, 20, "both kinds are watched")


def test_closing_in_the_middle_of_events(
    harness: KubernetesHarness, direct: KubernetesPlatform, caplog: pytest.LogCaptureFixture
) -> None:
    """A watch over TLS that is cut while events come takes no cipher text for one, and warns of nothing."""
    made = submission(template={"spec": {"suspend": True}})
    direct.create(made)
    job, over = f"{harness.scratch.jobs}/{made.name}", threading.Event()

    def change() -> None:
        number = 0
        while not over.is_set():
            number += 1
            harness.scratch.api.patch(job, {"metadata": {"annotations": {"number": str(number), "filler": 4000 * "x"}}})

    thread = threading.Thread(target=change)
    thread.start()
    try:
        for _ in range(20):
            assert len(direct.units()) == 1
            list(direct.watch(seconds=0.1))
            direct.close()
    finally:
        over.set()
        thread.join(20)

    assert warnings(caplog) == []

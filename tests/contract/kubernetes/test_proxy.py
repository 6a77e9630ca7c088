"""The proxy before the Kubernetes API server, with which tests make networks and API servers fail."""

import contextlib
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest
import requests

from support.kubernetes.api import Api
from support.kubernetes.scratch_namespace import MAY_CREATE, NOWHERE, ScratchNamespace, is_allowed, job
from support.waiting import wait_until

if TYPE_CHECKING:
    from support.kubernetes.control_plane import ControlPlane
    from support.kubernetes.proxy import FaultProxy

pytestmark = pytest.mark.kubernetes


@pytest.fixture
def scratch(control_plane: "ControlPlane", namespace: str) -> ScratchNamespace:
    """A new namespace."""
    return ScratchNamespace(control_plane.api, namespace)


@pytest.fixture
def client(fault_proxy: "FaultProxy", control_plane: "ControlPlane", scratch: ScratchNamespace) -> Iterator[Api]:
    """An account that comes through the proxy and may list pods and create Jobs."""
    token = control_plane.api.new_account(scratch.namespace, MAY_CREATE).token()
    with contextlib.closing(Api(fault_proxy.url, control_plane.ca, token=token)) as api:
        wait_until(lambda: is_allowed(lambda: api.list(scratch.pods)), 20, "the Role holds")
        fault_proxy.requests.clear()
        yield api


class TestFaultProxy:
    """Faults happen to the requests they are for, and to no others."""

    def test_requests_pass(self, client: Api, fault_proxy: "FaultProxy", scratch: ScratchNamespace) -> None:
        """Without faults nothing is different; requests are noted with what they are about."""
        made = client.post(scratch.jobs, job("one"))
        client.list(scratch.pods, labelSelector="a=b")

        assert scratch.api.get(f"{scratch.jobs}/one")["metadata"]["uid"] == made["metadata"]["uid"]
        assert [(each.method, each.kind) for each in fault_proxy.requests] == [("POST", "jobs"), ("GET", "pods")]
        assert fault_proxy.requests[-1].query == {"labelSelector": "a=b"}
        assert fault_proxy.requests[-1].authorization.startswith("Bearer ")
        assert (fault_proxy.count("POST", "jobs"), fault_proxy.count(), fault_proxy.count(watch=True)) == (1, 2, 0)

    def test_an_answer(self, client: Api, fault_proxy: "FaultProxy", scratch: ScratchNamespace) -> None:
        """As many requests as wanted are answered so, with these headers; what was asked for is not done."""
        fault_proxy.answer(429, headers={"Retry-After": "3"}, method="POST", path="/jobs$", times=2)
        url = fault_proxy.url + scratch.jobs

        client.list(scratch.pods)
        answers = [requests.post(url, verify=str(fault_proxy.ca), json={}, timeout=20) for _ in range(2)]
        client.post(scratch.jobs, job("one"))

        assert [(each.status_code, each.headers["Retry-After"]) for each in answers] == [(429, "3")] * 2
        assert answers[0].json()["reason"] == "TooManyRequests"
        assert len(scratch.api.list(scratch.jobs)) == 1

    @pytest.mark.parametrize("forwards", [True, False])
    def test_lost_answers(
        self, client: Api, fault_proxy: "FaultProxy", scratch: ScratchNamespace, forwards: bool
    ) -> None:
        """A replaced answer, and none at all: what was asked for is done if that is wanted."""
        fault_proxy.answer(500, forwards=forwards, method="POST")
        fault_proxy.cut(forwards=forwards, method="POST")

        with pytest.raises(Exception, match="500"):
            client.post(scratch.jobs, job("one"))
        with pytest.raises(requests.ConnectionError):
            client.post(scratch.jobs, job("two"))

        names = [job["metadata"]["name"] for job in scratch.api.list(scratch.jobs)]
        assert names == (["one", "two"] if forwards else [])

    def test_holding(self, client: Api, fault_proxy: "FaultProxy", scratch: ScratchNamespace) -> None:
        """A request that is held has not happened until it is released."""
        fault = fault_proxy.hold(method="POST")
        with ThreadPoolExecutor(1) as pool:
            posted = pool.submit(client.post, scratch.jobs, job("one"))
            assert fault.reached.wait(20)
            assert scratch.api.list(scratch.jobs) == []
            fault.release()
            assert posted.result(20)["metadata"]["name"] == "one"

    def test_watches_pass(self, client: Api, fault_proxy: "FaultProxy", scratch: ScratchNamespace) -> None:
        """Events come at once; a client that goes away is missed."""
        with _Listener(client, scratch) as listener:
            scratch.start(nodeSelector=NOWHERE)
            wait_until(lambda: listener.seen, 20, "an event comes")
            assert fault_proxy.count("GET", "pods", watch=True) == 1
            assert fault_proxy.streams == 1
        wait_until(lambda: fault_proxy.streams == 0, 20, "the watch is given up")

    @pytest.mark.parametrize("clean", [True, False])
    def test_cut_watches(self, client: Api, fault_proxy: "FaultProxy", scratch: ScratchNamespace, clean: bool) -> None:
        """A watch ends as if it had come to its end, or in the middle of nothing."""
        with _Listener(client, scratch) as listener:
            wait_until(lambda: fault_proxy.streams == 1, 20, "it watches")
            fault_proxy.cut_streams(clean=clean)
            listener.join()
        assert (listener.error is None) is clean

    def test_frozen_watches(self, client: Api, fault_proxy: "FaultProxy", scratch: ScratchNamespace) -> None:
        """A frozen watch is open and says nothing, even to its end; thawed, it brings what came meanwhile."""
        with _Listener(scratch.api, scratch) as undisturbed, _Listener(client, scratch) as listener:
            fault_proxy.freeze_streams()
            scratch.start(nodeSelector=NOWHERE)
            wait_until(lambda: len(undisturbed.seen) > 1, 20, "two events come to others")
            assert listener.seen == []
            fault_proxy.thaw_streams()
            wait_until(lambda: listener.seen, 20, "the event comes")
            fault_proxy.freeze_streams()
            fault_proxy.cut_streams()
            listener.join()

    def test_a_watch_can_be_refused(self, client: Api, fault_proxy: "FaultProxy", scratch: ScratchNamespace) -> None:
        """Faults may be for watches only."""
        fault_proxy.answer(410, watch=True)
        client.list(scratch.pods)

        with pytest.raises(ConnectionError, match="410"):
            client.watch(scratch.pods)

    def test_an_api_server_that_is_killed(
        self, client: Api, fault_proxy: "FaultProxy", scratch: ScratchNamespace, control_plane: "ControlPlane"
    ) -> None:
        """Its watches break, requests find nobody; afterwards the proxy leads to the new one."""
        with _Listener(client, scratch) as listener:
            wait_until(lambda: fault_proxy.streams == 1, 20, "it watches")
            control_plane.stop_api_server()
            listener.join()
            with pytest.raises(requests.ConnectionError):
                client.list(scratch.pods)
            control_plane.start_api_server()
        assert listener.error is not None
        assert client.list(scratch.pods) == []


class _Listener:
    """Watches pods in a thread."""

    def __init__(self, client: Api, scratch: ScratchNamespace) -> None:
        self.seen: list[object] = []
        self.error: Exception | None = None
        self._watch = client.watch(scratch.pods)
        self._thread = threading.Thread(target=self._listen)

    def __enter__(self) -> "_Listener":  # noqa: PYI034 - Self is not there before Python 3.11
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._watch.interrupt()
        self.join()
        self._watch.close()

    def join(self) -> None:
        """Return once the watch has ended."""
        self._thread.join(20)
        assert not self._thread.is_alive()

    def _listen(self) -> None:
        try:
            for event in self._watch:
                self.seen.append(event)
        except Exception as error:  # noqa: BLE001 - the test looks at it
            self.error = error

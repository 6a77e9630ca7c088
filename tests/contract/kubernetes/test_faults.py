"""The Kubernetes platform when a real API server is busy, broken, killed, or does not know the agent any more."""

import json
import logging
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import pytest

from prefect.agent.domain.errors import ConfigurationError, PlatformError, PlatformForbidden, PlatformUnavailable
from prefect.agent.domain.model.units import UnitStatus
from support.kubernetes.control_plane import ControlPlane
from support.kubernetes.harness import KEY, KubernetesHarness, kubernetes_harness, once_ended, seen, submission
from support.kubernetes.kubelet import ProcessKubelet
from support.kubernetes.proxy import FaultProxy
from support.pki import Pki
from support.waiting import wait_until

pytestmark = pytest.mark.kubernetes

CREATE: Final[dict[str, Any]] = {"method": "POST", "path": "/jobs$"}


@pytest.fixture
def harness(
    control_plane: ControlPlane, kubelet: ProcessKubelet, fault_proxy: FaultProxy
) -> Iterator[KubernetesHarness]:
    """A new namespace, behind the proxy."""
    with kubernetes_harness(control_plane, proxy=fault_proxy) as harness:
        yield harness


def in_the_end(call: Callable[[], Any], seconds: float = 60) -> Any:
    """What the call returns once it raises nothing."""
    found: list[Any] = []

    def works() -> bool:
        try:
            found[:] = [call()]
        except PlatformUnavailable:
            return False
        return True

    wait_until(works, seconds, "it works again")
    return found[0]


class TestBusy:
    """An API server that asks for time."""

    @pytest.mark.parametrize(
        "which",
        [
            CREATE,
            {"method": "GET", "path": "/jobs$", "watch": False},
            {"method": "GET", "path": "/pods$", "watch": True},
        ],
        ids=["create", "list", "watch"],
    )
    def test_it_gets_the_time_that_it_asks_for(
        self,
        harness: KubernetesHarness,
        fault_proxy: FaultProxy,
        which: dict[str, Any],
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        """After a 429 with Retry-After nothing at all is sent before; then it works."""
        fault = fault_proxy.answer(429, headers={"Retry-After": "1"}, **which)
        platform, made = harness.platform(), submission()
        began = time.monotonic()
        if which is CREATE:
            with pytest.raises(PlatformUnavailable, match="429") as raised:
                platform.create(made)
            assert raised.value.retry_after == 1
        else:
            in_the_end(lambda: platform.units() or True)
            wait_until(lambda: "HTTP 429" in caplog.text, 20, "the answer has come")
        assert fault.reached.is_set()
        asked = len(fault_proxy.requests)

        in_the_end(lambda: platform.create(made))

        assert time.monotonic() - began >= 1
        assert len(fault_proxy.requests) > asked
        assert once_ended(platform, made.name).status is UnitStatus.SUCCEEDED

    @pytest.mark.parametrize("status", [500, 503, 504])
    def test_a_list_that_fails(
        self, harness: KubernetesHarness, fault_proxy: FaultProxy, status: int, caplog: pytest.LogCaptureFixture
    ) -> None:
        """Whoever asks is told; it is tried again, and told in the log once."""
        fault_proxy.answer(status, path="/jobs$", watch=False, times=None)
        platform = harness.platform()
        with pytest.raises(PlatformUnavailable, match=f"could not watch jobs.*HTTP {status}"):
            platform.units()
        wait_until(lambda: fault_proxy.count(kind="jobs", watch=False) >= 2, 20, "it is tried again")
        fault_proxy.clear()
        assert in_the_end(platform.units) == []
        assert len([each for each in caplog.records if each.levelno == logging.WARNING]) == 1


class TestLostAnswers:
    """Creating is repeated until it is known to have worked; the unit is started once."""

    FAULTS: Final[dict[str, Callable[[FaultProxy], object]]] = {
        "500 without effect": lambda proxy: proxy.answer(500, **CREATE),
        "500 with effect": lambda proxy: proxy.answer(500, forwards=True, **CREATE),
        "no answer, with effect": lambda proxy: proxy.cut(forwards=True, **CREATE),
        "no JSON, with effect": lambda proxy: proxy.answer(200, "<html>", forwards=True, **CREATE),
        "no Secret": lambda proxy: proxy.answer(500, method="POST", path="/secrets$"),
        "a Secret whose answer is lost": lambda proxy: proxy.cut(forwards=True, method="POST", path="/secrets$"),
    }

    @pytest.mark.parametrize("fault", FAULTS)
    def test_creating_again(
        self, harness: KubernetesHarness, fault_proxy: FaultProxy, kubelet: ProcessKubelet, fault: str
    ) -> None:
        """One Job, one Secret, one start, and the start has the key."""
        self.FAULTS[fault](fault_proxy)
        platform, made = harness.platform(), submission()
        with pytest.raises(PlatformUnavailable):
            platform.create(made)

        unit = platform.create(made)

        assert once_ended(platform, made.name).id == unit.id
        assert kubelet.starts(made.name) == 1
        assert kubelet.environment(made.name)["API_KEY"] == KEY
        assert [job["metadata"]["name"] for job in harness.scratch.api.list(harness.scratch.jobs)] == [made.name]
        assert len(harness.secrets()) == 1

    def test_a_job_without_its_secret_is_unstarted(self, harness: KubernetesHarness, fault_proxy: FaultProxy) -> None:
        """It is seen as such by others, however the node puts it."""
        fault_proxy.cut(method="POST", path="/secrets$")
        platform, made = harness.platform(), submission()
        with pytest.raises(PlatformUnavailable):
            platform.create(made)
        wait_until(lambda: getattr(seen(platform, made.name), "status", None) is UnitStatus.CREATED, 20, "unstarted")
        platform.stop(made.name, grace=1)
        assert platform.unit(made.name) is None


class TestKilled:
    """An API server that is killed and comes back."""

    def test_nothing_is_lost(
        self,
        harness: KubernetesHarness,
        control_plane: ControlPlane,
        kubelet: ProcessKubelet,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        """Units end while nobody hears of it, and are known to have ended within seconds; no list is needed."""
        platform = harness.platform()
        gate = kubelet.folder / f"{harness.namespace}.gate"
        waits = f"while [ ! -e {gate} ]; do sleep 0.05; done; exit 7"
        going, late = [submission(waits) for _ in range(5)], submission()
        for each in going:
            platform.create(each)
        wait_until(lambda: all(kubelet.is_executing(each.name) for each in going), 20, "all execute")

        control_plane.stop_api_server()
        gate.touch()
        with pytest.raises(PlatformUnavailable, match=r"no Kubernetes API server answers|could not create"):
            platform.create(late)
        wait_until(lambda: not any(kubelet.is_executing(each.name) for each in going), 20, "all have ended")
        control_plane.start_api_server()

        in_the_end(lambda: platform.create(late))
        in_the_end(platform.units)
        ends = [once_ended(platform, each.name) for each in going]
        assert [str(unit.evidence) for unit in ends] == ["Error, exit code 7"] * 5
        assert once_ended(platform, late.name).status is UnitStatus.SUCCEEDED
        assert {kubelet.starts(each.name) for each in (*going, late)} == {1}
        assert "Bug" not in caplog.text


class TestNobodyThere:
    """The wrong address, and somebody else at the right one."""

    def test_connection_refused(self, control_plane: ControlPlane, harness: KubernetesHarness) -> None:
        """The address is named, the reason is true, and there is a hint."""
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            server = f"https://127.0.0.1:{taken.getsockname()[1]}"
            config = control_plane.kubeconfig_for_token("x", harness.namespace, server=server)
            with pytest.raises(PlatformUnavailable, match=rf"answers at {server} \(.*Connection refused\).*kubeconfig"):
                harness.platform(kubeconfig=str(config)).check()

    def test_an_authority_that_nobody_knows(
        self, control_plane: ControlPlane, harness: KubernetesHarness, tmp_path: Path
    ) -> None:
        """Trust is what is missing, and where it is to be put is said."""
        other = Pki(tmp_path / "pki").authority.certificate
        config = control_plane.kubeconfig_for_token(harness.account.token(), harness.namespace, ca=other)
        platform = harness.platform(kubeconfig=str(config))
        words = "does not trust the Kubernetes API.*certificate verify failed.*certificate authority in the kubeconfig"
        with pytest.raises(PlatformUnavailable, match=words):
            platform.check()
        with pytest.raises(PlatformUnavailable, match=words):
            platform.units()


class TestCredentials:
    """Tokens that change and end."""

    @pytest.fixture
    def token(self, harness: KubernetesHarness, fault_proxy: FaultProxy, tmp_path: Path) -> "TokenFile":
        """A file that a kubeconfig refers to."""
        return TokenFile(tmp_path, Path(harness.kubeconfig()))

    def test_a_token_that_was_renewed(
        self, harness: KubernetesHarness, fault_proxy: FaultProxy, token: "TokenFile"
    ) -> None:
        """Its file is read again when the old one is not accepted, once; all goes on, for threads as for watches."""
        token.write("stale-token")
        platform, made = harness.platform(kubeconfig=token.kubeconfig), submission()
        token.write(f"{harness.account.token()}\n")

        platform.create(made)

        assert once_ended(platform, made.name).status is UnitStatus.SUCCEEDED
        posts = [each.authorization for each in fault_proxy.requests if each.method == "POST" and each.kind == "jobs"]
        assert posts[0] == "Bearer stale-token"
        assert len(posts) == 2
        assert sum(each.authorization == posts[0] for each in fault_proxy.requests) == 1

    def test_a_watch_whose_token_ended(
        self, harness: KubernetesHarness, fault_proxy: FaultProxy, token: "TokenFile", caplog: pytest.LogCaptureFixture
    ) -> None:
        """It goes on with a new one, without a list and without an alarm."""
        token.write(harness.account.token())
        platform, made = harness.platform(kubeconfig=token.kubeconfig), submission()
        assert platform.units() == []
        wait_until(lambda: fault_proxy.streams == 2, 20, "both kinds are watched")
        fresh = harness.account.token(1200)
        token.write(fresh)
        fault_proxy.answer(401, watch=True)
        fault_proxy.cut_streams()
        wait_until(lambda: fault_proxy.count(watch=True) == 5, 20, "one of the two is asked for twice")

        platform.create(made)

        assert once_ended(platform, made.name).status is UnitStatus.SUCCEEDED
        assert fault_proxy.requests[-1].authorization == f"Bearer {fresh}"
        assert [each.getMessage() for each in caplog.records if each.levelno >= logging.WARNING] == []

    def test_a_token_that_is_not_accepted(
        self, harness: KubernetesHarness, fault_proxy: FaultProxy, token: "TokenFile"
    ) -> None:
        """It is read again once, and then a person has to do something; the token is not in the message."""
        token.write("stale-token")
        platform = harness.platform(kubeconfig=token.kubeconfig)
        words = "does not accept the agent's credentials.*Renew the token"
        for ask in (platform.check, lambda: platform.create(submission()), lambda: platform.identity):
            before = len(fault_proxy.requests)
            with pytest.raises(PlatformForbidden, match=words) as raised:
                ask()
            assert "stale-token" not in str(raised.value)
            assert len(fault_proxy.requests) == before + 2

    def test_a_token_that_cannot_be_one(self, harness: KubernetesHarness, token: "TokenFile") -> None:
        """It is not shown, neither here nor in what caused it."""
        token.write("se\ncret")
        platform = harness.platform(kubeconfig=token.kubeconfig)
        with pytest.raises(PlatformError, match="the token has characters that no token can have") as raised:
            platform.check()
        problem: BaseException | None = raised.value
        while problem is not None:
            assert "cret" not in str(problem)
            problem = problem.__cause__ or problem.__context__

    def test_a_kubeconfig_that_vanished(
        self, harness: KubernetesHarness, fault_proxy: FaultProxy, token: "TokenFile"
    ) -> None:
        """The credentials that there were are used; nothing but the refusal is told."""
        token.write("stale-token")
        platform = harness.platform(kubeconfig=token.kubeconfig)
        Path(token.kubeconfig).unlink()
        with pytest.raises(PlatformForbidden, match="does not accept the agent's credentials"):
            platform.check()
        with pytest.raises(ConfigurationError, match="cannot find the Kubernetes cluster"):
            harness.platform(kubeconfig=token.kubeconfig)


class TokenFile:
    """A file with a token, and a kubeconfig that refers to it."""

    def __init__(self, folder: Path, like: Path) -> None:
        self._file, path = folder / "token", folder / "kubeconfig"
        config = json.loads(like.read_text())
        config["users"][0]["user"] = {"tokenFile": str(self._file)}
        path.write_text(json.dumps(config))
        self.kubeconfig = str(path)

    def write(self, token: str) -> None:
        """Replace the token."""
        self._file.write_text(token)

"""The Kubernetes platform before an API server, or a program for credentials, that is late or makes no sense."""

import json
import logging
import os
import time
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta, timezone
from functools import partial
from pathlib import Path
from typing import Any, Final, cast

import pytest

from prefect.agent.adapters.kubernetes import KubernetesPlatform, jobs, plugins, reflector, templates
from prefect.agent.adapters.kubernetes import api_server as access
from prefect.agent.adapters.kubernetes.api_server import Cluster
from prefect.agent.adapters.kubernetes.jobs import Scope
from prefect.agent.adapters.kubernetes.manifest import JobDefaults
from prefect.agent.adapters.kubernetes.reflector import WatchRhythm
from prefect.agent.adapters.kubernetes.throttle import Throttle
from prefect.agent.domain.errors import PlatformUnavailable
from prefect.agent.domain.model.units import Unit, UnitStatus
from prefect.agent.ports.platform import TEXT_LIMIT
from support.kubernetes_objects import a_job_object, a_pod_object
from support.processes import has_ended
from support.stub_server import StubServer, drips, says, stub_api_server
from support.waiting import wait_until

JOBS: Final = "/apis/batch/v1/namespaces/metrics/jobs"
PODS: Final = "/api/v1/namespaces/metrics/pods"
LATE: Final = "did not answer in time"


@pytest.fixture
def server() -> Iterator[StubServer]:
    """One that knows no objects."""
    with stub_api_server() as server:
        for path, kind in ((JOBS, "JobList"), (PODS, "PodList")):
            server.answers[f"GET {path}"] = listing(kind)
        yield server


@pytest.fixture
def kubeconfig(server: StubServer, tmp_path: Path) -> Callable[..., str]:
    """Writes a kubeconfig of that server and returns its path."""

    def write(**user: Any) -> str:
        config = {
            "clusters": [{"name": "c", "cluster": {"server": server.address}}],
            "users": [{"name": "u", "user": user or {"token": "t0ken"}}],
            "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u", "namespace": "metrics"}}],
            "current-context": "x",
        }
        (tmp_path / "kubeconfig").write_text(json.dumps(config))
        return str(tmp_path / "kubeconfig")

    return write


@pytest.fixture
def platform(kubeconfig: Callable[..., str]) -> Iterator[KubernetesPlatform]:
    """Asks that server."""
    platform = made(kubeconfig())
    yield platform
    platform.close()


def made(kubeconfig: str) -> KubernetesPlatform:
    """A platform of that kubeconfig."""
    return KubernetesPlatform(
        Cluster(kubeconfig=kubeconfig, throttle=Throttle(200, 400)),
        scope=Scope(namespace="metrics"),
        defaults=JobDefaults(namespace="metrics"),
        template=templates.BUILT_IN,
        rhythm=WatchRhythm(first_list=5, pause=0.05),
    )


def listing(kind: str, *items: object) -> Any:
    """Answer a list with these items, or a watch with nothing for a while."""
    plain = says({"kind": kind, "metadata": {"resourceVersion": "9"}, "items": list(items)})
    silent = drips(piece=b"", every=0.05)

    def answer(handler: Any) -> None:
        (silent if "watch=true" in handler.path else plain)(handler)

    return answer


class TestDeadlines:
    """Each answer has a time for the whole of it, however it comes."""

    @pytest.mark.parametrize("head", [True, False], ids=["in the head", "in the body"])
    def test_an_answer_byte_by_byte_is_given_up(
        self, server: StubServer, platform: KubernetesPlatform, monkeypatch: pytest.MonkeyPatch, *, head: bool
    ) -> None:
        """A byte now and then does not keep the caller."""
        quick(monkeypatch)
        server.answers[f"GET {JOBS}/unit"] = drips(head=head, piece=b"x" if head else b" ")
        with pytest.raises(PlatformUnavailable, match=LATE):
            platform.unit("unit")

    def test_a_list_byte_by_byte_is_given_up(
        self, server: StubServer, platform: KubernetesPlatform, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Sweeps do not stand still, and no empty list is believed."""
        monkeypatch.setattr(reflector, "LIST_DEADLINE", 0.5)
        server.answers[f"GET {JOBS}"] = drips()
        with pytest.raises(PlatformUnavailable, match=LATE):
            platform.units()

    def test_output_byte_by_byte_is_given_up(
        self,
        server: StubServer,
        platform: KubernetesPlatform,
        monkeypatch: pytest.MonkeyPatch,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        """A run's last lines are good to have, but not at any price; the log says why there are none."""
        monkeypatch.setattr(jobs, "OUTPUT_DEADLINE", 0.5)
        server.answers[f"GET {JOBS}/unit"] = says(a_job_object())
        server.answers[f"GET {PODS}"] = listing("PodList", a_pod_object(phase="Running"))
        server.answers[f"GET {PODS}/.*/log"] = drips(piece=b"x")
        with caplog.at_level(logging.INFO, "prefect.agent.kubernetes"):
            platform.logs_tail("unit")
        assert LATE in caplog.text

    def test_long_output_does_not_begin_in_the_middle_of_a_secret(
        self, server: StubServer, platform: KubernetesPlatform
    ) -> None:
        """What is masked later is whole words: the rest of a key would pass as it is."""
        server.answers[f"GET {JOBS}/unit"] = says(a_job_object())
        server.answers[f"GET {PODS}"] = listing("PodList", a_pod_object(phase="Running"))
        after = b" and more ".ljust(TEXT_LIMIT - 5, b".")
        server.answers[f"GET {PODS}/.*/log"] = says(b"the key is SECRET-0123456789" + after)
        assert platform.logs_tail("unit").startswith("and more")


def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Half a second for each answer."""
    send = Cluster.send.__wrapped__ if hasattr(Cluster.send, "__wrapped__") else Cluster.send
    monkeypatch.setattr(access, "CONNECT", 0.2)
    monkeypatch.setattr(
        Cluster, "send", lambda self, *words, **more: send(self, *words, **{"timeout": 0.5, "deadline": 0.5, **more})
    )


class TestAbsence:
    """Only the API server's own word means that there is no such object."""

    @pytest.mark.parametrize(
        ("status", "body"),
        [
            (404, b"<html>no route</html>"),
            (404, {}),
            (404, {"message": "default backend"}),
            (200, {}),
            (200, b"<html>log in</html>"),
            (200, []),
            (410, {"kind": "Status", "code": 410, "reason": "Gone"}),
            (500, {"kind": "Status", "code": 500}),
            (503, b""),
        ],
        ids=str,
    )
    def test_another_answer_raises(
        self, server: StubServer, platform: KubernetesPlatform, status: int, body: object
    ) -> None:
        """For one unit and for the end of one."""
        server.answers[f"GET {JOBS}/unit"] = says(body, status)
        with pytest.raises(PlatformUnavailable):
            platform.unit("unit")
        with pytest.raises(PlatformUnavailable):
            platform.stop("unit", grace=1)

    @pytest.mark.parametrize(
        ("status", "body"), [(404, {}), (200, {}), (200, {"items": {}}), (200, []), (410, {"code": 410}), (503, b"")]
    )
    def test_a_list_that_is_none_raises(
        self, server: StubServer, platform: KubernetesPlatform, status: int, body: object
    ) -> None:
        """It does not say that there are no units."""
        server.answers[f"GET {JOBS}"] = says(body, status)
        with pytest.raises(PlatformUnavailable):
            platform.units()

    def test_pods_that_cannot_be_listed_are_not_gone(self, server: StubServer, platform: KubernetesPlatform) -> None:
        """An answer that is no list does not end a unit."""
        server.answers[f"GET {JOBS}/unit"] = says(a_job_object())
        server.answers[f"GET {PODS}"] = says({"hello": "world"})
        with pytest.raises(PlatformUnavailable, match="not a list"):
            platform.unit("unit")

    def test_its_own_word_is_believed(self, server: StubServer, platform: KubernetesPlatform) -> None:
        """Then the unit is absent."""
        server.answers[f"GET {JOBS}/unit"] = says({"kind": "Status", "code": 404, "reason": "NotFound"}, 404)
        assert platform.unit("unit") is None


def with_changes(thing: dict[str, Any], **changes: Any) -> dict[str, Any]:
    """An object with other metadata."""
    return {**thing, "metadata": {**thing["metadata"], **changes}}


BROKEN: Final[dict[str, Any]] = {
    "nothing": None,
    "a text": "x",
    "no metadata": {},
    "metadata are a list": {"metadata": []},
    "labels are a list": with_changes(a_job_object("broken"), labels=["x"]),
    "no run id": with_changes(a_job_object("broken"), annotations=None, labels={"prefect.io/unit": "broken"}),
}
ODD: Final[dict[str, Any]] = {
    "no status": {**a_job_object("odd"), "status": None},
    "a status of words": {**a_job_object("odd"), "status": "fine"},
    "no spec": {**a_job_object("odd"), "spec": None},
    "a time of words": with_changes(a_job_object("odd"), creationTimestamp="yesterday"),
    "deleted never": with_changes(a_job_object("odd"), deletionTimestamp=None),
    "conditions of words": {
        **a_job_object("odd"),
        "status": {"conditions": ["Complete", {"type": 7, "status": "True"}]},
    },
}


class TestUnreadable:
    """One Job that makes no sense hides no other."""

    @pytest.mark.parametrize("broken", BROKEN.values(), ids=BROKEN)
    def test_a_job_without_identity_is_passed_over(
        self, server: StubServer, platform: KubernetesPlatform, broken: object
    ) -> None:
        """All others are listed."""
        server.answers[f"GET {JOBS}"] = listing("JobList", a_job_object("one"), broken, a_job_object("two"))
        assert sorted(unit.name for unit in platform.units()) == ["one", "two"]

    @pytest.mark.parametrize("odd", ODD.values(), ids=ODD)
    def test_a_job_is_read_as_far_as_it_can_be(
        self, server: StubServer, platform: KubernetesPlatform, odd: object
    ) -> None:
        """A unit that is there is never absent, nor ended before Kubernetes says so."""
        server.answers[f"GET {JOBS}"] = listing("JobList", odd, a_job_object("one"))
        found = {unit.name: unit for unit in platform.units()}
        assert found.keys() == {"odd", "one"}
        assert not found["odd"].status.has_ended

    def test_a_warning_is_given_once(
        self, server: StubServer, platform: KubernetesPlatform, caplog: pytest.LogCaptureFixture
    ) -> None:
        """For each unit, however often it is listed."""
        server.answers[f"GET {JOBS}"] = listing("JobList", BROKEN["no run id"])
        for _ in range(3):
            assert platform.units() == []
        assert [each.getMessage() for each in caplog.records if each.levelno >= logging.WARNING] == [
            "cannot read of broken: its flow run's id; it is left alone"
        ]

    def test_a_bug_in_reading_one_unit_hides_no_other(
        self, server: StubServer, platform: KubernetesPlatform, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Not even that one: it is taken to execute."""
        server.answers[f"GET {JOBS}"] = listing("JobList", a_job_object("one"), a_job_object("two"))
        real = platform._known

        def known(name: str) -> Unit | None:
            return real(name) if name == "two" else cast("Unit", bool(1 // 0))

        monkeypatch.setattr(platform, "_known", known)
        found = {unit.name: unit.status for unit in platform.units()}
        assert found == {"one": UnitStatus.RUNNING, "two": UnitStatus.PENDING}


class TestClock:
    """The API server's time of day."""

    @pytest.mark.parametrize(("ahead", "low", "high"), [(100, 98, 102), (-100, -102, -98), (0, 0, 0), (1, 0, 0)])
    def test_the_skew_is_that_of_the_latest_answer(
        self, server: StubServer, platform: KubernetesPlatform, ahead: float, low: float, high: float
    ) -> None:
        """Less than two seconds is within the error of measurement."""
        assert platform.skew == 0.0
        server.ahead = ahead
        platform.units()
        assert low <= platform.skew <= high

    def test_times_of_units_are_the_servers(self, server: StubServer, platform: KubernetesPlatform) -> None:
        """When waiting becomes hopeless is said in the server's time, also where this machine saw it begin."""
        server.ahead = 3600
        waits = {"name": "flow", "state": {"waiting": {"reason": "ErrImagePull", "message": "no"}}}
        pod = a_pod_object()
        pod["status"] = {"phase": "Pending", "containerStatuses": [waits]}
        platform.units()  # the first answer tells the time
        server.answers[f"GET {JOBS}/unit"] = says(a_job_object())
        server.answers[f"GET {PODS}"] = listing("PodList", pod)
        unit = platform.unit("unit")
        assert unit is not None
        assert unit.hopeless_at is not None
        left = unit.hopeless_at - datetime.now(timezone.utc) - timedelta(seconds=platform.skew)
        assert timedelta(seconds=50) < left <= timedelta(seconds=61)


class TestPlugins:
    """Programs that a kubeconfig names for credentials."""

    @pytest.fixture
    def login(self, tmp_path: Path, kubeconfig: Callable[..., str]) -> Callable[[str], str]:
        """Writes such a program and a kubeconfig that names it."""

        def write(script: str) -> str:
            program = tmp_path / "lab-login"
            program.write_text(f"#!/bin/sh\n{script}\n")
            program.chmod(0o755)
            return kubeconfig(exec={"apiVersion": "client.authentication.k8s.io/v1", "command": str(program)})

        return write

    def test_a_program_that_sleeps_is_ended(
        self, login: Callable[[str], str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """With all that it started; the error has its name and its words."""
        monkeypatch.setattr(plugins, "DEADLINE", 1.0)
        config = login(f"echo please touch the key >&2\nsleep 600 &\necho $$ $! > {tmp_path}/pids\nwait")
        began = time.monotonic()
        with pytest.raises(PlatformUnavailable, match=r"lab-login'.*within 1 s.*please touch the key"):
            made(config).check()
        assert time.monotonic() - began < 20
        for pid in (tmp_path / "pids").read_text().split():
            wait_until(partial(has_ended, pid), what=f"the end of {pid}")

    @pytest.mark.parametrize(
        ("script", "words"),
        [
            ("echo expired session >&2; exit 3", "exit code 3 .*expired session"),
            ("echo hello", "no ExecCredential"),
            ("echo '{}'", "no ExecCredential"),
            (f"echo '{json.dumps({'apiVersion': 'x/v2', 'status': {}})}'", "it speaks 'x/v2'"),
            (
                f"echo '{json.dumps({'apiVersion': 'client.authentication.k8s.io/v1', 'status': {}})}'",
                "neither a token",
            ),
        ],
    )
    def test_a_program_that_gives_none_is_named(self, login: Callable[[str], str], script: str, words: str) -> None:
        """With what it said; the agent does not go on without credentials."""
        with pytest.raises(PlatformUnavailable, match=f"lab-login.*{words}"):
            made(login(script)).check()

    def test_a_program_that_is_not_there_is_named(self, kubeconfig: Callable[..., str]) -> None:
        """With the system's words."""
        config = kubeconfig(exec={"apiVersion": "client.authentication.k8s.io/v1", "command": "/no/such/login"})
        with pytest.raises(PlatformUnavailable, match=r"/no/such/login.*No such file"):
            made(config).check()

    def test_a_token_is_used_and_renewed(self, login: Callable[[str], str], server: StubServer, tmp_path: Path) -> None:
        """When it expires, and with the answer of then; if there is none then, that is unavailable, not forbidden."""
        (tmp_path / "token").write_text("one")
        past = "2020-01-01T00:00:00Z"
        status = f'{{"token": "\'$(cat {tmp_path}/token)\'", "expirationTimestamp": "{past}"}}'
        answer = f'{{"apiVersion": "client.authentication.k8s.io/v1", "kind": "ExecCredential", "status": {status}}}'
        platform = made(login(f"cat {tmp_path}/token > {os.devnull} || exit 4\necho '{answer}'"))
        try:
            server.answers[f"GET {JOBS}/unit"] = says(a_job_object())
            for token in ("one", "two"):
                (tmp_path / "token").write_text(token)
                platform.unit("unit")
            sent = [headers["authorization"] for line, headers in server.headers if line == f"GET {JOBS}/unit"]
            assert sent == ["Bearer one", "Bearer two"]
            (tmp_path / "token").unlink()
            with pytest.raises(PlatformUnavailable, match=r"no credentials for .*lab-login.*exit code 4.*No such file"):
                platform.unit("unit")
        finally:
            platform.close()

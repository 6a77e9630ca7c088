"""The Docker platform before an engine that is late, broken, or says what no engine should say."""

import json
import logging
import os
import resource
import time
from collections.abc import Iterator
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any, Final

import pytest

from prefect.agent.adapters.docker import DockerPlatform, credentials, images
from prefect.agent.adapters.docker.engine import DockerEngine
from prefect.agent.adapters.docker.following import changed_names
from prefect.agent.domain.errors import PlatformUnavailable, SubmissionRefused
from prefect.agent.domain.model.flow_runs import FlowRunId
from prefect.agent.domain.model.submissions import Submission
from prefect.agent.domain.model.units import UnitStatus
from support.processes import has_ended
from support.stub_server import StubServer, drips, says, stub_engine
from support.waiting import wait_until

LATE: Final = "did not answer in time"


@pytest.fixture
def engine() -> Iterator[StubServer]:
    """One that knows no containers."""
    with stub_engine() as engine:
        yield engine


@pytest.fixture
def platform(engine: StubServer) -> Iterator[DockerPlatform]:
    """Asks that engine."""
    platform = DockerPlatform(base_url=engine.address)
    yield platform
    platform.close()


@pytest.fixture
def hasty(engine: StubServer) -> Iterator[DockerPlatform]:
    """Asks that engine, with a second for each answer."""
    platform = DockerPlatform(base_url=engine.address, docker_client_timeout=1)
    yield platform
    platform.close()


def entry(name: str, **changes: Any) -> dict[str, Any]:
    """A container in the engine's list."""
    marks = {"io.prefect.agent.unit": name, "io.prefect.flow-run-id": f"run-of-{name}", "io.prefect.agent.attempt": "1"}
    about = {"Id": f"id-{name}", "Names": [f"/{name}"], "Labels": marks, "State": "running", "Created": 1_700_000_000}
    return {**about, **changes}


def about(name: str, state: object, **changes: Any) -> dict[str, Any]:
    """A container as the engine describes it by itself."""
    marks = entry(name)["Labels"]
    return {"Id": f"id-{name}", "Name": f"/{name}", "Config": {"Labels": marks}, "State": state, **changes}


def of_image(image: str = "registry.test/x:1") -> Submission:
    """A submission with an image."""
    return Submission(name="unit", flow_run_id=FlowRunId("run"), attempt="1", command=("true",), image=image)


class TestDeadlines:
    """Each answer has a time for the whole of it, however it comes."""

    @pytest.mark.parametrize("head", [True, False], ids=["in the head", "in the body"])
    @pytest.mark.parametrize("path", ["GET /version", "GET /containers/json"])
    def test_an_answer_byte_by_byte_is_given_up(
        self, engine: StubServer, hasty: DockerPlatform, path: str, *, head: bool
    ) -> None:
        """A byte now and then does not keep the caller."""
        engine.answers[path] = drips(head=head, piece=b"x" if head else b" ")
        began = time.monotonic()
        with pytest.raises(PlatformUnavailable):
            hasty.units()
        assert time.monotonic() - began < 10

    def test_the_message_says_that_time_is_up(self, engine: StubServer, hasty: DockerPlatform) -> None:
        """Not that there is no engine."""
        engine.answers["GET /containers/json"] = drips()
        with pytest.raises(PlatformUnavailable, match=LATE):
            hasty.units()

    def test_a_pull_byte_by_byte_is_given_up(
        self, engine: StubServer, platform: DockerPlatform, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A registry that sends a little for ever does not hold a slot for ever."""
        monkeypatch.setattr(images, "DEADLINE", 0.5)
        engine.answers["POST /images/create"] = drips(piece=b'{"status":"Downloading"}\n')
        with pytest.raises(PlatformUnavailable, match=rf"{LATE} to pull registry.test/x:1"):
            platform.prepare(of_image())

    def test_a_logs_tail_byte_by_byte_is_given_up(self, engine: StubServer, hasty: DockerPlatform) -> None:
        """Output is good to have, but not at any price."""
        engine.answers["GET /containers/unit/json"] = says(about("unit", {"Status": "running", "Running": True}))
        engine.answers["GET /containers/id-unit/logs"] = drips(piece=b"x")
        with pytest.raises(PlatformUnavailable, match=LATE):
            hasty.logs_tail("unit")

    def test_events_may_take_their_time(self, engine: StubServer) -> None:
        """A stream that is followed is not cut at the timeout of a plain answer."""
        event = {"Actor": {"Attributes": {"name": "unit"}}}
        engine.answers["GET /events"] = drips(piece=json.dumps(event).encode() + b"\n", every=0.1)
        with closing(DockerEngine(engine.address, timeout=1)) as asked:
            began = time.monotonic()
            found = [time.monotonic() - began for _ in changed_names(asked, seconds=2)]
        assert found[-1] > 1.2


class TestCredentialHelpers:
    """Programs of others that know the way into a registry."""

    @pytest.fixture
    def helper(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
        """The script that is asked, still to be written."""
        (tmp_path / "config.json").write_text(json.dumps({"credsStore": "lab"}))
        monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
        monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
        return tmp_path / "docker-credential-lab"

    def test_a_helper_that_sleeps_is_ended(
        self,
        engine: StubServer,
        platform: DockerPlatform,
        helper: Path,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        """With all that it started; the error has its name and its words, and the pull is not tried without it."""
        monkeypatch.setattr(credentials, "HELPER_DEADLINE", 1.0)
        write(helper, f"echo please unlock me >&2\nsleep 600 &\necho $$ $! > {tmp_path}/pids\nwait")
        with pytest.raises(PlatformUnavailable, match=r"docker-credential-lab .*please unlock me"):
            platform.prepare(of_image())
        for pid in (tmp_path / "pids").read_text().split():
            wait_until(partial(has_ended, pid), what=f"the end of {pid}")
        assert engine.asked("POST /images/create") == 0

    def test_the_image_that_is_here_will_do(
        self,
        engine: StubServer,
        platform: DockerPlatform,
        helper: Path,
        caplog: pytest.LogCaptureFixture,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        """A broken helper stops no flow run whose image is on the engine; the log says so."""
        monkeypatch.setattr(credentials, "HELPER_DEADLINE", 0.2)
        write(helper, "sleep 600")
        engine.answers["GET /images/registry.test/x:1/json"] = says({"Id": "x"})
        platform.prepare(of_image())
        assert "docker-credential-lab" in caplog.text

    def test_a_helper_that_answers_is_used(self, engine: StubServer, platform: DockerPlatform, helper: Path) -> None:
        """Its answer goes to the engine, the one of now and not the one of the agent's start."""
        engine.answers["POST /images/create"] = says(b'{"status":"done"}\n')
        for secret in ("one", "two"):
            write(helper, f"""cat > /dev/null; echo '{{"Username":"me","Secret":"{secret}"}}'""")
            platform.prepare(of_image())
        sent = [headers["X-Registry-Auth"] for line, headers in engine.headers if line == "POST /images/create"]
        assert len(set(sent)) == 2

    def test_a_helper_that_knows_nothing_is_no_error(
        self, engine: StubServer, platform: DockerPlatform, helper: Path
    ) -> None:
        """The pull goes on without credentials."""
        engine.answers["POST /images/create"] = says(b'{"status":"done"}\n')
        write(helper, "echo credentials not found in native keychain; exit 1")
        platform.prepare(of_image())
        assert engine.asked("POST /images/create") == 1

    def test_a_helper_that_fails_is_named(self, platform: DockerPlatform, helper: Path) -> None:
        """With what it said."""
        write(helper, "echo no dbus >&2; exit 3")
        with pytest.raises(PlatformUnavailable, match=r"docker-credential-lab.*no dbus"):
            platform.prepare(of_image())


class TestPreparing:
    """What takes long is done before the create."""

    def test_nothing_is_pulled_for_a_unit_that_exists(self, engine: StubServer, platform: DockerPlatform) -> None:
        """A recovery that comes too late costs nothing."""
        engine.answers["GET /containers/unit/json"] = says(about("unit", {"Status": "running"}))
        platform.prepare(of_image())
        assert engine.asked("POST /images/create") == 0

    def test_a_run_without_an_image_is_refused(self, platform: DockerPlatform) -> None:
        """Before anything is asked."""
        with pytest.raises(SubmissionRefused, match="needs an image"):
            platform.prepare(of_image(""))

    def test_create_does_not_pull_an_image_that_is_here(self, engine: StubServer, platform: DockerPlatform) -> None:
        """A caller that wants the latest one prepares first."""
        engine.answers["POST /containers/create"] = says({"message": "no"}, 500)
        with pytest.raises(PlatformUnavailable):
            platform.create(of_image())
        assert engine.asked("POST /images/create") == 0

    def test_create_pulls_an_image_that_is_absent(self, engine: StubServer, platform: DockerPlatform) -> None:
        """For a caller that did not prepare."""
        engine.answers["POST /containers/create"] = says({"message": "No such image: x"}, 404)
        engine.answers["POST /images/create"] = says(b'{"status":"done"}\n')
        with pytest.raises(PlatformUnavailable, match="was deleted from the engine"):
            platform.create(of_image())
        assert engine.asked("POST /images/create") == 1


class TestClock:
    """The engine's time of day."""

    @pytest.mark.parametrize(("ahead", "low", "high"), [(100, 98, 102), (-100, -102, -98), (0, 0, 0), (1, 0, 0)])
    def test_the_skew_is_that_of_the_latest_answer(
        self, engine: StubServer, platform: DockerPlatform, ahead: float, low: float, high: float
    ) -> None:
        """Less than two seconds is within the error of measurement."""
        assert platform.skew == 0.0
        engine.ahead = ahead
        platform.units()
        assert low <= platform.skew <= high


BROKEN: Final[dict[str, Any]] = {
    "no run id": entry("broken", Labels={"io.prefect.agent.unit": "broken"}),
    "labels are a list": entry("broken", Labels=["io.prefect.agent.unit"]),
    "no names": entry("broken", Names=None),
    "no container": None,
    "a number": 5,
    "a run id that is a number": entry("broken", Labels={**entry("broken")["Labels"], "io.prefect.flow-run-id": 1}),
}
ODD: Final[dict[str, Any]] = {
    "no state": entry("odd", State=None),
    "an unknown state": entry("odd", State="hibernating"),
    "no id": entry("odd", Id=None),
    "no time": entry("odd", Created=None),
    "a time beyond all": entry("odd", Created=10**30),
    "a time of words": entry("odd", Created="yesterday"),
    "owner of the wrong form": entry("odd", Labels={**entry("odd")["Labels"], "io.prefect.agent.cloud": "A B"}),
    "owner of the wrong kind": entry("odd", Labels={**entry("odd")["Labels"], "io.prefect.agent.cloud": 7}),
}


class TestUnreadable:
    """One container that makes no sense hides no other."""

    @pytest.mark.parametrize("broken", BROKEN.values(), ids=BROKEN)
    def test_a_container_without_identity_is_passed_over(
        self, engine: StubServer, platform: DockerPlatform, broken: object
    ) -> None:
        """All others are listed."""
        engine.answers["GET /containers/json"] = says([entry("one"), broken, entry("two")])
        assert [unit.name for unit in platform.units()] == ["one", "two"]

    @pytest.mark.parametrize("odd", ODD.values(), ids=ODD)
    def test_a_container_is_read_as_far_as_it_can_be(
        self, engine: StubServer, platform: DockerPlatform, odd: object
    ) -> None:
        """What may execute is taken to execute: a unit that is there is never absent."""
        engine.answers["GET /containers/json"] = says([odd, entry("one")])
        found = {unit.name: unit for unit in platform.units()}
        assert found.keys() == {"odd", "one"}
        assert (found["odd"].status, found["odd"].owner) == (UnitStatus.RUNNING, None)

    def test_a_warning_is_given_once(
        self, engine: StubServer, platform: DockerPlatform, caplog: pytest.LogCaptureFixture
    ) -> None:
        """For each unit, however often it is listed."""
        engine.answers["GET /containers/json"] = says([BROKEN["no run id"], ODD["an unknown state"]])
        for _ in range(3):
            platform.units()
        said = [each.getMessage() for each in caplog.records if each.levelno == logging.WARNING]
        assert len(said) == 2
        assert ("broken" in said[0], "odd" in said[1]) == (True, True)

    @pytest.mark.parametrize("answer", [None, {}, 5, "x", b"<html>"], ids=str)
    def test_a_list_that_is_none_raises(self, engine: StubServer, platform: DockerPlatform, answer: object) -> None:
        """It does not say that there are no containers."""
        engine.answers["GET /containers/json"] = says(answer)
        with pytest.raises(PlatformUnavailable):
            platform.units()

    @pytest.mark.parametrize("answer", [None, {}, [], "x", {"Name": None}, b"<html>"], ids=str)
    def test_a_unit_that_cannot_be_read_raises(
        self, engine: StubServer, platform: DockerPlatform, answer: object
    ) -> None:
        """It is not absent."""
        engine.answers["GET /containers/unit/json"] = says(answer)
        with pytest.raises(PlatformUnavailable):
            platform.unit("unit")

    @pytest.mark.parametrize("state", [None, {}, "exited", {"Status": None}, {"Status": "hibernating"}], ids=str)
    def test_a_unit_without_a_state_is_taken_to_execute(
        self, engine: StubServer, platform: DockerPlatform, state: object
    ) -> None:
        """It has not ended unless the engine says so."""
        engine.answers["GET /containers/unit/json"] = says(about("unit", state))
        unit = platform.unit("unit")
        assert unit is not None
        assert unit.status is UnitStatus.RUNNING


class TestCannotLook:
    """No answer is no absence, and no end."""

    @pytest.mark.parametrize("status", [400, 401, 409, 500, 503])
    def test_an_error_of_the_engine_raises(self, engine: StubServer, platform: DockerPlatform, status: int) -> None:
        """Whatever it is about, for one unit and for all."""
        engine.answers["GET /containers/.*json"] = says({"message": "removal in progress"}, status)
        engine.answers["GET /containers/json"] = says({"message": "layer does not exist"}, status)
        for look in (platform.units, lambda: platform.unit("unit")):
            with pytest.raises(Exception, match="Docker engine") as raised:
                look()
            assert type(raised.value).__name__ in {"PlatformUnavailable", "PlatformForbidden"}

    def test_an_ended_container_that_the_engine_cannot_describe_is_as_the_list_has_it(
        self, engine: StubServer, platform: DockerPlatform
    ) -> None:
        """A broken layer of one container does not hide the others; it is asked for again next time."""
        ended = entry("ended", State="exited", Status="Exited (3) 2 minutes ago")
        engine.answers["GET /containers/json"] = says([ended, entry("one")])
        engine.answers["GET /containers/ended/json"] = says({"message": "layer does not exist"}, 500)
        for _ in range(2):
            found = {unit.name: unit for unit in platform.units()}
            assert (str(found["ended"].evidence), found["ended"].status) == ("Error, exit code 3", UnitStatus.FAILED)
            assert found.keys() == {"ended", "one"}
        assert engine.asked("GET /containers/ended/json") == 2

    def test_a_container_that_is_being_removed_lives_as_long_as_its_process(
        self, engine: StubServer, platform: DockerPlatform
    ) -> None:
        """In the list and by itself; when the process is gone it has ended, with evidence."""
        state = {"Status": "removing", "Running": True, "Pid": 42, "ExitCode": 0, "FinishedAt": "2026-01-01T00:00:00Z"}
        engine.answers["GET /containers/json"] = says([entry("unit", State="removing")])
        for going in (state, {**state, "Running": False}):
            engine.answers["GET /containers/unit/json"] = says(about("unit", going))
            assert [unit.status for unit in (platform.unit("unit"), *platform.units()) if unit] == [
                UnitStatus.RUNNING
            ] * 2
        engine.answers["GET /containers/unit/json"] = says(about("unit", {**state, "Running": False, "Pid": 0}))
        assert [unit.status for unit in platform.units()] == [UnitStatus.SUCCEEDED]

    def test_out_of_descriptors_raises(self, engine: StubServer, platform: DockerPlatform) -> None:
        """For one unit and for all."""
        limits = resource.getrlimit(resource.RLIMIT_NOFILE)
        platform.units()
        platform.close()
        probe = os.open(os.devnull, os.O_RDONLY)
        os.close(probe)
        resource.setrlimit(resource.RLIMIT_NOFILE, (probe, limits[1]))
        try:
            with pytest.raises(PlatformUnavailable):
                platform.units()
            with pytest.raises(PlatformUnavailable):
                platform.unit("unit")
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, limits)

    def test_an_engine_without_an_id_has_no_identity(self, engine: StubServer, platform: DockerPlatform) -> None:
        """Two engines that do not say who they are must not be taken for one."""
        engine.answers["GET /info"] = says({"ID": None})
        with pytest.raises(PlatformUnavailable, match="does not return its id"):
            _ = platform.identity


def write(script: Path, text: str) -> None:
    """Make a program of a shell script."""
    script.write_text(f"#!/bin/sh\n{text}\n")
    script.chmod(0o755)

"""What ``prefect agent doctor`` finds where real parts are slow, full, old, or have another time."""

import os
import re
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import pytest

from prefect.agent.entrypoints.server.testing import running_server
from support.doctor_harness import DoctorHarness
from support.fault_proxy import Address, Fault, FaultProxy, dated, latency, status
from support.pki import Pki
from support.tls_answers import needs_openssl
from support.tls_front import tls_front

LONG_AGO: Final = "Sat, 01 Jan 2022 00:00:00 GMT"
SLOW: Final = 1.2
MIB: Final = 1024 * 1024


def aged(answer: bytes) -> bytes:
    """What an engine of 2018 says of itself."""
    return re.sub(rb'"Version":"[0-9]{2}\.[0-9]{2}', b'"Version":"18.09', answer)


OLD: Final = Fault(name="old", reaches=True, change=aged)


@pytest.fixture
def harness(tmp_path: Path) -> Iterator[DoctorHarness]:
    """A home and a Cloud of one's own."""
    with running_server(tmp_path / "cloud.db") as url:
        yield DoctorHarness(tmp_path, url)


def before(harness: DoctorHarness, fault: Fault, stack: ExitStack) -> DoctorHarness:
    """The same Cloud behind something with a fault."""
    where = urlsplit(harness.url)
    assert where.hostname is not None
    assert where.port is not None
    proxy = stack.enter_context(closing(FaultProxy((where.hostname, where.port))))
    proxy.fail("*", fault)
    return DoctorHarness(harness.home, proxy.url)


# --- the Cloud ---


@pytest.mark.parametrize(
    ("fault", "check", "said"),
    [(latency(SLOW), "api", "That is slow."), (dated(LONG_AGO), "cloud-clock", "s behind this machine's")],
    ids=["slow", "clock"],
)
def test_a_cloud_that_is_slow_or_has_another_time(harness: DoctorHarness, fault: Fault, check: str, said: str) -> None:
    """A warning: the agent starts all the same."""
    with ExitStack() as stack:
        found = before(harness, fault, stack).doctor("process")

    assert (found.code, found.one(check)[0]) == (0, "warn"), found.output
    assert said in found.one(check)[1]
    assert found.one("key")[0] == "ok"


def test_something_else_than_a_cloud_fails(harness: DoctorHarness) -> None:
    """A gateway that has lost its Cloud."""
    with ExitStack() as stack:
        gone = Fault(name="gone", status=502, content=b"<html>", kind="text/html")
        found = before(harness, gone, stack).doctor("process")

    assert (found.code, found.one("api")[0]) == (69, "fail"), found.output
    assert found.one("key")[0] == "unchecked"


@needs_openssl
@pytest.mark.parametrize(
    ("days", "names", "severity", "said"),
    [
        (30, "IP:127.0.0.1", "ok", "is trusted, until"),
        (3, "IP:127.0.0.1", "warn", "That is in 2 days."),
        (-1, "IP:127.0.0.1", "fail", "certificate has expired"),
        (30, "DNS:cloud.test", "fail", "IP address mismatch"),
    ],
)
def test_the_certificate_of_a_cloud(harness: DoctorHarness, days: int, names: str, severity: str, said: str) -> None:
    """It is trusted, ends soon, has ended, or is of another host; exit code 69 if nothing can be asked through it."""
    pki = Pki(harness.home / "pki")
    with tls_front(harness.url, pki.server("cloud", names=names, days=days)) as url:
        found = DoctorHarness(harness.home, url).doctor("process", REQUESTS_CA_BUNDLE=str(pki.authority.certificate))

    assert found.one("tls")[0] == severity, found.output
    assert said in found.one("tls")[1]
    assert found.one("api")[0] == ("unchecked" if severity == "fail" else "ok")
    assert found.code == (69 if severity == "fail" else 0)


# --- folders ---


@contextmanager
def small_disk(folder: Path, size: int) -> Iterator[None]:
    """A disk with so many bytes at *folder*."""
    folder.mkdir()
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={size}", "lab", str(folder)], capture_output=True, text=True, check=False
    )
    if done.returncode:
        pytest.skip(f"needs the right to mount a small disk: {done.stderr.strip()}")
    try:
        yield
    finally:
        subprocess.run(["umount", str(folder)], check=True)


@pytest.mark.parametrize(("size", "code", "severity"), [(8 * MIB, 75, "fail"), (64 * MIB, 0, "warn")])
def test_a_disk_that_is_full_or_nearly(harness: DoctorHarness, size: int, code: int, severity: str) -> None:
    """For reports, and for units of processes."""
    disk = harness.home / "disk"
    with small_disk(disk, size):
        home = DoctorHarness(disk, harness.url).doctor("process")
        state = harness.doctor("process", PREFECT_AGENT_STATE_DIRECTORY=str(disk / "state"))

    assert (home.code, home.one("units-directory")[0], home.one("state-directory")[0]) == (code, severity, severity)
    assert "GiB are free" in home.one("units-directory")[1]
    assert (state.code, state.one("state-directory")[0], state.one("units-directory")[0]) == (code, severity, "ok")


def test_a_folder_of_units_that_is_a_file_fails(harness: DoctorHarness) -> None:
    """An agent cannot start a process without it; reports can do without theirs."""
    (harness.home / ".prefect-agent").write_text("")

    found = harness.doctor("process")

    assert (found.code, found.one("units-directory")[0], found.one("state-directory")[0]) == (78, "fail", "warn")


# --- processes ---


def test_an_interpreter_that_does_not_say_its_version(harness: DoctorHarness) -> None:
    """The prefect command of this machine prints nothing."""
    (harness.home / "silent").mkdir()
    program = harness.home / "silent" / "prefect"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)

    found = harness.doctor("process", PATH=f"{program.parent}:/usr/bin:/bin")

    assert (found.code, found.one("interpreter")[0]) == (0, "warn"), found.output


# --- Docker ---


@pytest.mark.docker
class TestDocker:
    """A real engine, behind a socket that changes what it says."""

    @pytest.mark.parametrize(
        ("fault", "operation", "check", "severity", "said"),
        [
            (latency(SLOW), "GET /version", "engine", "warn", "That is slow."),
            (latency(SLOW), "GET /containers/json", "engine-containers", "warn", "That is slow."),
            (dated(LONG_AGO), "*", "engine-clock", "warn", "behind this machine's"),
            (OLD, "GET /version", "engine", "fail", "needs 20.10 or newer"),
        ],
        ids=["slow", "slow-list", "clock", "old"],
    )
    def test_an_engine_that_is_not_as_it_should_be(
        self, harness: DoctorHarness, fault: Fault, operation: str, check: str, severity: str, said: str
    ) -> None:
        """A warning, or exit code 75 and a remedy."""
        with closing(FaultProxy(engine())) as proxy:
            proxy.fail(operation, fault)
            found = harness.doctor("docker", "--base-url", proxy.url.replace("http://", "tcp://"))

        assert found.code == (75 if severity == "fail" else 0), found.output
        assert found.one(check)[0] == severity
        assert said in found.one(check)[1]

    def test_an_engine_that_lists_no_containers_fails(self, harness: DoctorHarness) -> None:
        """The agent could not see its units: what comes first does answer."""
        with closing(FaultProxy(engine())) as proxy:
            proxy.fail("GET /containers/json", status(500, {"message": "the disk is broken"}))
            found = harness.doctor("docker", "--base-url", proxy.url.replace("http://", "tcp://"))

        assert (found.code, found.one("engine")[0], found.one("engine-containers")[0]) == (75, "ok", "fail")
        assert "the disk is broken" in found.one("engine-containers")[1]


def engine() -> Address:
    """Where the real engine listens."""
    where = urlsplit(os.environ.get("DOCKER_HOST", "unix:///var/run/docker.sock"))
    return where.path if where.scheme == "unix" else (str(where.hostname), where.port or 2375)

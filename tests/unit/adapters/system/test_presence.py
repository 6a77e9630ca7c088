"""Whether another agent process is gone: proven, or not."""

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Generator
from pathlib import Path

import attrs
import pytest

from prefect.agent.adapters.system import SystemPresence
from prefect.agent.adapters.system.presence import FIRST_NAMESPACE, ProcessPlace
from support.waiting import wait_until

pytestmark = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="this system has no /proc")

TELLS = "from prefect.agent.adapters.system import SystemPresence as P; print(P().place, flush=True); input()"


@pytest.fixture
def presence() -> SystemPresence:
    """This process'."""
    return SystemPresence()


@pytest.fixture
def other() -> Generator["subprocess.Popen[str]"]:
    """Another agent process, which says its place and waits."""
    with subprocess.Popen(
        [sys.executable, "-c", TELLS], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as child:
        try:
            yield child
        finally:
            child.kill()


def said(child: "subprocess.Popen[str]") -> str:
    """The place that it said."""
    assert child.stdout is not None
    return child.stdout.readline().strip()


def parsed(presence: SystemPresence) -> ProcessPlace:
    """Its own place."""
    place = ProcessPlace.parse(presence.place)
    assert place is not None
    return place


def test_a_place_is_short_printable_and_constant(presence: SystemPresence) -> None:
    """It goes into claim records; another object of the same process says the same."""
    assert presence.place == SystemPresence().place
    assert presence.place.isprintable()
    assert " " not in presence.place
    assert 0 < len(presence.place) < 150


def test_a_process_that_lives_is_not_gone(presence: SystemPresence, other: "subprocess.Popen[str]") -> None:
    """Neither this one nor another."""
    place = said(other)

    assert place != presence.place
    assert not presence.is_gone(place)
    assert not presence.is_gone(presence.place)


def test_a_killed_process_is_gone(presence: SystemPresence, other: "subprocess.Popen[str]") -> None:
    """Once it is killed, also before its parent has asked how it ended."""
    place = said(other)

    other.send_signal(signal.SIGKILL)

    wait_until(lambda: presence.is_gone(place), 30, "it is gone")
    other.wait()
    assert presence.is_gone(place)


def test_a_later_process_of_the_same_id_is_another_one(presence: SystemPresence) -> None:
    """Ids are used again: the start tells."""
    here = parsed(presence)

    assert presence.is_gone(str(attrs.evolve(here, start=here.start - 1)))


def test_another_namespace_proves_nothing(presence: SystemPresence) -> None:
    """A process in another container has an id that says nothing here."""
    here = parsed(presence)

    assert not presence.is_gone(str(attrs.evolve(here, namespace=here.namespace + 1, start=1)))


@pytest.fixture
def proc(tmp_path: Path) -> Path:
    """Records of a machine that was started anew: only the boot id differs."""
    proc = tmp_path / "proc"
    (proc / "sys/kernel/random").mkdir(parents=True)
    (proc / "sys/kernel/random/boot_id").write_text("00000000-0000-4000-8000-000000000001\n", encoding="ascii")
    for name in ("self", str(os.getpid())):
        (proc / name).symlink_to(f"/proc/{os.getpid()}")
    return proc


def machine(folder: Path, name: str = "one") -> Path:
    """A file with a machine's id."""
    path = folder / f"machine-{name}"
    path.write_text(f"{name}\n", encoding="ascii")
    return path


def outside_of_containers() -> bool:
    """Whether this process is in none."""
    return Path("/proc/self/ns/pid").stat().st_ino == FIRST_NAMESPACE


@pytest.mark.skipif(not outside_of_containers(), reason="what a container says of its machine proves nothing")
def test_another_start_of_the_same_machine_proves_the_end(tmp_path: Path, proc: Path) -> None:
    """All processes of before are gone; if the machine is another one, nothing is known."""
    one, two = machine(tmp_path), machine(tmp_path, "two")
    before = SystemPresence(machine_id=one, container_signs=()).place

    assert SystemPresence(proc, one, ()).is_gone(before)
    assert not SystemPresence(proc, two, ()).is_gone(before)


def test_in_a_container_another_start_proves_nothing(tmp_path: Path, proc: Path) -> None:
    """Containers of one image may all have one machine id, on many hosts."""
    one, sign = machine(tmp_path), tmp_path / "sign"
    sign.touch()
    inside = SystemPresence(machine_id=one, container_signs=(sign,)).place

    assert inside
    assert not SystemPresence(proc, one, (sign,)).is_gone(inside)
    assert not SystemPresence(proc, one, ()).is_gone(inside)


def test_without_proc_nothing_is_known(tmp_path: Path, presence: SystemPresence) -> None:
    """No place of its own, and no proof."""
    blind = SystemPresence(tmp_path)

    assert blind.place == ""
    assert not blind.is_gone(str(attrs.evolve(parsed(presence), start=1)))
    shutil.rmtree(tmp_path)
    assert blind.place == ""


@pytest.mark.parametrize(
    "text",
    ["", "x", "pid:", "pid::::0:0", "pod:ns/name/uid", "pid::b:1:99999999999:1", "pid::b:1:-1:1", "\0", "9" * 10_000],
)
def test_garbage_is_not_proven_gone(presence: SystemPresence, text: str) -> None:
    """Whatever a record says, nothing is raised."""
    assert not presence.is_gone(text)


def test_process_zero_is_no_process(presence: SystemPresence) -> None:
    """Signals to 0 and to huge numbers mean something else: never proof."""
    here = parsed(presence)

    for pid in (0, 2**31 - 1, 4_294_967_295):
        assert presence.is_gone(str(attrs.evolve(here, pid=pid))) in {True, False}
    assert not presence.is_gone(str(attrs.evolve(here, pid=0)))

"""Units on disk: rules that need no process of a flow."""

import fcntl
import os
import resource
import shutil
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import attrs
import pytest

from prefect.agent.adapters.process.machine import Machine
from prefect.agent.adapters.process.unit_dir import UnitDir
from prefect.agent.domain.errors import PlatformUnavailable, UnitNameTaken
from prefect.agent.domain.model.submissions import Submission
from prefect.agent.domain.model.units import Owner, UnitStatus
from prefect.agent.ports.platform import TEXT_LIMIT
from support.builders import an_id

SUBMISSION = Submission(name="prefect-x-1", flow_run_id=an_id(1), attempt="1", command=("prefect",))


@pytest.fixture
def unit(tmp_path: Path) -> UnitDir:
    """The directory of a unit that is not there yet."""
    return UnitDir(tmp_path / "units" / SUBMISSION.name)


@contextmanager
def begun(unit: UnitDir, **files: str) -> Generator[int]:
    """A unit whose lock is held, as by its process, with some of its files written."""
    lock = unit.begin(SUBMISSION)
    assert lock is not None
    for name, text in files.items():
        (unit.path / name).write_text(f"{text}\n", encoding="ascii")
    try:
        yield lock
    finally:
        os.close(lock)


def test_a_unit_is_begun_once(unit: UnitDir) -> None:
    """While it is being begun, no other agent begins it: promise P1."""
    with begun(unit):
        assert unit.begin(SUBMISSION) is None


@pytest.mark.parametrize("files", [{"pid": "123"}, {"pid": "123", "exit": "0"}], ids=["killed", "ended"])
def test_a_unit_that_has_run_is_never_begun_again(unit: UnitDir, files: dict[str, str]) -> None:
    """However it ended: the same name is the same attempt."""
    with begun(unit, **files):
        pass

    assert unit.begin(SUBMISSION) is None


def test_a_unit_that_never_began_is_begun_by_the_next_one(unit: UnitDir) -> None:
    """The agent that took the lock died before the process was there: the next one starts it (promise P2)."""
    with begun(unit):
        pass

    with begun(unit):
        assert unit.is_alive()


def test_who_only_looks_does_not_keep_a_unit_from_beginning(unit: UnitDir, monkeypatch: pytest.MonkeyPatch) -> None:
    """Looking takes the lock for a moment: whoever comes in that moment tries again."""
    with begun(unit):
        pass
    looking = os.open(unit.path / "lock", os.O_RDWR)
    fcntl.flock(looking, fcntl.LOCK_SH)
    pauses: list[float] = []

    def sleep(seconds: float) -> None:
        pauses.append(seconds)
        if len(pauses) == 3:
            os.close(looking)

    monkeypatch.setattr(time, "sleep", sleep)

    with begun(unit, pid="123"):
        assert len(pauses) == 3
        assert unit.begin(SUBMISSION) is None
    assert len(pauses) == 3


def test_a_unit_that_never_began_has_not_failed(unit: UnitDir) -> None:
    """An agent killed between lock and process left nothing that could have failed: the sweep must start it again."""
    with begun(unit):
        pass

    found = unit.read()

    assert found is not None
    assert found.status is UnitStatus.CREATED


def test_a_unit_removed_meanwhile_is_made_anew(unit: UnitDir, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another agent removes the directory between opening its lock and taking it: a lock without a name is no lock."""
    real = fcntl.flock
    calls: list[int] = []

    def remove_first(fd: int, operation: int) -> None:
        if not calls:
            shutil.rmtree(unit.path)
        calls.append(fd)
        real(fd, operation)

    monkeypatch.setattr(fcntl, "flock", remove_first)

    with begun(unit):
        monkeypatch.undo()
        assert len(calls) > 1
        assert unit.begin(SUBMISSION) is None


def test_a_foreign_file_in_the_way_is_kept(unit: UnitDir) -> None:
    """What is no directory was not made by an agent, and is left alone."""
    unit.path.parent.mkdir()
    unit.path.write_text("mine", encoding="ascii")

    with pytest.raises(UnitNameTaken):
        unit.begin(SUBMISSION)
    assert unit.path.read_text(encoding="ascii") == "mine"


def test_a_unit_that_is_not_there_is_none(unit: UnitDir) -> None:
    """Reading changes nothing and makes nothing."""
    assert unit.read() is None
    assert not unit.is_alive()
    assert unit.shell() is None
    assert not unit.path.exists()


@contextmanager
def no_descriptors() -> Generator[None]:
    """This process may not open anything."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (0, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_who_cannot_look_does_not_say_that_nothing_is_there(unit: UnitDir) -> None:
    """Out of descriptors, reading raises: a unit that executes is neither absent, nor ended, nor unbegun."""
    with begun(unit, pid="4242"):
        for look in (unit.read, unit.is_alive, unit.has_begun, lambda: unit.begin(SUBMISSION)):
            with no_descriptors(), pytest.raises(OSError, match="Too many open files"):
                look()


HERE, THERE = Machine("aaa", "boot-1"), Machine("bbb", "boot-2")


def test_a_unit_of_another_machine_is_not_seen(tmp_path: Path) -> None:
    """One home on two hosts: each sees its own units only. The same kernel is the same machine, also in a container."""
    path = tmp_path / "units" / SUBMISSION.name
    with begun(UnitDir(path, HERE), pid="4242"):
        assert UnitDir(path, THERE).read() is None
        for machine in (HERE, Machine("", "boot-1"), Machine("ccc", "boot-1"), Machine("aaa", "boot-3"), Machine()):
            assert UnitDir(path, machine).read() is not None, machine


def test_a_unit_that_lost_its_memory_with_the_power_is_not_begun_again(tmp_path: Path) -> None:
    """Its process was there before the machine was started anew, and the disk lost what it wrote: it was killed."""
    path = tmp_path / "units" / SUBMISSION.name
    later = UnitDir(path, Machine("aaa", "boot-2"))
    with begun(UnitDir(path, HERE)):
        pass
    found = later.read()
    assert found is not None
    assert found.status is UnitStatus.CREATED
    (path / "exit").touch()

    found = later.read()

    assert found is not None
    assert found.status is UnitStatus.FAILED
    assert later.begin(SUBMISSION) is None
    with begun(UnitDir(path, HERE)):  # without a start in between, it never came as far
        pass


def test_a_unit_keeps_its_owner(unit: UnitDir) -> None:
    """Both marks are in the directory; a unit of an older agent has none."""
    owner = Owner(cloud="c1", agent="a1")
    lock = unit.begin(attrs.evolve(SUBMISSION, owner=owner))
    assert lock is not None
    os.close(lock)

    found = unit.read()

    assert found is not None
    assert found.owner == owner
    text = '{"flow_run_id": "x", "attempt": "1", "created_at": "2026-01-02T03:04:05+00:00"%s}'
    for more in ("", ', "owner": null', ', "owner": "x"', ', "owner": {"cloud": "A B", "agent": "a"}'):
        (unit.path / "unit.json").write_text(text % more, encoding="ascii")
        found = unit.read()
        assert found is not None
        assert found.owner is None


def test_a_directory_that_was_half_removed_is_no_unit(unit: UnitDir) -> None:
    """Who removes a unit dies in between: what is left is not taken for a unit that never began."""
    with begun(unit, pid="4242", exit="0"):
        pass
    (unit.path / "unit.json").unlink()
    (unit.path / "pid").unlink()

    assert unit.read() is None
    with begun(unit):
        found = unit.read()
        assert found is not None
        assert found.status is UnitStatus.PENDING


@pytest.mark.parametrize("text", ["", "{", "[]", '{"flow_run_id": "x"}', "[" * 50_000])
def test_a_directory_without_sense_is_no_unit(unit: UnitDir, text: str) -> None:
    """Half-written or foreign files are passed over; they spoil no list of units."""
    unit.path.mkdir(parents=True)
    (unit.path / "unit.json").write_text(text, encoding="ascii")

    assert unit.read() is None


def test_a_damaged_date_spoils_no_list_of_units(unit: UnitDir) -> None:
    """One damaged file must not stop every sweep."""
    unit.path.mkdir(parents=True)
    text = '{"flow_run_id": "x", "attempt": "1", "created_at": "nonsense"}'
    (unit.path / "unit.json").write_text(text, encoding="ascii")

    found = unit.read()

    assert found is None or found.created_at is None


def test_a_unit_that_executes_is_running(unit: UnitDir) -> None:
    """Its PID is known and its lock is held by its process."""
    with begun(unit, pid="4242"):
        found = unit.read()

        assert found is not None
        assert (found.status, found.id, found.info) == (UnitStatus.RUNNING, "4242", "PID: 4242")
        assert (found.flow_run_id, found.attempt, found.name) == (an_id(1), "1", SUBMISSION.name)
        assert (found.evidence, found.ended_at) == (None, None)
        assert found.created_at is not None
        assert unit.shell() == 4242


def test_a_unit_whose_process_is_not_there_yet_is_pending(unit: UnitDir) -> None:
    """The lock is held, the first act is not done."""
    with begun(unit):
        found = unit.read()

        assert found is not None
        assert found.status is UnitStatus.PENDING


def test_killed_without_an_exit_code(unit: UnitDir) -> None:
    """A free lock and no exit code: kill -9, the out-of-memory killer, or a power cut."""
    with begun(unit, pid="4242"):
        pass

    found = unit.read()

    assert found is not None
    assert found.status is UnitStatus.FAILED
    assert "without an exit code" in str(found.evidence)
    assert found.ended_at is not None


@pytest.mark.parametrize(
    ("code", "status", "words"),
    [
        (0, UnitStatus.SUCCEEDED, "exit code 0"),
        (1, UnitStatus.FAILED, "Error, exit code 1"),
        (137, UnitStatus.FAILED, "Killed, ended by signal 9, exit code 137"),
        (128, UnitStatus.FAILED, "Error, exit code 128"),
        (255, UnitStatus.FAILED, "Error, exit code 255"),
    ],
)
def test_the_exit_code_is_the_evidence(unit: UnitDir, code: int, status: UnitStatus, words: str) -> None:
    """From 129 to 192 it names a signal, as on every platform."""
    with begun(unit, pid="4242", exit=str(code)):
        pass

    found = unit.read()

    assert found is not None
    assert (found.status, str(found.evidence)) == (status, words)
    assert found.ended_at is not None


def test_a_unit_that_executes_is_not_removed(unit: UnitDir) -> None:
    """It is left alone, and the caller hears of it."""
    with begun(unit, pid="4242"):
        with pytest.raises(PlatformUnavailable):
            unit.remove()
        assert unit.read() is not None


def test_an_ended_unit_is_removed_and_again(unit: UnitDir) -> None:
    """Absent is a success."""
    with begun(unit, pid="4242", exit="0"):
        pass

    unit.remove()
    unit.remove()

    assert not unit.path.exists()


def test_the_tail_is_short_and_readable(unit: UnitDir) -> None:
    """The last lines, at most 64 KiB, whatever bytes a flow prints."""
    with begun(unit):
        (unit.path / "output").write_bytes(b"\xff\n" * 100_000 + b"one\ntwo\n")

        assert unit.tail(2) == "one\ntwo"
        assert unit.tail(0) == ""
        assert len(unit.tail(10**9).encode()) <= TEXT_LIMIT


@pytest.mark.parametrize("shown", range(1, 13))
def test_a_tail_does_not_begin_in_the_middle_of_a_secret(unit: UnitDir, shown: int) -> None:
    """What is masked later is whole words: the rest of a key would pass as it is."""
    key = "SECRET-0123456789"
    after = " and more\n".ljust(TEXT_LIMIT - shown - len("the end\n"), ".") + "the end"
    with begun(unit, output=f"the key is {key}{after}"):
        tail = unit.tail(50)
    assert tail.startswith("and more")
    assert tail.endswith("the end")


def test_no_output_is_an_empty_tail(unit: UnitDir) -> None:
    """Nothing is left, nothing is said, nothing is raised."""
    assert unit.tail(5) == ""

"""Units on disk, and which program executes flow runs: rules that need no process of a flow."""

import fcntl
import os
import shutil
import sys
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import pytest

from prefect.agent.adapters.process import interpreters, unit_dir
from prefect.agent.adapters.process.unit_dir import TAIL_BYTES, UnitDir
from prefect.agent.domain.errors import ConfigurationError, PlatformUnavailable, UnitNameTaken
from prefect.agent.domain.model.units import Submission, UnitStatus
from unit.builders import an_id

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
        (unit.path / name).write_text(text, encoding="ascii")
    try:
        yield lock
    finally:
        os.close(lock)


def test_a_unit_is_begun_once(unit: UnitDir) -> None:
    """While it is being begun, nobody else begins it: promise P1."""
    with begun(unit):
        assert unit.begin(SUBMISSION) is None


@pytest.mark.parametrize("files", [{"pid": "123"}, {"pid": "123", "exit": "0"}], ids=["killed", "ended"])
def test_a_unit_that_has_run_is_never_begun_again(unit: UnitDir, files: dict[str, str]) -> None:
    """However it ended: the same name is the same attempt."""
    with begun(unit, **files):
        pass

    assert unit.begin(SUBMISSION) is None


def test_a_unit_that_never_began_is_begun_by_the_next_one(unit: UnitDir) -> None:
    """Whoever took the lock died before the process was there: the next agent starts it (promise P2)."""
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

    monkeypatch.setattr(unit_dir.time, "sleep", sleep)

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


def test_a_file_in_the_way_is_somebody_elses(unit: UnitDir) -> None:
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
    assert unit.group() is None
    assert not unit.path.exists()


@pytest.mark.parametrize("text", ["", "{", "[]", '{"flow_run_id": "x"}'])
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
        assert unit.group() == 4242


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
    ],
)
def test_the_exit_code_is_the_evidence(unit: UnitDir, code: int, status: UnitStatus, words: str) -> None:
    """Above 128 it names a signal."""
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
        assert len(unit.tail(10**9).encode()) <= TAIL_BYTES


def test_no_output_is_an_empty_tail(unit: UnitDir) -> None:
    """Nothing is left, nothing is said, nothing is raised."""
    assert unit.tail(5) == ""


# --- which program executes flow runs ---


def program(folder: Path, name: str = "prefect", text: str = "exit 0") -> Path:
    """A program in a folder that is made."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / name
    path.write_text(f"#!/bin/sh\n{text}\n", encoding="ascii")
    path.chmod(0o755)
    return path


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of this package's own ``prefect`` command."""
    folder = tmp_path / "own" / "bin"
    program(folder)
    monkeypatch.setattr(sys, "executable", str(folder / "python"))
    monkeypatch.setattr(sys, "argv", [str(folder / "prefect")])
    return folder


COMMAND = ("prefect", "execute", "flow-run")


def test_our_own_command_is_passed_over(own: Path, tmp_path: Path) -> None:
    """This package has a ``prefect`` command too, which cannot execute flows: the next one on PATH is taken."""
    real = program(tmp_path / "real" / "bin")

    words = interpreters.command_line(COMMAND, None, {"PATH": f"{own}{os.pathsep}{real.parent}"})

    assert words == [str(real), "execute", "flow-run"]


def test_our_own_command_is_passed_over_through_a_link(own: Path, tmp_path: Path) -> None:
    """Both pipx and uv put a link to the command into a folder of PATH: it is the same command."""
    links = tmp_path / "links"
    links.mkdir()
    (links / "prefect").symlink_to(own / "prefect")
    real = program(tmp_path / "real" / "bin")

    words = interpreters.command_line(COMMAND, None, {"PATH": f"{links}{os.pathsep}{real.parent}"})

    assert words[0] == str(real)


def test_without_a_prefect_nothing_can_be_executed(own: Path) -> None:
    """The message says how to mend it."""
    with pytest.raises(PlatformUnavailable, match="--interpreter"):
        interpreters.command_line(COMMAND, None, {"PATH": f"{own}{os.pathsep}"})
    with pytest.raises(PlatformUnavailable, match="--interpreter"):
        interpreters.check(None, {"PATH": str(own)})


def test_a_stated_interpreter_runs_prefect_as_a_module() -> None:
    """PATH does not matter then."""
    assert interpreters.command_line(COMMAND, "/v/bin/python", {}) == ["/v/bin/python", "-m", *COMMAND]


def test_another_command_is_taken_as_it_is() -> None:
    """A backend may name a program of its own."""
    assert interpreters.command_line(("/bin/true", "x"), "/v/bin/python", {}) == ["/bin/true", "x"]


def test_an_interpreter_is_found_on_path_or_refused(tmp_path: Path) -> None:
    """Where it was meant is fixed at start: a flow run with another working directory finds it too."""
    found = program(tmp_path, "python9")

    assert interpreters.resolve("python9", {"PATH": str(tmp_path)}) == str(found)
    assert interpreters.resolve(None, {}) is None
    with pytest.raises(ConfigurationError, match="python10"):
        interpreters.resolve("python10", {"PATH": str(tmp_path)})


@pytest.mark.parametrize(
    ("text", "words"),
    [("exit 1", "has no Prefect"), ("echo 2.20.4", "Prefect 2.20.4"), ("echo", "need prefect<2")],
    ids=["none", "newer", "mute"],
)
def test_an_interpreter_without_the_right_prefect_is_refused(tmp_path: Path, text: str, words: str) -> None:
    """Flow runs of the 0.x and 1.x lines need that line."""
    python = program(tmp_path, "python", text)

    with pytest.raises(PlatformUnavailable, match=words):
        interpreters.check(str(python), {"PATH": os.environ["PATH"]})


@pytest.mark.parametrize("version", ["0.15.13", "1.4.1"])
def test_an_interpreter_with_the_right_prefect_is_taken(tmp_path: Path, version: str) -> None:
    """Asked once, at start."""
    python = program(tmp_path, "python", f"echo {version}")

    interpreters.check(str(python), {"PATH": os.environ["PATH"]})


def test_an_interpreter_that_cannot_be_started_is_said_so(tmp_path: Path) -> None:
    """A path that is gone since start."""
    with pytest.raises(PlatformUnavailable, match="does not work"):
        interpreters.check(str(tmp_path / "gone"), {})


def test_flow_runs_inherit_an_explicit_list_only() -> None:
    """Promise P5: no key of the agent's own environment gets into a flow's process by accident."""
    kept = {"PATH": "/bin", "HOME": "/h", "LC_ALL": "C", "https_proxy": "http://p", "SSL_CERT_FILE": "/c"}
    secret = {"PREFECT__CLOUD__API_KEY": "k", "AWS_SECRET_ACCESS_KEY": "s", "PYTHONPATH": "/x", "LD_PRELOAD": "/y"}

    assert interpreters.base_environment({**kept, **secret}) == kept

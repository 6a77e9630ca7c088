"""Files of a unit that are blank, cut off, or something else altogether."""

import os
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import pytest

from prefect.agent.adapters.process.unit_dir import UnitDir
from prefect.agent.domain.model.submissions import Submission
from prefect.agent.domain.model.units import UnitStatus
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


@pytest.mark.parametrize("name", ["pid", "exit"])
@pytest.mark.parametrize("text", ["", "\n", "   \n", "12", "12   \n", "4242 \n"], ids=repr)
def test_half_of_a_number_is_no_number(unit: UnitDir, name: str, text: str) -> None:
    """A file that is blank, or was cut off by a full disk or a crash, counts as not written: the unit never began."""
    with begun(unit):
        (unit.path / name).write_text(text, encoding="ascii")

        found = unit.read()

    assert found is not None
    assert found.status is UnitStatus.PENDING
    with begun(unit):
        assert not unit.has_begun()


def test_a_number_is_what_its_line_says(unit: UnitDir) -> None:
    """The room behind it is blank; the first is the command's id, the other one its group's."""
    with begun(unit):
        (unit.path / "pid").write_text("4243 4242\n".ljust(31) + "\n", encoding="ascii")

        found = unit.read()

        assert found is not None
        assert (found.id, found.info, unit.shell()) == ("4243", "PID: 4243", 4242)


def poisoned(path: Path, kind: str) -> None:
    """Put something else where a file should be."""
    path.unlink(missing_ok=True)
    if kind == "fifo":
        os.mkfifo(path)
    elif kind == "link":
        path.symlink_to("/etc/passwd")
    elif kind == "folder":
        path.mkdir()
    elif kind == "text":
        path.write_text("123; rm -rf /\n", encoding="ascii")
    else:
        path.write_bytes(b"9" * 10_000_000)


POISON = ["fifo", "link", "folder", "text", "huge"]


@pytest.mark.parametrize("kind", POISON)
@pytest.mark.parametrize("name", ["pid", "exit"])
def test_something_else_in_place_of_a_number_neither_hangs_nor_misleads(unit: UnitDir, name: str, kind: str) -> None:
    """The unit has begun, since something is there: it is not begun again, and no process is taken for it."""
    with begun(unit, pid="4242"):
        poisoned(unit.path / name, kind)

        assert unit.begin(SUBMISSION) is None
        found = unit.read()
        assert found is not None
        assert (found.status, found.id) == (UnitStatus.RUNNING, "4242" if name == "exit" else "")

    found = unit.read()
    assert found is not None
    assert found.status is UnitStatus.FAILED
    assert unit.begin(SUBMISSION) is None
    unit.remove()
    assert not unit.path.exists()


@pytest.mark.parametrize("kind", POISON)
@pytest.mark.parametrize("name", ["unit.json", "lock", "output"])
def test_something_else_in_place_of_a_file_neither_hangs_nor_misleads(unit: UnitDir, name: str, kind: str) -> None:
    """It is read as no unit, or as one that does not execute; a link is not followed."""
    with begun(unit, pid="4242", exit="0"):
        pass
    poisoned(unit.path / name, kind)

    found = unit.read()

    assert found is None or found.status is UnitStatus.SUCCEEDED
    assert "root:" not in unit.tail(5)
    if kind != "folder" or name == "output":
        unit.remove()
        assert not unit.path.exists()


def test_only_the_own_user_may_look(unit: UnitDir) -> None:
    """Directories and files of units are private, whatever the umask."""
    before = os.umask(0)
    try:
        with begun(unit):
            modes = {path.name: path.stat().st_mode & 0o777 for path in unit.path.iterdir()}
            assert set(modes.values()) == {0o600}, modes
            assert unit.path.stat().st_mode & 0o777 == 0o700
    finally:
        os.umask(before)

"""Reports on disk where other things lie about, and on disks that refuse."""

import errno
import fcntl
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from prefect.agent.adapters.reports import DiskReports, journal
from prefect.agent.adapters.reports.journal import NEW, SUFFIX
from support.disk import END, OWNER, RUN, Open, line, stores, texts


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where the owner's reports are."""
    return tmp_path / "reports" / OWNER


@pytest.fixture
def new(tmp_path: Path) -> Iterator[Open]:
    """Opens stores on one state directory."""
    with stores(tmp_path) as open_one:
        yield open_one


# --- what else may be there ---


@pytest.mark.parametrize("kind", ["junk", "zeros", "json", "deep", "long", "link", "dangling", "fifo", "folder"])
def test_what_no_agent_wrote_is_left_alone(
    new: Open, folder: Path, tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It spoils nothing, makes nothing wait, and stays."""
    monkeypatch.setattr(journal, "MOST_RECORD", 5_000)
    old = new()
    old.add(RUN, END)
    old.close()
    path, aside = folder / f"0{SUFFIX}", tmp_path / "aside"
    aside.write_text('{"run": "run-2", "over": true}\n')
    contents = {
        "junk": bytes(range(256)) * 100 + b"\n",
        "zeros": b"\0" * 4096 + b"\n",
        "json": b'[]\n{"run": 1}\n{"run": "x", "lines": -1}\n{"run": "x", "entry": []}\n{"run": "x", "over": 1}\n',
        "deep": b"[" * 4000 + b"\n",
        "long": b'{"run": "x", "entry": {"line": "' + b"x" * 20_000 + b'"}}\n',
    }
    if kind in contents:
        path.write_bytes(contents[kind])
    elif kind in {"link", "dangling"}:
        path.symlink_to(aside if kind == "link" else tmp_path / "nowhere")
    elif kind == "fifo":
        os.mkfifo(path)
    else:
        path.mkdir()

    store = new()

    assert {run: list(entries) for run, entries in store.load().items()} == {RUN: [END]}
    store.forget(RUN)
    assert store.problem == ""
    assert list(folder.iterdir()) == [path]
    assert aside.exists()


def test_lines_of_ours_between_junk_are_read(new: Open, folder: Path) -> None:
    """A damaged block costs the lines in it."""
    store = new()
    for text in ("a", "b", "c"):
        store.add(RUN, line(text))
    store.close()
    [path] = folder.iterdir()
    first, second, third = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(first + b"\0" * (len(second) - 1) + b"\n" + third)

    assert texts(new().load()) == ["a", "c"]


def test_a_file_that_is_too_large_is_not_read(new: Open, folder: Path) -> None:
    """Reading is bounded."""
    store = new(most_bytes=1_000)
    huge = folder / f"0{SUFFIX}"
    huge.write_bytes((json.dumps({"run": "run-1", "entry": END}) + "\n").encode() * 1_000)

    assert store.load() == {}
    assert huge.exists()


# --- disks that refuse ---


def test_a_full_disk_is_a_problem_and_no_error(new: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was written stays readable; once there is room, reports are kept again, and the problem is over."""
    store, write = new(), os.write
    store.add(RUN, line("a"))

    def half(fd: int, data: bytes) -> int:
        if len(data) < 20:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return write(fd, data[: len(data) // 2])

    monkeypatch.setattr(os, "write", half)
    store.add(RUN, line("lost"))
    store.add(RUN, END)
    assert os.strerror(errno.ENOSPC) in store.problem
    store.forget_lines(RUN, 1)
    monkeypatch.setattr(os, "write", write)
    store.add(RUN, line("b"))
    assert store.problem == ""
    store.forget_lines(RUN, 1)  # the one that is not on disk
    store.close()

    assert texts(new().load())[-1:] == ["b"]


def test_a_real_full_disk(tmp_path: Path) -> None:
    """The kernel's own limit of a file's size: the process goes on, and what was written is read again."""
    script = """
import resource, sys
from pathlib import Path
from prefect.agent.adapters.reports import DiskReports
resource.setrlimit(resource.RLIMIT_FSIZE, (5000, 5000))
store = DiskReports(Path(sys.argv[1]), sys.argv[2])
for number in range(200):
    store.add("run-1", {"line": str(number), "level": "INFO", "at": "2024-01-01T00:00:00+00:00"})
store.add("run-1", {"end": "failed", "unit": "unit-1", "message": "broken"})
print(store.problem)
"""
    done = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path), OWNER], capture_output=True, text=True, timeout=60, check=True
    )
    store = DiskReports(tmp_path, OWNER)
    found = texts(store.load())
    store.close()

    assert os.strerror(errno.EFBIG) in done.stdout
    assert found == [str(number) for number in range(len(found))]
    assert 10 < len(found) < 200


def test_a_rewriting_that_fails_leaves_the_old_file(new: Open, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No report is lost, and nothing half is left behind."""
    store = new(most_bytes=2_000)

    def refuse(fd: int) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(os, "fsync", refuse)
    for number in range(25):
        store.add(RUN, line(str(number)))
    store.close()

    assert [path.name.endswith(NEW) for path in folder.iterdir()] == [False]
    assert texts(new().load())[-1] == "24"


def test_a_new_file_that_another_agent_takes_is_given_up(
    new: Open, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between its making and its locking another agent may take it for a file that was left: make another."""
    store, rival = new(), new()
    flock = fcntl.flock
    stolen: list[bool] = []

    def late(fd: int, how: int) -> None:
        if not stolen:
            stolen.append(True)
            rival.load()  # takes the empty file, and removes it
        flock(fd, how)

    monkeypatch.setattr(fcntl, "flock", late)
    store.add(RUN, END)
    store.close()

    assert stolen
    assert texts(new().load()) == ["(end)"]


def test_an_end_is_synced_and_a_line_is_not(new: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ends outlive the machine; lines only the process, since they are many."""
    synced: list[int] = []
    fsync = os.fsync

    def noted(fd: int) -> None:
        synced.append(fd)
        fsync(fd)

    monkeypatch.setattr(os, "fsync", noted)
    store = new()

    store.add(RUN, line("a"))
    assert synced == []
    store.add(RUN, END)
    assert len(synced) == 2  # the file, and its name in the folder
    store.add(RUN, END)
    assert len(synced) == 3

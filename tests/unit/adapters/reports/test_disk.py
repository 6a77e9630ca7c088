"""Reports on disk: what outlives a process, however it ends, and what it costs."""

import os
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from prefect.agent.adapters.fakes.contracts import ReportStoreContract
from prefect.agent.adapters.reports import DiskReports
from prefect.agent.adapters.reports.journal import NEW, SUFFIX, Journal
from prefect.agent.domain.model.flow_runs import FlowRunId
from prefect.agent.ports.reports import MemoryReports, ReportStore
from support.disk import END, OTHER, OWNER, RUN, Open, line, size_of, stores, texts
from support.waiting import wait_until


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where the owner's reports are."""
    return tmp_path / "reports" / OWNER


@pytest.fixture
def new(tmp_path: Path) -> Iterator[Open]:
    """Opens stores on one state directory."""
    with stores(tmp_path) as open_one:
        yield open_one


class TestMemoryReports(ReportStoreContract):
    """The memory against the contract."""

    @pytest.fixture
    def store(self) -> ReportStore:
        """The store under test."""
        return MemoryReports()


class TestDiskReports(ReportStoreContract):
    """The disk against the contract."""

    @pytest.fixture
    def store(self, tmp_path: Path) -> ReportStore:
        """The store under test."""
        return DiskReports(tmp_path, OWNER)


# --- what outlives a process ---


def test_reports_outlive_their_process_in_order(new: Open) -> None:
    """The next agent of the owner gets what was not forgotten, of each run in order."""
    store = new()
    for text in ("a", "b", "c"):
        store.add(RUN, line(text))
    store.add(RUN, END)
    store.add(OTHER, line("x"))
    store.forget_lines(RUN, 1)
    store.forget(OTHER)
    store.close()

    found = new().load()

    assert texts(found) == ["b", "c", "(end)"]
    assert list(found) == [RUN]
    assert found[RUN][-1] == END


def test_what_was_taken_up_is_kept_until_it_is_forgotten(new: Open) -> None:
    """A second crash loses nothing either; what the second agent has sent does not come again."""
    first = new()
    for text in ("a", "b"):
        first.add(RUN, line(text))
    first.close()
    second = new()
    assert texts(second.load()) == ["a", "b"]
    second.add(RUN, line("c"))
    second.forget_lines(RUN, 1)
    second.close()

    assert texts(new().load()) == ["b", "c"]


def test_nothing_is_on_disk_once_all_is_reported(new: Open, folder: Path) -> None:
    """No file is left, of this agent or of those before it."""
    old = new()
    old.add(RUN, END)
    old.close()
    store = new()
    store.load()
    store.add(OTHER, line("x"))
    store.forget(RUN)
    assert len(list(folder.iterdir())) == 1

    store.forget_lines(OTHER, 1)

    assert list(folder.iterdir()) == []
    store.add(OTHER, line("y"))
    assert len(list(folder.iterdir())) == 1


def test_agents_that_live_share_nothing(new: Open) -> None:
    """The reports of a living agent are its own; those of one that is gone are given out once."""
    first, second = new(), new()
    first.add(RUN, line("first"))
    second.add(RUN, line("second"))
    first.close()
    third, fourth = new(), new()

    assert [texts(third.load()), texts(fourth.load())] == [["first"], []]
    assert texts(new("another").load()) == []


def test_files_are_for_their_user_alone(new: Open, tmp_path: Path, folder: Path) -> None:
    """0600 in 0700 folders, whatever the umask."""
    before = os.umask(0)
    try:
        new().add(RUN, END)
    finally:
        os.umask(before)

    [file] = folder.iterdir()
    modes = [stat.S_IMODE(path.stat().st_mode) for path in (file, folder, folder.parent)]
    assert modes == [0o600, 0o700, 0o700]


CHILD = """
import sys
from pathlib import Path
from prefect.agent.adapters.reports import DiskReports
store = DiskReports(Path(sys.argv[1]), sys.argv[2], most_bytes=20_000)
store.load()
for number in range(10_000_000):
    store.add("run-1", {"line": str(number), "level": "INFO", "at": "2024-01-01T00:00:00+00:00"})
    if number == 10:
        store.add("run-2", {"end": "failed", "unit": "unit-1", "message": "broken"})
        print("begun", flush=True)
    if number % 7 == 0:
        store.add("run-3", {"line": "x", "level": "INFO", "at": "2024-01-01T00:00:00+00:00"})
        store.forget("run-3")
"""


@pytest.mark.parametrize("delay", [0.0, 0.003, 0.011, 0.05])
def test_a_killed_process_loses_no_end(new: Open, tmp_path: Path, folder: Path, delay: float) -> None:
    """``kill -9`` in the middle of writing and rewriting: the end and the newest lines, without a gap, are there."""
    child = subprocess.Popen(
        [sys.executable, "-c", CHILD, str(tmp_path), OWNER], stdout=subprocess.PIPE, env=dict(os.environ)
    )
    try:
        assert child.stdout is not None
        assert child.stdout.readline() == b"begun\n"
        [path] = [path for path in folder.iterdir() if path.name.endswith(SUFFIX)]
        goal = path.stat().st_size + int(delay * 100_000)
        wait_until(lambda: path.stat().st_size >= min(goal, 15_000))
    finally:
        child.send_signal(signal.SIGKILL)
        child.communicate(timeout=30)

    found = new().load()

    numbers = [int(text) for text in texts(found)]
    assert texts(found, OTHER) == ["(end)"]
    assert FlowRunId("run-3") not in found or len(found[FlowRunId("run-3")]) == 1
    assert numbers == list(range(numbers[0], numbers[0] + len(numbers)))
    assert len(numbers) >= 11
    assert [path for path in folder.iterdir() if path.name.endswith(NEW)] == []


@pytest.mark.parametrize("cut", [1, 5, 30])
def test_a_torn_last_line_counts_for_nothing(new: Open, folder: Path, cut: int) -> None:
    """The lines before it are there, and so are those that the next agent adds behind it."""
    store = new()
    store.add(RUN, line("a"))
    store.add(RUN, line("torn"))
    store.close()
    [path] = folder.iterdir()
    os.truncate(path, path.stat().st_size - cut)
    second = new()
    assert texts(second.load()) == ["a"]
    second.add(RUN, line("b"))
    second.close()

    assert texts(new().load()) == ["a", "b"]


def test_each_report_is_taken_up_by_one_of_many_agents(new: Open) -> None:
    """They start at the same time, after as many are gone."""
    gone = [new() for _ in range(20)]
    for number, store in enumerate(gone):
        store.add(FlowRunId(f"run-{number}"), line("x"))
    for store in gone:
        store.close()
    stores = [new() for _ in range(8)]

    with ThreadPoolExecutor(8) as pool:
        found = [run for runs in pool.map(DiskReports.load, stores) for run in runs]

    assert sorted(found) == sorted(f"run-{number}" for number in range(20))


# --- bounds ---


def test_the_oldest_lines_go_first_and_are_counted(new: Open, folder: Path) -> None:
    """The files keep to their bound at every moment between two calls; ends stay."""
    store = new(most_bytes=20_000)
    store.add(RUN, END)
    for number in range(1000):
        store.add(OTHER, line(str(number)))
        assert size_of(folder) <= 20_000

    store.close()
    found = new().load()

    kept = [int(text) for text in texts(found, OTHER)]
    assert texts(found) == ["(end)"]
    assert kept == list(range(1000 - len(kept), 1000))
    assert store.dropped == 1000 - len(kept) > 0


def test_ends_are_kept_beyond_the_bound(new: Open) -> None:
    """However many there are; lines have no room then, and each addition costs about the same."""
    store = new(most_bytes=10_000)
    for number in range(500):
        store.add(FlowRunId(f"run-{number}"), END)
        store.add(OTHER, line("x"))
    store.close()

    found = new(most_bytes=10_000).load()

    assert sum(entry == END for entries in found.values() for entry in entries) == 500
    assert store.dropped > 0


def test_what_is_forgotten_makes_room(new: Open, folder: Path) -> None:
    """A run that is never sent does not keep what others have sent on the disk."""
    store = new(most_bytes=20_000)
    store.add(RUN, line("stuck"))
    for number in range(1000):
        store.add(OTHER, line(str(number)))
        store.forget(OTHER)
        assert size_of(folder) <= 20_000

    store.close()
    assert store.dropped == 0
    assert {run: texts({run: entries}, run) for run, entries in new().load().items()} == {RUN: ["stuck"]}


def test_lines_that_the_store_dropped_are_forgotten_by_number_all_the_same(new: Open) -> None:
    """The outbox counts the lines that it has, whether they have found a place on disk or not."""
    store = new(most_bytes=5_000)
    for number in range(100):
        store.add(RUN, line(str(number)))
    dropped = store.dropped
    store.forget_lines(RUN, 90)
    store.close()

    assert 0 < dropped < 90
    assert texts(new().load()) == [str(number) for number in range(90, 100)]


def test_many_lines_cost_little(new: Open) -> None:
    """1,000 lines within 50 ms of this process's own time; the quickest of some tries, since machines are busy."""
    store, costs = new(), []
    entry = line("x" * 100)
    for _ in range(10):
        begin = time.process_time()
        for _ in range(1000):
            store.add(RUN, entry)
        costs.append(time.process_time() - begin)

    assert min(costs) < 0.05


def test_many_runs_cost_the_same_each(new: Open) -> None:
    """Nothing is scanned for each of 20,000 runs: ten times as many cost about ten times as much."""

    def cost(count: int) -> float:
        store = new(f"owner-{count}", most_bytes=count * 100)
        begin = time.process_time()
        for number in range(count):
            store.add(FlowRunId(f"run-{number}"), line("x"))
        for number in range(count):
            store.forget(FlowRunId(f"run-{number}"))
        return time.process_time() - begin

    small = min(cost(2_000) for _ in range(3))
    assert cost(20_000) < 40 * small


def test_a_folder_that_vanishes_is_made_again(new: Open, folder: Path) -> None:
    """Reports that come after that are kept."""
    store = new()
    folder.rmdir()
    store.add(RUN, END)
    store.close()

    assert texts(new().load()) == ["(end)"]


def test_a_living_agents_file_is_not_adopted(new: Open, folder: Path) -> None:
    """Its lock says that it lives."""
    new().add(RUN, END)
    [path] = folder.iterdir()

    assert Journal.adopt(path, most_bytes=1_000_000) is None

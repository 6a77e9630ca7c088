"""Where processes live: lost directories, scarce descriptors, process ids that are used again, bare systems."""

import json
import os
import resource
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path

import pytest

from prefect.agent.adapters.process import ProcessPlatform, ending, launcher, platform, processes, sole_start
from prefect.agent.adapters.process.unit_dir import UnitDir
from prefect.agent.domain.errors import PlatformUnavailable
from prefect.agent.domain.model.units import Unit, UnitStatus
from support.process_harness import ProcessHarness, over
from support.processes import has_ended
from support.waiting import wait_until


@pytest.fixture
def harness(tmp_path: Path) -> Generator[ProcessHarness]:
    """See :class:`ProcessHarness`. All that was started is ended."""
    harness = ProcessHarness(tmp_path)
    yield harness
    harness.clean()


# --- the state directory is lost ---


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has a second record")
@pytest.mark.parametrize("what", ["unit", "all"])
def test_a_lost_directory_starts_nothing_twice(harness: ProcessHarness, what: str) -> None:
    """The process lives: the same agent and the next one see it, do not start it again, and learn how it ended."""
    agent = harness.agent()
    identity = agent.identity
    submission = harness.submission(
        "/bin/sh", "-c", f"echo $$ >> {harness.folder}/starts; read x < {harness.folder}/pipe; exit 4"
    )
    os.mkfifo(harness.folder / "pipe")
    first = agent.create(submission)
    wait_until(harness.starts, 60, "it is started")
    shutil.rmtree(harness.units if what == "all" else harness.units / submission.name)

    again = agent.create(submission)

    assert (again.id, again.status) == (first.id, UnitStatus.RUNNING)
    assert agent.identity == harness.agent().identity == identity
    (harness.folder / "pipe").write_text("go\n", encoding="ascii")
    ended = over(harness.agent(), submission.name)
    assert ended.evidence is not None
    assert ended.evidence.exit_code == 4
    assert len(harness.starts()) == 1


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has a second record")
def test_a_unit_whose_directory_was_lost_is_still_there(harness: ProcessHarness) -> None:
    """Reading finds it, alone and in the list, with its owner's marks and times; stopping it ends it."""
    agent, submission = harness.agent(), harness.sleeper()
    before = agent.create(submission)
    for look in ("unit", "units"):
        shutil.rmtree(harness.units)
        found = agent.unit(submission.name) if look == "unit" else next(iter(agent.units()), None)
        assert found == before, look
    shutil.rmtree(harness.units)

    harness.agent().stop(submission.name, grace=5)

    assert all(map(has_ended, harness.starts()))


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has a second record")
def test_a_unit_of_another_directory_is_not_started_here(
    harness: ProcessHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two state directories, one claim: while its process lives it is not started again, and stays the other's."""
    monkeypatch.setattr(platform, "HELD_WITHIN", 0.0)
    agent, submission = harness.agent(), harness.sleeper()
    agent.create(submission)
    other = ProcessPlatform(harness.folder / "other", environ={"PATH": os.environ["PATH"]})

    with pytest.raises(PlatformUnavailable, match="not as a unit"):
        other.create(submission)

    assert other.units() == []
    assert other.unit(submission.name) is None
    agent.stop(submission.name, grace=5)
    assert other.create(submission).status is UnitStatus.RUNNING
    other.stop(submission.name, grace=5)


# --- descriptors ---


@contextmanager
def no_descriptors() -> Generator[None]:
    """This process may not open anything."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (0, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_out_of_descriptors_nothing_is_said_about_units(harness: ProcessHarness) -> None:
    """Every method that looks raises; a unit that lives is neither absent nor ended; nothing is left behind."""
    agent, submission, another = harness.agent(), harness.sleeper(), harness.sleeper()
    before = agent.create(submission)
    looks: dict[str, Callable[[], object]] = {
        "units": agent.units,
        "unit": lambda: agent.unit(submission.name),
        "absent": lambda: agent.unit("prefect-x-1"),
        "create again": lambda: agent.create(submission),
        "create": lambda: agent.create(another),
        "stop": lambda: agent.stop(submission.name, grace=1),
        "remove": lambda: agent.remove(submission.name),
    }
    for name, look in looks.items():
        with no_descriptors(), pytest.raises(PlatformUnavailable):
            look()
        assert agent.unit(submission.name) == before, name
    assert [unit.name for unit in agent.units()] == [submission.name]


def test_living_units_need_no_descriptors(harness: ProcessHarness) -> None:
    """However many live, the agent has as many descriptors open."""
    agent = harness.agent()
    agent.create(harness.sleeper())
    before = len(list(Path("/proc/self/fd").iterdir()))

    for _ in range(10):
        agent.create(harness.sleeper())

    assert len(list(Path("/proc/self/fd").iterdir())) == before


LIMITS = """
import os, resource, sys
from pathlib import Path
resource.setrlimit(resource.RLIMIT_NOFILE, (256, 4096))
from prefect.agent.adapters.process import ProcessPlatform
from prefect.agent.domain.model.submissions import Submission
agent = ProcessPlatform(Path(sys.argv[1]), environ={"PATH": os.environ["PATH"]})
print(*resource.getrlimit(resource.RLIMIT_NOFILE))
name = f"prefect-limits-{os.getpid()}"
script = "ulimit -S -n; ulimit -H -n"
agent.create(Submission(name=name, flow_run_id="x", attempt="1", command=("/bin/sh", "-c", script)))
while not agent.unit(name).status.has_ended:
    pass
print(*agent.logs_tail(name).split())
"""


def test_the_agent_may_open_more_and_its_units_as_before(harness: ProcessHarness) -> None:
    """The soft limit is raised to the hard one at the start; units get the usual one back."""
    words = [sys.executable, "-c", LIMITS, str(harness.units)]

    done = subprocess.run(words, capture_output=True, text=True, timeout=60, check=True)

    assert done.stdout.splitlines() == ["4096 4096", "256 4096"]


# --- whom signals reach ---


def test_a_process_that_has_the_units_old_id_is_not_signalled(
    harness: ProcessHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ids are used again, and files can be written by others: only processes with the unit's mark are signalled."""
    monkeypatch.setattr(ending, "KILLED_WITHIN", 0.2)
    agent, submission = harness.agent(), harness.sleeper()
    lock = UnitDir(harness.units / submission.name).begin(submission)
    assert lock is not None
    with subprocess.Popen(["/bin/sleep", "600"], start_new_session=True) as innocent:
        try:
            path = harness.units / submission.name / "pid"
            path.write_text(f"{innocent.pid} {innocent.pid}\n", encoding="ascii")
            with pytest.raises(PlatformUnavailable, match="do not end"):
                agent.stop(submission.name, grace=0.1)
            os.close(lock)
            agent.stop(submission.name, grace=0.1)
            assert innocent.poll() is None
        finally:
            innocent.kill()


def test_a_stubborn_command_leaves_its_exit_code(harness: ProcessHarness) -> None:
    """It is killed; the shell that keeps its books is not, and writes down how it ended."""
    agent = harness.agent()
    script = f"trap '' TERM; echo $$ >> {harness.folder}/starts; while :; do sleep 0.05; done"
    submission = harness.submission("/bin/sh", "-c", script)
    agent.create(submission)
    wait_until(harness.starts, 60, "it is started")

    agent.stop(submission.name, grace=0.1)

    unit = agent.unit(submission.name)
    assert unit is not None
    assert str(unit.evidence) == "Killed, ended by signal 9, exit code 137"


def test_a_process_that_keeps_only_the_lock_is_found(harness: ProcessHarness) -> None:
    """It has cleared its environment and left the session: whoever holds the lock is the unit."""
    agent = harness.agent()
    child = f"echo $$ >> {harness.folder}/starts; exec sleep 600"
    submission = harness.submission("/bin/sh", "-c", f"env -i setsid /bin/sh -c '{child}' & exit 0")
    agent.create(submission)
    wait_until(harness.starts, 60, "the child is started")
    unit = agent.unit(submission.name)
    assert unit is not None
    assert unit.status is UnitStatus.RUNNING

    agent.stop(submission.name, grace=5)

    assert all(map(has_ended, harness.starts()))


def test_an_old_unit_without_marks_is_seen_and_stopped(harness: ProcessHarness) -> None:
    """Units of the agent's last version go on over its upgrade: their file has one number, and no owner."""
    agent, submission = harness.agent(), harness.sleeper()
    path = harness.units / submission.name
    path.mkdir(parents=True)
    about = {"flow_run_id": submission.flow_run_id, "attempt": "1", "created_at": "2026-01-02T03:04:05+00:00"}
    (path / "unit.json").write_text(json.dumps(about), encoding="ascii")
    (path / "lock").touch()
    script = 'echo $$ > "$0/pid"; "$@"; echo $? > "$0/exit.new" && mv "$0/exit.new" "$0/exit"'
    words = ["flock", "--no-fork", str(path / "lock"), "/bin/sh", "-c", script, str(path), *submission.command]
    with subprocess.Popen(words, start_new_session=True) as old:
        wait_until(harness.starts, 60, "it is started")
        unit = agent.unit(submission.name)
        assert unit is not None
        assert (unit.status, unit.owner, unit.id) == (UnitStatus.RUNNING, None, str(old.pid))

        agent.stop(submission.name, grace=5)

        old.wait(60)
    assert all(map(has_ended, harness.starts()))
    assert over(agent, submission.name).status is UnitStatus.FAILED


# --- systems without /proc ---


@pytest.fixture
def bare_system(harness: ProcessHarness, monkeypatch: pytest.MonkeyPatch) -> ProcessHarness:
    """A POSIX system that has neither /proc nor names of sockets nor a way to wait for any child without reaping it."""
    monkeypatch.setattr(processes, "PROC", harness.folder / "proc")
    monkeypatch.setattr(launcher, "_PROGRAM", launcher._PROGRAM.replace("/proc/", "/nowhere/"))
    monkeypatch.setattr(sole_start, "is_supported", lambda: False)
    monkeypatch.delattr(os, "waitid")
    monkeypatch.delattr(os, "memfd_create")
    return harness


def test_without_proc_units_run_and_end(bare_system: ProcessHarness) -> None:
    """The id that is told is the command's, the exit code is kept, the end is told, another agent sees it all."""
    agent = bare_system.agent()
    submission = bare_system.submission("/bin/sh", "-c", f"echo $$ > {bare_system.folder}/starts; exit 3")
    seen: list[Unit] = []
    watching = threading.Thread(target=lambda: seen.extend(agent.watch(seconds=2)))
    watching.start()

    unit = agent.create(submission)

    ended = over(bare_system.agent(), submission.name)
    assert [int(unit.id)] == bare_system.starts()
    assert ended.evidence is not None
    assert ended.evidence.exit_code == 3
    watching.join(60)
    assert [each.status for each in seen] in ([UnitStatus.FAILED], [])  # it may have ended before the watch began
    agent.remove(submission.name)
    assert agent.units() == []


def test_without_proc_the_process_group_is_stopped(bare_system: ProcessHarness) -> None:
    """Asked, then killed: all that holds the unit's lock."""
    agent = bare_system.agent()
    script = f"trap '' TERM; echo $$ >> {bare_system.folder}/starts; while :; do sleep 0.05; done"
    submission = bare_system.submission("/bin/sh", "-c", script)
    agent.create(submission)
    wait_until(bare_system.starts, 60, "it is started")

    bare_system.agent().stop(submission.name, grace=0.1)

    assert all(map(has_ended, bare_system.starts()))
    unit = agent.unit(submission.name)
    assert unit is not None
    assert unit.status is UnitStatus.FAILED

"""What only processes of this machine can do wrong: hostile environments, lost directories, full disks, pids."""

import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import uuid
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from pathlib import Path

import attrs
import pytest

from prefect.agent.adapters.process import ProcessPlatform, ending, launcher, platform
from prefect.agent.adapters.process.unit_dir import UnitDir
from prefect.agent.domain.errors import PlatformUnavailable, SubmissionRefused
from prefect.agent.domain.model.flow_runs import FlowRunId, SimpleAttempt
from prefect.agent.domain.model.units import Submission, Unit, UnitStatus, unit_name
from support.processes import has_ended
from support.waiting import wait_until

TELL = "import os, sys; open(sys.argv[1] + '.new', 'wb').write(open('/proc/self/environ', 'rb').read())"
RENAME = "os.rename(sys.argv[1] + '.new', sys.argv[1])"


@attrs.frozen
class Place:
    """A state directory, and a folder where units leave their traces."""

    folder: Path

    @property
    def units(self) -> Path:
        """The state directory."""
        return self.folder / "units"

    def agent(self) -> ProcessPlatform:
        """One more agent's platform."""
        return ProcessPlatform(self.units, environ={"PATH": os.environ["PATH"], "LANG": "C.UTF-8"})

    def submission(self, *command: str, env: Mapping[str, str] | None = None) -> Submission:
        """A new flow run."""
        run_id = FlowRunId(str(uuid.uuid4()))
        name = unit_name(run_id, SimpleAttempt("1"))
        return Submission(name=name, flow_run_id=run_id, attempt="1", command=command, env=env or {})

    def sleeper(self) -> Submission:
        """One that notes each of its starts, and waits."""
        return self.submission("/bin/sh", "-c", f"echo $$ >> {self.folder}/starts; exec sleep 600")

    def starts(self) -> list[int]:
        """Process ids of all starts of sleepers."""
        path = self.folder / "starts"
        return [int(word) for word in path.read_text(encoding="ascii").split()] if path.exists() else []


@pytest.fixture
def place(tmp_path: Path) -> Generator[Place]:
    """See :class:`Place`. All that was started is ended."""
    place = Place(tmp_path)
    yield place
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = path.read_bytes()
        except OSError:
            continue
        if f"{tmp_path}/".encode() in words:
            for pid in (int(path.parent.name), *_children(path.parent)):
                try:
                    os.kill(pid, signal.SIGKILL)
                except ProcessLookupError:
                    continue


def _children(process: Path) -> list[int]:
    try:
        return [int(word) for word in (process / "task" / process.name / "children").read_text().split()]
    except OSError:
        return []


def over(agent: ProcessPlatform, name: str) -> Unit:
    """The unit, once it has ended."""
    found: list[Unit] = []

    def check() -> bool:
        unit = agent.unit(name)
        assert unit is not None
        found.append(unit)
        return unit.status.has_ended

    wait_until(check, 60, f"{name} has ended")
    return found[-1]


# --- the bookkeeping and the submission's environment ---


HOSTILE = {
    "no programs": {"PATH": ""},
    "programs that fail": {"PATH": "{bin}"},
    "library that fails": {"LD_PRELOAD": "{bin}/broken.so", "LD_LIBRARY_PATH": "{bin}"},
    "options of shells": {"SHELLOPTS": "noexec", "BASH_ENV": "{bin}/false", "ENV": "{bin}/false", "BASHOPTS": "x"},
    "functions of shells": {"BASH_FUNC_printf%%": "() { exit 9; }", "BASH_FUNC_read%%": "() { exit 9; }"},
    "names of our own": {"unit": "/x", "code": "9", "pid": "1", "began": "", "IFS": "0123456789", "PWD": "/x"},
    "names that shells keep": {"PPID": "1", "UID": "x", "EUID": "x", "OPTIND": "x", "LINENO": "x", "RANDOM": "x"},
    "names that no shell takes": {"a.b": "1", "1": "1", "a-b c": "x", "%": "1"},
}


@pytest.mark.parametrize("env", HOSTILE.values(), ids=HOSTILE)
def test_the_submissions_environment_cannot_break_the_bookkeeping(place: Place, env: dict[str, str]) -> None:
    """Whatever a flow's author sets: the unit begins, once, and its exit code is kept."""
    folder = place.folder / "bin"
    folder.mkdir()
    for name in ("mv", "echo", "printf", "cat", "false"):
        (folder / name).write_text("#!/bin/sh\nexit 1\n", encoding="ascii")
        (folder / name).chmod(0o755)
    (folder / "libc.so.6").write_text("broken", encoding="ascii")
    env = {name: value.replace("{bin}", str(folder)) for name, value in env.items()}
    agent = place.agent()
    words = ("/bin/sh", "-c", f": > {place.folder}/began; exit 3") if "LD_PRELOAD" not in env else ("/bin/sh",)
    submission = place.submission(*words, env=env)

    unit = agent.create(submission)

    assert unit.id
    ended = over(agent, submission.name)
    assert ended.evidence is not None
    assert ended.evidence.exit_code == (127 if "LD_PRELOAD" in env else 3)
    assert ended.status is UnitStatus.FAILED


def test_every_character_reaches_the_command(place: Place) -> None:
    """Values pass a shell on their way: nothing of them is read by it. The secret is in no command line."""
    value = bytes(range(1, 256)).decode(errors="surrogateescape")
    env = {"ALL": value, "QUOTES": "'\"'\\''", "LINES": "a\nb\n\n", "EMPTY": "", "_": "x"}
    trace = place.folder / "environment"
    code = f"{TELL}; {RENAME}; import time; time.sleep(600)"
    submission = place.submission(sys.executable, "-I", "-S", "-c", code, str(trace), env=env)
    submission = attrs.evolve(submission, secret_env={"SECRET": "s3cr3t of 'mine'"})

    unit = place.agent().create(submission)

    wait_until(trace.exists, 60, "the command says what it was given")
    pairs = (word.split(b"=", 1) for word in trace.read_bytes().split(b"\0") if word)
    given = {os.fsdecode(name): os.fsdecode(content) for name, content in pairs}
    wanted = {**env, "SECRET": "s3cr3t of 'mine'"}
    assert {name: given.get(name) for name in wanted if name != "_"} == {n: v for n, v in wanted.items() if n != "_"}
    assert launcher.ABOUT not in given
    lines = [Path(f"/proc/{pid}/cmdline").read_bytes() for pid in (unit.id, os.getppid())]
    shell = Path(f"/proc/{unit.id}/stat").read_text(encoding="ascii").rpartition(")")[2].split()[1]
    lines.append(Path(f"/proc/{shell}/cmdline").read_bytes())
    assert b"s3cr3t" not in b"".join(lines)
    assert b"s3cr3t" not in Path(f"/proc/{shell}/environ").read_bytes()


@pytest.mark.parametrize(
    ("env", "words"),
    [({"BIG": "x" * 140_000}, "larger"), ({"NUL": "a\0b"}, "NUL"), ({"A=B": "x"}, "name"), ({"": "x"}, "name")],
    ids=["big", "nul", "equals", "nameless"],
)
def test_an_environment_that_no_process_can_have_is_refused(place: Place, env: dict[str, str], words: str) -> None:
    """It is the run's fault, is said so, and leaves nothing."""
    agent, submission = place.agent(), place.submission("/bin/true", env=env)

    with pytest.raises(SubmissionRefused, match=words):
        agent.create(submission)

    assert agent.units() == []
    assert not (place.units / submission.name).exists()


def test_the_pid_that_is_told_is_the_commands(place: Place) -> None:
    """A person who looks for it finds the flow, not our shell."""
    agent = place.agent()

    unit = agent.create(place.sleeper())

    wait_until(place.starts, 60, "it is started")
    assert place.starts() == [int(unit.id)]
    assert unit.info == f"PID: {unit.id}"


def test_what_is_kept_of_a_unit_is_private_and_what_it_makes_is_as_usual(place: Place) -> None:
    """Its directory is for the own user only; the command makes files as it would without us."""
    agent = place.agent()
    mask = os.umask(0)
    os.umask(mask)
    submission = place.submission("/bin/sh", "-c", f"echo x; : > {place.folder}/made")
    agent.create(submission)
    over(agent, submission.name)

    modes = {path.name: path.stat().st_mode & 0o777 for path in (place.units / submission.name).iterdir()}
    assert modes == dict.fromkeys(("lock", "unit.json", "pid", "exit", "output"), 0o600)
    assert (place.units / submission.name).stat().st_mode & 0o777 == 0o700
    assert (place.folder / "made").stat().st_mode & 0o777 == 0o666 & ~mask


# --- begun, or not ---


def test_a_unit_that_does_not_begin_is_an_error_and_leaves_nothing(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The shell cannot be executed, or ends before its first act: create does not return, and may be repeated."""
    agent, submission = place.agent(), place.sleeper()
    for shell in ("/bin/false", str(place.folder / "gone")):
        monkeypatch.setattr(launcher, "SHELL", shell)
        with pytest.raises(PlatformUnavailable):
            agent.create(submission)
        assert agent.units() == []
    monkeypatch.undo()

    assert agent.create(submission).status is UnitStatus.RUNNING


def test_an_exit_code_that_cannot_be_kept_is_no_kill(place: Place) -> None:
    """The disk is full when a unit ends: the evidence says that, not that it was killed."""
    agent = place.agent()
    submission = place.submission("/bin/sh", "-c", f"until [ -e {place.folder}/go ]; do sleep 0.01; done; exit 3")
    agent.create(submission)
    path = place.units / submission.name / "exit"
    path.unlink()
    path.symlink_to("/dev/full")

    (place.folder / "go").touch()

    unit = over(agent, submission.name)
    assert unit.status is UnitStatus.FAILED
    assert "no space" in str(unit.evidence)
    assert "Killed" not in str(unit.evidence)


FULL = """
import os, sys
from pathlib import Path
from prefect.agent.adapters.process import ProcessPlatform
from prefect.agent.domain.errors import PlatformUnavailable
from prefect.agent.domain.model.units import Submission

folder = Path(sys.argv[1])
agent = ProcessPlatform(folder / "units", environ={"PATH": os.environ["PATH"]})
agent.identity

def fill():
    with (folder / "filler").open("wb") as file:
        try:
            while True:
                os.write(file.fileno(), b"x" * 512)
        except OSError:
            pass

def submission(number, script):
    name = f"prefect-full-{os.getpid()}-{number}"
    return Submission(name=name, flow_run_id="x", attempt="1", command=("/bin/sh", "-c", script))

fill()
first = submission(1, "exit 0")
try:
    agent.create(first)
    print("created")
except PlatformUnavailable as problem:
    print("unavailable:", problem)
print("left:", [path.name for path in (folder / "units").iterdir() if path.is_dir()], agent.unit(first.name))
(folder / "filler").unlink()
second = submission(2, "read x < %s/pipe; exit 5" % folder)
os.mkfifo(folder / "pipe")
print("second:", agent.create(second).status.value)
fill()
(folder / "pipe").write_text("go\\n")
while not agent.unit(second.name).status.has_ended:
    pass
print("ended:", agent.unit(second.name).evidence)
"""


def test_a_full_disk_starts_nothing_and_loses_no_exit_code(place: Place) -> None:
    """At the start: unavailable, and nothing that counts as begun is left. At the end: the code has its room."""
    program, disk = place.folder / "full.py", place.folder / "disk"
    program.write_text(FULL, encoding="ascii")
    disk.mkdir()
    mount = f'mount -t tmpfs -o size=64k none "{disk}" || exit 77; exec "{sys.executable}" "{program}" "{disk}"'
    words = ["unshare", "--mount", *([] if os.getuid() == 0 else ["--map-root-user"]), "/bin/sh", "-c", mount]

    done = subprocess.run(words, capture_output=True, text=True, timeout=120, check=False)

    if done.returncode in {1, 77} and not done.stdout:
        pytest.skip(f"no file system can be mounted here: {done.stderr.strip()}")
    lines = done.stdout.splitlines()
    assert lines[0].startswith("unavailable: this machine is out of something"), done.stdout + done.stderr
    assert lines[1:] == ["left: [] None", "second: running", "ended: Error, exit code 5"], done.stdout + done.stderr


# --- the state directory is lost ---


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has a second record")
@pytest.mark.parametrize("what", ["unit", "all"])
def test_a_lost_directory_starts_nothing_twice(place: Place, what: str) -> None:
    """The process lives: the same agent and the next one see it, do not start it again, and learn how it ended."""
    agent = place.agent()
    identity = agent.identity
    submission = place.submission(
        "/bin/sh", "-c", f"echo $$ >> {place.folder}/starts; read x < {place.folder}/pipe; exit 4"
    )
    os.mkfifo(place.folder / "pipe")
    first = agent.create(submission)
    wait_until(place.starts, 60, "it is started")
    shutil.rmtree(place.units if what == "all" else place.units / submission.name)

    again = agent.create(submission)

    assert (again.id, again.status) == (first.id, UnitStatus.RUNNING)
    assert agent.identity == place.agent().identity == identity
    (place.folder / "pipe").write_text("go\n", encoding="ascii")
    ended = over(place.agent(), submission.name)
    assert ended.evidence is not None
    assert ended.evidence.exit_code == 4
    assert len(place.starts()) == 1


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has a second record")
def test_a_unit_whose_directory_was_lost_is_still_there(place: Place) -> None:
    """Reading finds it, alone and in the list, with its owner's marks and times; stopping it ends it."""
    agent, submission = place.agent(), place.sleeper()
    before = agent.create(submission)
    for look in ("unit", "units"):
        shutil.rmtree(place.units)
        found = agent.unit(submission.name) if look == "unit" else next(iter(agent.units()), None)
        assert found == before, look
    shutil.rmtree(place.units)

    place.agent().stop(submission.name, grace=5)

    assert all(map(has_ended, place.starts()))


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has a second record")
def test_a_unit_of_another_directory_is_not_started_here(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two state directories, one claim: while its process lives it is not started again, and stays the other's."""
    monkeypatch.setattr(platform, "HELD_WITHIN", 0.0)
    agent, submission = place.agent(), place.sleeper()
    agent.create(submission)
    other = ProcessPlatform(place.folder / "other", environ={"PATH": os.environ["PATH"]})

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


def test_out_of_descriptors_nothing_is_said_about_units(place: Place) -> None:
    """Every method that looks raises; a unit that lives is neither absent nor ended; nothing is left behind."""
    agent, submission, another = place.agent(), place.sleeper(), place.sleeper()
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


def test_living_units_need_no_descriptors(place: Place) -> None:
    """However many live, the agent has as many descriptors open."""
    agent = place.agent()
    agent.create(place.sleeper())
    before = len(list(Path("/proc/self/fd").iterdir()))

    for _ in range(10):
        agent.create(place.sleeper())

    assert len(list(Path("/proc/self/fd").iterdir())) == before


LIMITS = """
import os, resource, sys
from pathlib import Path
resource.setrlimit(resource.RLIMIT_NOFILE, (256, 4096))
from prefect.agent.adapters.process import ProcessPlatform
from prefect.agent.domain.model.units import Submission
agent = ProcessPlatform(Path(sys.argv[1]), environ={"PATH": os.environ["PATH"]})
print(*resource.getrlimit(resource.RLIMIT_NOFILE))
name = f"prefect-limits-{os.getpid()}"
script = "ulimit -S -n; ulimit -H -n"
agent.create(Submission(name=name, flow_run_id="x", attempt="1", command=("/bin/sh", "-c", script)))
while not agent.unit(name).status.has_ended:
    pass
print(*agent.logs_tail(name).split())
"""


def test_the_agent_may_open_more_and_its_units_as_before(place: Place) -> None:
    """The soft limit is raised to the hard one at the start; units get the usual one back."""
    words = [sys.executable, "-c", LIMITS, str(place.units)]

    done = subprocess.run(words, capture_output=True, text=True, timeout=60, check=True)

    assert done.stdout.splitlines() == ["4096 4096", "256 4096"]


# --- whom signals reach ---


def test_a_process_that_has_the_units_old_id_is_not_signalled(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ids are used again, and files can be written by others: only processes with the unit's mark are signalled."""
    monkeypatch.setattr(ending, "KILLED_WITHIN", 0.2)
    agent, submission = place.agent(), place.sleeper()
    lock = UnitDir(place.units / submission.name).begin(submission)
    assert lock is not None
    with subprocess.Popen(["/bin/sleep", "600"], start_new_session=True) as innocent:
        try:
            path = place.units / submission.name / "pid"
            path.write_text(f"{innocent.pid} {innocent.pid}\n", encoding="ascii")
            with pytest.raises(PlatformUnavailable, match="does not end"):
                agent.stop(submission.name, grace=0.1)
            os.close(lock)
            agent.stop(submission.name, grace=0.1)
            assert innocent.poll() is None
        finally:
            innocent.kill()


def test_a_stubborn_command_leaves_its_exit_code(place: Place) -> None:
    """It is killed; the shell that keeps its books is not, and writes down how it ended."""
    agent = place.agent()
    script = f"trap '' TERM; echo $$ >> {place.folder}/starts; while :; do sleep 0.05; done"
    submission = place.submission("/bin/sh", "-c", script)
    agent.create(submission)
    wait_until(place.starts, 60, "it is started")

    agent.stop(submission.name, grace=0.1)

    unit = agent.unit(submission.name)
    assert unit is not None
    assert str(unit.evidence) == "Killed, ended by signal 9, exit code 137"


def test_a_process_that_keeps_only_the_lock_is_found(place: Place) -> None:
    """It has cleared its environment and left the session: whoever holds the lock is the unit."""
    agent = place.agent()
    child = f"echo $$ >> {place.folder}/starts; exec sleep 600"
    submission = place.submission("/bin/sh", "-c", f"env -i setsid /bin/sh -c '{child}' & exit 0")
    agent.create(submission)
    wait_until(place.starts, 60, "the child is started")
    unit = agent.unit(submission.name)
    assert unit is not None
    assert unit.status is UnitStatus.RUNNING

    agent.stop(submission.name, grace=5)

    assert all(map(has_ended, place.starts()))


def test_an_old_unit_without_marks_is_seen_and_stopped(place: Place) -> None:
    """Units of the agent's last version go on over its upgrade: their file has one number, and no owner."""
    agent, submission = place.agent(), place.sleeper()
    path = place.units / submission.name
    path.mkdir(parents=True)
    about = {"flow_run_id": submission.flow_run_id, "attempt": "1", "created_at": "2026-01-02T03:04:05+00:00"}
    (path / "unit.json").write_text(json.dumps(about), encoding="ascii")
    (path / "lock").touch()
    script = 'echo $$ > "$0/pid"; "$@"; echo $? > "$0/exit.new" && mv "$0/exit.new" "$0/exit"'
    words = ["flock", "--no-fork", str(path / "lock"), "/bin/sh", "-c", script, str(path), *submission.command]
    with subprocess.Popen(words, start_new_session=True) as old:
        wait_until(place.starts, 60, "it is started")
        unit = agent.unit(submission.name)
        assert unit is not None
        assert (unit.status, unit.owner, unit.id) == (UnitStatus.RUNNING, None, str(old.pid))

        agent.stop(submission.name, grace=5)

        old.wait(60)
    assert all(map(has_ended, place.starts()))
    assert over(agent, submission.name).status is UnitStatus.FAILED

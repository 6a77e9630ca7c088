"""What a submission can do to its own bookkeeping: hostile environments, full disks, shells that do not start."""

import os
import subprocess
import sys
from collections.abc import Generator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import attrs
import pytest

from prefect.agent.adapters.process import launcher
from prefect.agent.adapters.process.platform import ProcessPlatform
from prefect.agent.domain.errors import PlatformUnavailable, SubmissionRefused
from prefect.agent.domain.model.submissions import Submission
from prefect.agent.domain.model.units import Unit, UnitStatus
from support.process_harness import ProcessHarness, over
from support.processes import has_ended
from support.waiting import wait_until

TELL = "import os, sys; open(sys.argv[1] + '.new', 'wb').write(open('/proc/self/environ', 'rb').read())"
RENAME = "os.rename(sys.argv[1] + '.new', sys.argv[1])"


@pytest.fixture
def harness(tmp_path: Path) -> Generator[ProcessHarness]:
    """See :class:`ProcessHarness`. All that was started is ended."""
    harness = ProcessHarness(tmp_path)
    yield harness
    harness.clean()


def test_flow_runs_get_the_agents_own_python_path_first(harness: ProcessHarness, tmp_path: Path) -> None:
    """As in 1.x: then the working directory, then the import paths; a run's own variable replaces all of it."""
    environ = {**os.environ, "PYTHONPATH": "/agent/one:/agent/two"}
    agent = ProcessPlatform(harness.units, import_paths=["/imported"], environ=environ)
    script = "import os, sys; print(os.environ['PYTHONPATH'], file=open(sys.argv[1], 'w'))"
    for env, expected in (({}, f"/agent/one:/agent/two:{Path.cwd()}:/imported"), ({"PYTHONPATH": "/run"}, "/run")):
        told = tmp_path / f"told-{len(env)}"
        submission = harness.submission(sys.executable, "-S", "-c", script, str(told), env=env)
        agent.create(submission)
        assert over(agent, submission.name).status is UnitStatus.SUCCEEDED
        assert told.read_text().strip() == expected
    agent.close()


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
def test_the_submissions_environment_cannot_break_the_bookkeeping(harness: ProcessHarness, env: dict[str, str]) -> None:
    """Whatever a flow's author sets: the unit begins, once, and its exit code is kept."""
    folder = harness.folder / "bin"
    folder.mkdir()
    for name in ("mv", "echo", "printf", "cat", "false"):
        (folder / name).write_text("#!/bin/sh\nexit 1\n", encoding="ascii")
        (folder / name).chmod(0o755)
    (folder / "libc.so.6").write_text("broken", encoding="ascii")
    env = {name: value.replace("{bin}", str(folder)) for name, value in env.items()}
    agent = harness.agent()
    words = ("/bin/sh", "-c", f": > {harness.folder}/began; exit 3") if "LD_PRELOAD" not in env else ("/bin/sh",)
    submission = harness.submission(*words, env=env)

    unit = agent.create(submission)

    assert unit.id
    ended = over(agent, submission.name)
    assert ended.evidence is not None
    assert ended.evidence.exit_code == (127 if "LD_PRELOAD" in env else 3)
    assert ended.status is UnitStatus.FAILED


def test_every_character_reaches_the_command(harness: ProcessHarness) -> None:
    """Values pass a shell on their way: nothing of them is read by it. The secret is in no command line."""
    value = bytes(range(1, 256)).decode(errors="surrogateescape")
    env = {"ALL": value, "QUOTES": "'\"'\\''", "LINES": "a\nb\n\n", "EMPTY": "", "_": "x"}
    trace = harness.folder / "environment"
    code = f"{TELL}; {RENAME}; import time; time.sleep(600)"
    submission = harness.submission(sys.executable, "-I", "-S", "-c", code, str(trace), env=env)
    submission = attrs.evolve(submission, secret_env={"SECRET": "s3cr3t of 'mine'"})

    unit = harness.agent().create(submission)

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
    [({"BIG": "x" * 140_000}, "too large"), ({"NUL": "a\0b"}, "NUL"), ({"A=B": "x"}, "name"), ({"": "x"}, "name")],
    ids=["big", "nul", "equals", "nameless"],
)
def test_an_environment_that_no_process_can_have_is_refused(
    harness: ProcessHarness, env: dict[str, str], words: str
) -> None:
    """It is the run's fault, is said so, and leaves nothing."""
    agent, submission = harness.agent(), harness.submission("/bin/true", env=env)

    with pytest.raises(SubmissionRefused, match=words):
        agent.create(submission)

    assert agent.units() == []
    assert not (harness.units / submission.name).exists()


def test_the_reported_pid_is_the_commands(harness: ProcessHarness) -> None:
    """A person who looks for it finds the flow, not our shell."""
    agent = harness.agent()

    unit = agent.create(harness.sleeper())

    wait_until(harness.starts, 60, "it is started")
    assert harness.starts() == [int(unit.id)]
    assert unit.info == f"PID: {unit.id}"


def test_what_is_kept_of_a_unit_is_private_and_what_it_makes_is_as_usual(harness: ProcessHarness) -> None:
    """Its directory is for the own user only; the command makes files as it would without us."""
    agent = harness.agent()
    mask = os.umask(0)
    os.umask(mask)
    submission = harness.submission("/bin/sh", "-c", f"echo x; : > {harness.folder}/made")
    agent.create(submission)
    over(agent, submission.name)

    modes = {path.name: path.stat().st_mode & 0o777 for path in (harness.units / submission.name).iterdir()}
    assert modes == dict.fromkeys(("lock", "unit.json", "pid", "exit", "output"), 0o600)
    assert (harness.units / submission.name).stat().st_mode & 0o777 == 0o700
    assert (harness.folder / "made").stat().st_mode & 0o777 == 0o666 & ~mask


# --- begun, or not ---


def test_a_unit_that_does_not_begin_is_an_error_and_leaves_nothing(
    harness: ProcessHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The shell cannot be executed, or ends before its first act: create does not return, and may be repeated."""
    agent, submission = harness.agent(), harness.sleeper()
    for shell in ("/bin/false", str(harness.folder / "gone")):
        monkeypatch.setattr(launcher, "SHELL", shell)
        with pytest.raises(PlatformUnavailable):
            agent.create(submission)
        assert agent.units() == []
    monkeypatch.undo()

    assert agent.create(submission).status is UnitStatus.RUNNING


def test_an_exit_code_that_cannot_be_kept_is_no_kill(harness: ProcessHarness) -> None:
    """The disk is full when a unit ends: the evidence says that, not that it was killed."""
    agent = harness.agent()
    submission = harness.submission("/bin/sh", "-c", f"until [ -e {harness.folder}/go ]; do sleep 0.01; done; exit 3")
    agent.create(submission)
    path = harness.units / submission.name / "exit"
    path.unlink()
    path.symlink_to("/dev/full")

    (harness.folder / "go").touch()

    unit = over(agent, submission.name)
    assert unit.status is UnitStatus.FAILED
    assert "could not be written" in str(unit.evidence)
    assert "Killed" not in str(unit.evidence)


FULL = """
import os, sys
from pathlib import Path
from prefect.agent.adapters.process import ProcessPlatform
from prefect.agent.domain.errors import PlatformUnavailable
from prefect.agent.domain.model.submissions import Submission

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


def test_a_full_disk_starts_nothing_and_loses_no_exit_code(harness: ProcessHarness) -> None:
    """At the start: unavailable, and nothing that counts as begun is left. At the end: the code has its room."""
    program, disk = harness.folder / "full.py", harness.folder / "disk"
    program.write_text(FULL, encoding="ascii")
    disk.mkdir()
    mount = f'mount -t tmpfs -o size=64k none "{disk}" || exit 77; exec "{sys.executable}" "{program}" "{disk}"'
    words = ["unshare", "--mount", *([] if os.getuid() == 0 else ["--map-root-user"]), "/bin/sh", "-c", mount]

    done = subprocess.run(words, capture_output=True, text=True, timeout=120, check=False)

    if done.returncode in {1, 77} and not done.stdout:
        pytest.skip(f"no file system can be mounted here: {done.stderr.strip()}")
    lines = done.stdout.splitlines()
    assert lines[0].startswith("unavailable: this machine has too few resources"), done.stdout + done.stderr
    assert lines[1:] == ["left: [] None", "second: running", "ended: Error, exit code 5"], done.stdout + done.stderr


# --- what a command leaves behind ---


def left_behind(harness: ProcessHarness, then: str, *, child: str = "exec sleep 600") -> Submission:
    """A unit that starts a child, as the flow process of 1.x starts its heartbeat, and then does *then*."""
    begin = f"/bin/sh -c 'echo $$ >> {harness.folder}/starts; {child}' & while [ ! -e {harness.folder}/go ]"
    return harness.submission("/bin/sh", "-c", f"{begin}; do sleep 0.01; done; {then}")


def seen_to_end(harness: ProcessHarness, agent: ProcessPlatform, submission: Submission) -> Unit:
    """Start the unit and let it go on once it is watched; what the watch says of it."""
    agent.create(submission)
    wait_until(harness.starts, 60, "the child is started")
    with ThreadPoolExecutor() as pool:
        seen = pool.submit(lambda: next(unit for unit in agent.watch(seconds=60) if unit.name == submission.name))
        wait_until(lambda: agent._reaper._listeners, 60, "it is watched")
        (harness.folder / "go").touch()
        return seen.result(60)


STUBBORN = 'trap "" TERM; while :; do sleep 0.1; done'


@pytest.mark.parametrize(
    ("then", "child", "code"),
    [("kill -9 $$", "exec sleep 600", 137), ("exit 3", "exec sleep 600", 3), ("kill -9 $$", STUBBORN, 137)],
)
def test_what_a_command_that_failed_leaves_behind_ends(
    harness: ProcessHarness, then: str, child: str, code: int
) -> None:
    """Else a flow run whose process was killed for memory would be Running for ever: its heartbeat lives on."""
    agent = harness.agent()
    submission = left_behind(harness, then, child=child)
    with closing(agent):
        seen = seen_to_end(harness, agent, submission)

    assert seen.status is UnitStatus.FAILED
    assert seen.evidence is not None
    assert seen.evidence.exit_code == code
    assert all(map(has_ended, harness.starts()))


def test_it_ends_without_an_agent(harness: ProcessHarness) -> None:
    """The unit's own shell asks it to, so that the next agent finds a unit that has ended."""
    agent = harness.agent()
    submission = left_behind(harness, "kill -9 $$")
    agent.create(submission)
    wait_until(harness.starts, 60, "the child is started")
    agent.close()
    (harness.folder / "go").touch()

    with closing(harness.agent()) as other:
        assert over(other, submission.name).status is UnitStatus.FAILED
    assert all(map(has_ended, harness.starts()))


def test_a_command_and_its_shell_that_were_killed_leave_nothing_behind(harness: ProcessHarness) -> None:
    """As somebody does who ends all processes with the flow run's id in their words."""
    agent = harness.agent()
    submission = left_behind(harness, "kill -9 $PPID $$")
    with closing(agent):
        seen = seen_to_end(harness, agent, submission)

    assert str(seen.evidence).startswith("Killed")
    assert all(map(has_ended, harness.starts()))


@pytest.mark.parametrize("then", ["exit 0", "kill -9 $PPID; sleep 600"])
def test_a_command_that_succeeded_or_goes_on_keeps_what_it_started(harness: ProcessHarness, then: str) -> None:
    """Its unit executes as long as they do; that of a shell that was killed, too."""
    agent = harness.agent()
    submission = left_behind(harness, then)
    with closing(agent):
        seen = seen_to_end(harness, agent, submission)
        assert seen.status is UnitStatus.RUNNING
        assert not any(map(has_ended, harness.starts()))

        agent.stop(submission.name, grace=5)
    assert all(map(has_ended, harness.starts()))

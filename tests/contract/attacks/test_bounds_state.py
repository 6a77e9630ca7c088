"""Attack: another user, or a flow, puts something odd where the agent keeps its state: links, FIFOs, sockets, devices.

Rule: a state directory belongs to its user alone; only regular files are read, bounded, not followed, not waited for
(``adapters/state_files.py``); a process id in a file is a claim that the kernel has to confirm.
"""

import os
import signal
import socket
import stat
import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

from prefect.agent import Agent
from prefect.agent.adapters import state_files
from prefect.agent.adapters.fakes import InMemoryPlatform
from prefect.agent.adapters.process import ending, processes
from prefect.agent.adapters.process.home import Home
from prefect.agent.adapters.process.platform import ProcessPlatform
from prefect.agent.adapters.process.unit_dir import UnitDir
from prefect.agent.adapters.reports import reports_store
from prefect.agent.adapters.reports.journal import Journal
from prefect.agent.domain.errors import ConfigurationError
from prefect.agent.entrypoints.runtime.exits import AgentExit, ExitCode, exit_for
from prefect.agent.entrypoints.server.testing import running_server
from support.waiting import wait_until

KINDS: Final = ("link", "fifo", "socket", "folder", "device", "huge")


def poison(path: Path, kind: str) -> None:
    """Put something in place of a file."""
    if kind == "link":
        path.symlink_to("/etc/passwd")
    elif kind == "fifo":
        os.mkfifo(path)
    elif kind == "socket":
        with socket.socket(socket.AF_UNIX) as made:
            made.bind(str(path))
    elif kind == "folder":
        path.mkdir()
    elif kind == "device":
        try:
            os.mknod(path, stat.S_IFCHR | 0o600, os.makedev(1, 5))
        except PermissionError:
            pytest.skip("only root can make devices")
    else:
        path.write_bytes(b"9" * 10_000_000)


@pytest.mark.parametrize("kind", KINDS)
def test_the_reader_takes_regular_files_only(tmp_path: Path, kind: str) -> None:
    """And little of them; nothing is waited for."""
    poison(tmp_path / "x", kind)
    if kind == "huge":
        assert len(state_files.read(tmp_path / "x") or b"") == state_files.LIMIT
        return
    with pytest.raises(state_files.NotAFile):
        state_files.read(tmp_path / "x")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", ["id", "identities"])
def test_a_poisoned_identity_is_made_anew(tmp_path: Path, name: str, kind: str) -> None:
    """Nothing of what a link points to becomes the identity, and nothing is written there."""
    (tmp_path / "units").mkdir(mode=0o700)
    poison(tmp_path / "units" / name, kind)
    if kind == "folder":
        with pytest.raises(OSError, match="directory"):
            Home(tmp_path / "units").identity()
        return
    identity = Home(tmp_path / "units").identity()
    assert "root" not in identity
    assert identity == Home(tmp_path / "units").identity()


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "huge"])
def test_a_poisoned_journal_is_passed_over(tmp_path: Path, kind: str) -> None:
    """It is not taken up, not followed, not removed."""
    path = tmp_path / "0-1.reports"
    poison(path, kind)
    before = path.lstat()
    assert Journal.adopt(path, most_bytes=1000) is None
    assert path.lstat().st_ino == before.st_ino


@pytest.mark.parametrize("mode", [0o777, 0o770, 0o707, 0o720, 0o702, 0o1777])
def test_a_state_directory_that_others_can_write_is_refused(tmp_path: Path, mode: int) -> None:
    """Exit 78 and one sentence that says what to do, also if it was the agent itself that made it."""
    folder = tmp_path / "units"
    folder.mkdir()
    folder.chmod(mode)
    with pytest.raises(ConfigurationError, match=r"chmod go-w.*folder of your own") as refused:
        _ = ProcessPlatform(folder).identity
    assert exit_for(refused.value).code is ExitCode.CONFIGURATION
    assert stat.S_IMODE(folder.stat().st_mode) == mode
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize("level", ["state", "reports"])
def test_an_agent_does_not_start_with_reports_that_others_can_write(tmp_path: Path, level: str) -> None:
    """Exit 78 and one sentence that says what to do."""
    state = tmp_path / "state"
    where = {"state": state, "reports": state / "reports"}[level]
    where.mkdir(parents=True)
    where.chmod(0o777)
    with running_server() as url:
        agent = Agent(
            name="a", api=url, platform=InMemoryPlatform(), environ={"PREFECT__BACKEND": "server"},
            state_directory=str(state), max_polls=1,
        )  # fmt: skip
        with pytest.raises((AgentExit, ConfigurationError), match="chmod go-w") as refused:
            agent.start()
    end = refused.value
    if isinstance(end, ConfigurationError):
        end = exit_for(end)
    assert isinstance(end, AgentExit)
    assert end.code is ExitCode.CONFIGURATION


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a folder away")
def test_a_state_directory_of_another_user_is_refused(tmp_path: Path) -> None:
    """Its owner can put anything there at any time."""
    folder = tmp_path / "units"
    folder.mkdir(mode=0o700)
    os.chown(folder, 12345, -1)
    with pytest.raises(ConfigurationError, match=str(folder)):
        _ = ProcessPlatform(folder).identity
    assert "other users" in reports_store(str(folder), "owner").problem


def test_new_state_directories_are_private(tmp_path: Path) -> None:
    """Whatever the umask: folders 0700, files 0600."""
    before = os.umask(0)
    try:
        _ = ProcessPlatform(tmp_path / "state" / "units").identity
        store = reports_store(str(tmp_path / "state"), "owner")
        store.add("run", {"line": "x"})  # type: ignore[arg-type]
        store.close()
    finally:
        os.umask(before)
    found = [tmp_path / "state", *(tmp_path / "state").rglob("*")]
    modes = {(path.is_dir(), stat.S_IMODE(path.stat().st_mode)) for path in found}
    assert modes == {(True, 0o700), (False, 0o600)}


def test_a_process_id_in_a_file_kills_no_bystander(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where /proc cannot be looked at only the leader of a session is signalled, and never the agent's own."""
    monkeypatch.setattr(processes, "can_look", lambda: False)
    unit = UnitDir(tmp_path / "prefect-x-1")
    unit.path.mkdir(mode=0o700)
    bystander = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    script = "import fcntl, sys, time; f = open(sys.argv[1], 'w'); fcntl.flock(f, 2); time.sleep(600)"
    holder = subprocess.Popen([sys.executable, "-c", script, str(unit.lock)], start_new_session=True)
    try:
        wait_until(unit.is_alive, 30)
        for pid in (bystander.pid, os.getpid(), 1, os.getsid(0)):
            (unit.path / "pid").write_text(f"{pid} {pid}\n", encoding="ascii")
            assert ending._members(unit) == []
        (unit.path / "pid").write_text(f"{holder.pid} {holder.pid}\n", encoding="ascii")
        assert [one.pid for one in ending._members(unit)] == [holder.pid]
        assert bystander.poll() is None
    finally:
        for child in (bystander, holder):
            child.send_signal(signal.SIGKILL)
            child.wait()

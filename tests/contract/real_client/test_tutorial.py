"""docs/tutorial.md does what it says: its commands are typed as they stand, with the real client."""

import os
import shlex
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import attrs
import pytest

from support.console_pages import Step, pattern, steps
from support.waiting import wait_until

ROOT = Path(__file__).resolve().parents[3]
TUTORIAL = ROOT / "docs" / "tutorial.md"
BIN = Path(sys.executable).parent
A_WHILE = 120
"""Seconds for one command."""

INSIDE = "import fcntl, socket, struct, sys; fcntl.ioctl(socket.socket(), 0x8914, struct.pack('16sh', b'lo', 0x41)); "
INSIDE += "print('up', flush=True); sys.stdin.read()"
"""Switches a new network's loopback interface on (SIOCSIFFLAGS: up, running), then holds the network."""


@contextmanager
def own_network() -> Iterator[list[str]]:
    """A loopback network in which every port is free; gives the words that run a program there."""
    if os.geteuid() != 0:
        pytest.skip("a network of its own needs root: the port of the tutorial may be in use here")
    command = ["unshare", "--net", sys.executable, "-c", INSIDE]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "up\n"
        try:
            yield ["nsenter", f"--net=/proc/{holder.pid}/ns/net"]
        finally:
            holder.terminate()


@attrs.frozen
class Terminal:
    """A shell that reads commands from a pipe and writes all output into a file."""

    shell: "subprocess.Popen[str]"
    screen: Path

    def type(self, command: str) -> None:
        """Type a line."""
        assert self.shell.stdin is not None
        self.shell.stdin.write(f"{command}\n")
        self.shell.stdin.flush()

    def shown(self) -> str:
        """Everything on the screen."""
        return self.screen.read_text(encoding="utf-8")

    def run(self, step: Step) -> str:
        """Type a command and return what it prints, until its end or until what the page shows is there."""
        before = len(self.shown())
        if step.stays:
            self.type(f"exec {step.command}")
            wait_until(lambda: pattern(step.shown).match(self.shown()), A_WHILE, f"{step.command}\n{self.shown()}")
            return self.shown()
        self.type(f'{step.command}; echo "status $?"')
        wait_until(lambda: "status " in self.shown()[before:], A_WHILE, f"the end of {step.command}")
        printed, _, status = self.shown()[before:].rpartition("status ")
        assert status == f"{step.status}\n", (step.command, printed)
        return printed


@contextmanager
def terminal(words: list[str], home: Path, name: str) -> Iterator[Terminal]:
    """A terminal of that name in the folder *home*, closed in any case."""
    env = {"HOME": str(home), "PATH": "/usr/bin:/bin", "LANG": "C.UTF-8"}
    screen = home / f"{name}.screen"
    with screen.open("w", encoding="utf-8") as out:
        command = [*words, "bash", "--norc", "--noprofile"]
        shell = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=out, stderr=out, text=True, env=env, cwd=home)
    try:
        yield Terminal(shell, screen)
    finally:
        assert shell.stdin is not None
        shell.stdin.close()
        shell.terminate()
        try:
            shell.wait(60)
        except subprocess.TimeoutExpired:
            shell.kill()
            shell.wait()


@pytest.mark.real_prefect
def test_the_tutorial_ends_with_a_finished_flow_run(tmp_path: Path, prefect_python: Path) -> None:
    """Every command prints what the page shows; what the page installs is the environments of the tests."""
    _install(tmp_path, prefect_python)
    with own_network() as words, ExitStack() as stack:
        opened: dict[str, Terminal] = {}
        for step in steps(TUTORIAL):
            if step.file:
                (tmp_path / step.file).write_text(step.shown, encoding="utf-8")
            if step.installs or step.file:
                continue
            if step.terminal not in opened:
                opened[step.terminal] = stack.enter_context(terminal(words, tmp_path, step.terminal))
            printed = opened[step.terminal].run(step)
            assert pattern(step.shown).match(printed) or not step.shown, (step.command, step.shown, printed)
        assert socket.gethostname() in opened["agent"].shown()


def _install(home: Path, prefect_python: Path) -> None:
    (home / "flows").symlink_to(prefect_python.parent.parent)
    (home / "prefect-agent").symlink_to(BIN.parent)


def test_the_tutorial_installs_what_it_uses() -> None:
    """The folders of its commands are the environments that it makes; the client has the version of the tests."""
    all_steps = steps(TUTORIAL)
    made = {shlex.split(step.command)[-1] for step in all_steps if step.installs and "-m venv" in step.command}
    used = {step.command.split("/bin/")[0] for step in all_steps if step.command.startswith("~")}
    installed = [shlex.split(step.command)[-1] for step in all_steps if "pip install" in step.command]

    assert made == used == {"~/prefect-agent", "~/flows"}
    assert installed == [".[server]", "prefect==1.4.1"]

"""Terminals of a reader who types a page's commands: a shell in a network and a home of its own."""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Final

import attrs
import pytest

from support.console_pages import Ids, Step
from support.waiting import wait_until

A_WHILE: Final = 120
"""Seconds for one command."""

READY: Final = re.compile(r"Waiting for flow runs|^Prefect API at ", re.MULTILINE)
"""What a program prints that stays, if the page does not show it."""

_INSIDE: Final = (
    "import fcntl, socket, struct, sys; fcntl.ioctl(socket.socket(), 0x8914, struct.pack('16sh', b'lo', 0x41)); "
    "print('up', flush=True); sys.stdin.read()"
)
"""Switches a new network's loopback interface on (SIOCSIFFLAGS: up, running), then holds the network."""

_END: Final = re.compile(r"^~end (\d+)\n\Z", re.MULTILINE)


@contextmanager
def own_network() -> Iterator[list[str]]:
    """A loopback network in which every port is free; gives the words that run a program there."""
    if os.geteuid() != 0:
        pytest.skip("a network of its own needs root: the ports of the pages may be in use here")
    command = ["unshare", "--net", sys.executable, "-c", _INSIDE]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "up\n"
        try:
            yield ["nsenter", f"--net=/proc/{holder.pid}/ns/net"]
        finally:
            for pid in _in_network_of(holder.pid):
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            holder.terminate()


def _in_network_of(holder: int) -> Iterator[int]:
    """Processes in the network of *holder*, which is not among them: what a test that failed has left."""
    network = Path(f"/proc/{holder}/ns/net").stat().st_ino
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):  # it ended meanwhile
            if int(folder.name) != holder and (folder / "ns" / "net").stat().st_ino == network:
                yield int(folder.name)


@attrs.frozen
class Terminal:
    """A shell that reads commands from a pipe and writes all output into a file."""

    shell: "subprocess.Popen[str]"
    screen: Path

    def type(self, text: str) -> None:
        """Type lines."""
        assert self.shell.stdin is not None
        self.shell.stdin.write(f"{text}\n")
        self.shell.stdin.flush()

    def run(self, command: str) -> tuple[str, int]:
        """Type a command, and return what it prints and its exit status."""
        before = len(self._shown())
        self.type(f'{command}\necho "~end $?"')
        wait_until(lambda: _END.search(self._shown()[before:]), A_WHILE, f"the end of {command}; {self._shown()}")
        printed = self._shown()[before:]
        end = _END.search(printed)
        assert end is not None
        return printed[: end.start()], int(end[1])

    def begin(self, command: str, output: Path) -> int:
        """Start a program that stays; return its process id. What it prints is in the file *output*."""
        words = re.sub(r"\s+# .*", "", command)
        printed, status = self.run(f'{words} >"{output}" 2>&1 &\necho "$!"')
        assert status == 0, printed
        return int(printed)

    def _shown(self) -> str:
        return self.screen.read_text(encoding="utf-8")


@attrs.frozen
class Program:
    """A program that stays: an agent or a Cloud."""

    step: Step
    terminal: Terminal
    pid: int
    output: Path

    @property
    def shown(self) -> str:
        """What it has printed."""
        return self.output.read_text(encoding="utf-8")

    def stop(self) -> None:
        """Press Ctrl+C; it ends well."""
        printed, status = self.terminal.run(f"kill -INT {self.pid}; wait {self.pid}")
        assert status == 0, (self.step.command, status, printed, self.shown)


@attrs.define
class Reader:
    """Types the steps of a page, each in the terminal that it belongs to, and compares what is printed.

    Attributes:
        home: The home of the reader, and the folder of all commands.
    """

    home: Path
    _terminals: dict[str, Terminal]
    programs: list[Program] = attrs.field(factory=list)
    _ids: Ids = attrs.field(factory=Ids)

    def do(self, step: Step) -> str:
        """Do one step; return what it prints."""
        if step.file:
            (self.home / step.file).write_text(step.shown, encoding="utf-8")
            return ""
        if step.stops:
            for whose in step.stops:
                self.stop(only_cloud=whose == "Cloud")
            return ""
        if step.is_cloud and any(program.step.is_cloud for program in self.programs):  # there is one port for it
            self.stop()
        terminal, command = self._terminals[step.terminal], self._ids.typed(step.command)
        shown = step.shown.replace("/home/ann", str(self.home))
        if step.stays:
            return self._stay(step, terminal, command, shown)
        printed, status = terminal.run(command)
        assert status == step.status, (command, status, printed)
        assert not shown or self._ids.match(shown, printed), (command, shown, printed)
        return printed

    def _stay(self, step: Step, terminal: Terminal, command: str, shown: str) -> str:
        output = self.home / f"screen-{len(self.programs)}-{command.split(maxsplit=1)[0].rpartition('/')[2]}"
        output.write_text("", encoding="utf-8")  # an earlier program may have had this name
        program = Program(step, terminal, terminal.begin(command, output), output)
        self.programs.append(program)

        def is_there() -> bool:
            if shown:
                return self._ids.match(shown, program.shown)
            return READY.search(program.shown) is not None

        wait_until(
            lambda: is_there() or not _lives(program.pid), A_WHILE, f"{command}\n{output.read_text()}", every=0.05
        )
        assert is_there(), (command, shown, program.shown)
        return program.shown

    def stop(self, *, only_cloud: bool | None = None) -> None:
        """Press Ctrl+C in every terminal with a program that stays, the latest first.

        Args:
            only_cloud: True for those of Clouds alone, False for those of agents alone.
        """
        for program in reversed(self.programs[:]):
            if only_cloud in {None, program.step.is_cloud}:
                self.programs.remove(program)
                program.stop()


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


@contextmanager
def reader(
    home: Path,
    paths: Mapping[str, Sequence[str]],
    variables: Mapping[str, str],
    network: Callable[[], AbstractContextManager[list[str]]] = own_network,
) -> Generator[Reader]:
    """A reader in a network of its own, or another one. All programs are ended in any case.

    Args:
        home: An empty folder.
        paths: By terminal: the folders with its programs, before the system's.
        variables: Environment variables of the terminals.
        network: Gives the words that run a program there.
    """
    with network() as words, ExitStack() as stack:
        system = ["/usr/local/bin", "/usr/bin", "/bin"]
        terminals = {
            name: stack.enter_context(
                _terminal(words, home, name, {**variables, "PATH": ":".join([*folders, *system])})
            )
            for name, folders in paths.items()
        }
        found = Reader(home, terminals)
        try:
            yield found
        except BaseException:
            for program in found.programs:
                print(f"--- {program.step.command}\n{program.shown}")  # shown by pytest with the failure
            raise


@contextmanager
def _terminal(words: Sequence[str], home: Path, name: str, variables: Mapping[str, str]) -> Iterator[Terminal]:
    """A terminal of that name in the folder *home*, closed in any case, with all that it started."""
    env = {"HOME": str(home), "LANG": "C.UTF-8", **variables}
    screen = home / f"screen-{name}"
    with screen.open("w", encoding="utf-8") as out:
        # With job control: as in a terminal, a program in the background can be ended by Ctrl+C.
        command = [*words, "bash", "--norc", "--noprofile", "-m"]
        shell = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=out, stderr=out, text=True, env=env, cwd=home)
    terminal = Terminal(shell, screen)
    try:
        terminal.run(":")  # what bash has to say at its start is no output of a command
        yield terminal
    finally:
        assert shell.stdin is not None
        children = Path(f"/proc/{shell.pid}/task/{shell.pid}/children").read_text(encoding="ascii").split()
        shell.stdin.close()
        for child in children:
            with suppress(ProcessLookupError):
                os.kill(int(child), signal.SIGTERM)
        try:
            shell.wait(10)  # a loop of commands would go on
        except subprocess.TimeoutExpired:
            shell.kill()
            shell.wait()

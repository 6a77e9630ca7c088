"""Completion in real shells, set up as docs/how-to/complete-commands.md says: a person presses the Tab key."""

import os
import pty
import select
import shutil
import socket
import subprocess
import sys
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import pytest

from prefect.agent.entrypoints.server.testing import running_server
from support.commands import PREFECT
from support.console_pages import steps
from support.waiting import wait_until

PAGE: Final = Path(__file__).resolve().parents[3] / "docs" / "how-to" / "complete-commands.md"
SHELLS: Final = ("bash", "zsh", "fish")
TO_THE_START: Final = "\x01"
TO_THE_END: Final = "\x05"
"""Keys of a line's editor: Ctrl+A, Ctrl+E."""

FOLDER_PLATFORM: Final = "[prefect.agent.platforms]\nshelves = shelves:factory\n"


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The home of a person who has typed the page's commands; with a platform of another package, and some files."""
    home = tmp_path_factory.mktemp("home")
    for step in steps(PAGE):
        done = subprocess.run(
            ["bash", "-c", step.command], env=variables(home), cwd=home, capture_output=True, check=False
        )
        assert done.returncode == 0, done.stderr
    data = home / "site" / "shelves-1.dist-info"
    data.mkdir(parents=True)
    (data / "METADATA").write_text("Metadata-Version: 2.1\nName: shelves\nVersion: 1\n", encoding="utf-8")
    (data / "entry_points.txt").write_text(FOLDER_PLATFORM, encoding="utf-8")
    (home / "site" / "shelves.py").write_text("def factory(): ...\n", encoding="utf-8")
    (home / "unmistakable.txt").write_text("", encoding="utf-8")
    return home


def variables(home: Path, **more: str) -> dict[str, str]:
    """The environment of a person's terminal."""
    path = f"{PREFECT.parent}:/usr/bin:/bin"
    return {"HOME": str(home), "PATH": path, "LANG": "C.UTF-8", "TERM": "xterm", "PS1": "ready> "} | more


@contextmanager
def terminal(shell: str, env: dict[str, str]) -> Generator["Screen"]:
    """The shell in a terminal of its own."""
    ours, theirs = pty.openpty()
    child = subprocess.Popen(
        ["setsid", "--ctty", shell, "-i"], env=env, cwd=env["HOME"], stdin=theirs, stdout=theirs, stderr=theirs
    )
    os.close(theirs)
    try:
        yield Screen(ours)
    finally:
        child.kill()
        child.wait()
        os.close(ours)


class Screen:
    """What a terminal shows, and its keyboard."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self.text = ""

    def press(self, keys: str) -> None:
        """Type."""
        os.write(self._descriptor, keys.encode())

    def wait_for(self, text: str) -> None:
        """Read until *text* is shown."""
        wait_until(lambda: text in self.read(), 60, f"{text!r}")

    def read(self) -> str:
        """All that was shown so far."""
        while select.select([self._descriptor], [], [], 0)[0]:
            self.text += os.read(self._descriptor, 65536).decode(errors="replace")
        return self.text


def file_text(path: Path) -> str:
    """What is in the file; nothing if there is none."""
    return path.read_text(encoding="utf-8") if path.exists() else ""


def proposed(env: dict[str, str], line: str) -> list[str]:
    """What our program answers a shell that asks for the end of *line*."""
    asked = {"COMP_WORDS": line, "COMP_CWORD": str(len(line.split(" ")) - 1)}
    asked["_PREFECT_AGENT_COMPLETE"] = "bash_complete"
    done = subprocess.run([PREFECT], env=env | asked, cwd=env["HOME"], capture_output=True, text=True, check=False)
    assert done.stderr == "", done.stderr
    return [row.partition(",")[2] for row in done.stdout.splitlines() if row]


@pytest.mark.parametrize("shell", SHELLS)
@pytest.mark.parametrize(
    ("typed", "completed"),
    [
        ("prefect-agent start proc", "process"),
        ("prefect-agent start process --interp", "--interpreter"),
        ("prefect-agent start --config unmis", "unmistakable.txt"),
        ("prefect-agent run etl --label shelf", "shelf-7"),
    ],
)
def test_the_tab_key_completes(home: Path, shell: str, typed: str, completed: str) -> None:
    """Platforms, options, files and labels, in a shell that was set up as the page says."""
    if shutil.which(shell) is None:
        pytest.skip(f"there is no {shell}: apt-get install {shell}")
    env = variables(home, PREFECT__CLOUD__AGENT__LABELS="shelf-7")
    (home / "typed").unlink(missing_ok=True)
    with terminal(shell, env) as screen:
        screen.press(": now\n")
        screen.wait_for("now")
        screen.press(f"{typed}\t{TO_THE_START}echo {TO_THE_END}>typed\n")
        wait_until(lambda: screen.read() and file_text(home / "typed"), 60, f"the line: {screen.read()!r}")

    assert file_text(home / "typed").split() == [*typed.split()[:-1], completed]


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("prefect-agent start ", ["docker", "kubernetes", "local", "process", "shelves"]),
        ("prefect-agent render etl --platform sh", ["shelves"]),
        ("prefect-agent start none --strict --label x", []),
        ("prefect-agent start shelves --dr", ["--dry-run", "--drain-timeout"]),
        ("prefect-agent agent doctor kub", ["kubernetes"]),
        ("prefect-agent server start --key", []),
    ],
)
def test_words_are_proposed(home: Path, line: str, words: list[str]) -> None:
    """Names of platforms are those of this installation; what makes no sense has no proposals, and no traceback."""
    assert proposed(variables(home, PYTHONPATH=f"{home}/site"), line) == words


def test_options_of_other_platforms_are_not_proposed(home: Path) -> None:
    """Once a platform is named; before that all are."""
    of_processes, of_all = (proposed(variables(home), f"prefect-agent start {kind}--") for kind in ("process ", ""))

    assert {"--interpreter", "--label"} <= {*of_processes}
    assert "--namespace" not in of_processes
    assert {"--interpreter", "--label", "--namespace"} <= {*of_all}


def test_labels_and_names_of_running_agents_are_proposed(home: Path, tmp_path: Path) -> None:
    """With those of the settings and this machine's name; a secret is not among them."""
    env = variables(home, XDG_RUNTIME_DIR=str(tmp_path), PREFECT__CLOUD__API_KEY="hunter2")
    words = ["start", "process", "--interpreter", sys.executable, "--name", "shelver", "--label", "shelf-8"]
    with running_server(tmp_path / "cloud.db") as url, (tmp_path / "log").open("w") as log:
        agent = subprocess.Popen([PREFECT, *words, "--api", url], env=env, stderr=log, cwd=tmp_path)
        try:
            wait_until(lambda: proposed(env, "prefect-agent stop ") == ["shelver"], what="the agent", every=0.2)
            labels = proposed(env | {"PREFECT__CLOUD__AGENT__LABELS": "shelf-7"}, "prefect-agent run etl --label ")
        finally:
            agent.terminate()
            agent.wait(60)

    assert labels == sorted(["shelf-7", "shelf-8", socket.gethostname()])

"""Commands whose output cannot be written: one sentence and exit code 74, never a traceback, and nothing is lost."""

import os
import subprocess
from collections.abc import Generator
from contextlib import closing
from pathlib import Path
from typing import Any, Final

import attrs
import pytest

from prefect.agent.entrypoints.server.testing import running_server
from support.commands import PREFECT, CommandHarness, run
from support.remote_cloud import RemoteCloud
from support.waiting import wait_until

LOST: Final = "Error: cannot write the output: No space left on device\n"

pytestmark = pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs the device /dev/full of Linux")


@attrs.frozen
class OutputHarness(CommandHarness):
    """Commands whose streams a test chooses."""

    cloud: RemoteCloud

    def run(self, *words: str, **streams: Any) -> "subprocess.CompletedProcess[str]":
        """Run a command with these streams; its errors are captured unless they are among them."""
        more = {"stderr": subprocess.PIPE, "text": True, "timeout": 60, "check": False, **streams}
        return subprocess.run([PREFECT, *words], env=self.env, cwd=self.home, **more)  # noqa: PLW1510 - in more

    def runs(self) -> list[str]:
        """Ids of all flow runs."""
        return [row["id"] for row in self.cloud.ask("query { flow_run { id } }")["flow_run"]]


@pytest.fixture(scope="module")
def harness(tmp_path_factory: pytest.TempPathFactory) -> Generator[OutputHarness]:
    """One Cloud with the flow ``etl`` for all tests of this file."""
    home = tmp_path_factory.mktemp("home")
    with running_server(home / "cloud.db") as url, closing(RemoteCloud(url)) as cloud:
        cloud.flow(cloud.project("p"), "etl")
        yield OutputHarness(home, url, cloud)


COMMANDS: Final = [
    ("-h",),
    ("--version",),
    ("version",),
    ("start", "-h"),
    ("config", "show"),
    ("config", "schema"),
    ("doctor", "process", "--no-wait"),
    ("run", "etl"),
    ("install", "kubernetes", "--offline"),
    ("server", "create-key", "--database", "full.db"),
]


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_a_full_disk_is_one_sentence(harness: OutputHarness, words: tuple[str, ...]) -> None:
    """Printed by the command, or by click for it."""
    with open("/dev/full", "w", encoding="utf-8") as full:  # noqa: PTH123 - a device
        done = harness.run(*words, stdout=full)

    assert done.returncode == 74, done.stderr
    assert LOST in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_a_reader_that_is_gone_ends_a_command_quietly(harness: OutputHarness, words: tuple[str, ...]) -> None:
    """As SIGPIPE ends other programs; 1 would mean that a run failed, or that something keeps it."""
    reader, writer = os.pipe()
    os.close(reader)
    try:
        done = harness.run(*words, stdout=writer)
    finally:
        os.close(writer)

    assert done.returncode == 141, done.stderr
    assert "Error" not in done.stderr
    assert "Traceback" not in done.stderr


def test_a_run_that_was_created_is_named_all_the_same(harness: OutputHarness) -> None:
    """Else a person, or a script, creates it again."""
    before = harness.runs()

    with open("/dev/full", "w", encoding="utf-8") as full:  # noqa: PTH123 - a device
        done = harness.run("run", "etl", stdout=full)

    (made,) = {*harness.runs()} - {*before}
    assert done.stderr == f"{LOST}The flow run was created: {made}\n"


def test_a_key_that_cannot_be_printed_is_not_made(harness: OutputHarness) -> None:
    """It would be valid for ever, and nobody would know it."""
    with open("/dev/full", "w", encoding="utf-8") as full:  # noqa: PTH123 - a device
        assert harness.run("server", "create-key", "--database", "keys.db", stdout=full).returncode == 74

    assert "There are no API keys" in run(harness.env, "server", "list-keys", "--database", "keys.db").stderr


def test_errors_that_cannot_be_written_keep_their_exit_code(harness: OutputHarness) -> None:
    """Nobody is there to read the sentence; a script reads the code."""
    with open("/dev/full", "w", encoding="utf-8") as full:  # noqa: PTH123 - a device
        done = harness.run("config", "show", "--config", "/nowhere", stdout=full, stderr=full)

    assert done.returncode == 78


@pytest.mark.parametrize("closed", ["<&- >&- 2>&-", ">/dev/full 2>/dev/full", ">&-"])
def test_an_agent_and_a_cloud_need_no_streams(harness: OutputHarness, closed: str) -> None:
    """Those who start daemons close them; no file of ours may get their numbers."""
    cloud, agent = "server start --ephemeral --port 0", f"start process --name daemon --max-polls 1 --api {harness.url}"
    shell = f"'{PREFECT}' {agent} --interpreter {harness.home}/python {closed}; echo $?"
    python = harness.home / "python"
    python.write_text("#!/bin/sh\necho 1.4.1\n", encoding="utf-8")
    python.chmod(0o755)

    done = subprocess.run(["sh", "-c", shell], env=harness.env, capture_output=True, text=True, timeout=60, check=False)

    assert done.stdout == "0\n", done
    begun = subprocess.Popen(["sh", "-c", f"exec '{PREFECT}' {cloud} {closed}"], env=harness.env)
    try:
        wait_until(lambda: _listens(begun.pid), seconds=30)
    finally:
        begun.terminate()
    assert begun.wait(30) == 0


def _listens(pid: int) -> bool:
    """Whether the process has a socket that listens."""
    rows = [line.split() for line in Path(f"/proc/{pid}/net/tcp").read_text(encoding="ascii").splitlines()[1:]]
    listening = {f"socket:[{row[9]}]" for row in rows if row[3] == "0A"}
    try:
        return any(str(each.readlink()) in listening for each in Path(f"/proc/{pid}/fd").iterdir())
    except FileNotFoundError:
        return False

"""Everyday mistakes with ``prefect server``: each gives one sentence, an exit code, and never a traceback."""

import re
import socket
import sqlite3
import subprocess
import sys
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

import pytest

from prefect.agent.entrypoints.server.storage.database import APPLICATION_ID, Database
from support.unprivileged import as_someone, python, python_path

CONFIGURATION = 78
PROGRAM = "import sys; {}from prefect.agent.__main__ import agent_main; agent_main()"


def run(home: Path, *words: str, before: str = "", user: bool = False) -> "subprocess.CompletedProcess[str]":
    """Run ``prefect-agent server WORDS``.

    Args:
        before: Python statements that are executed first.
        user: Whether to run it as a user without rights.
    """
    command = [python() if user else sys.executable, "-c", PROGRAM.format(before), "server", *words]
    env = {"HOME": str(home), "PATH": "/usr/bin:/bin", "LANG": "C.UTF-8", **(python_path() if user else {})}
    more = {**as_someone(), "cwd": "/"} if user else {}
    return subprocess.run(command, env=env, capture_output=True, text=True, check=False, timeout=60, **more)


def sentence(done: "subprocess.CompletedProcess[str]") -> str:
    """Return the one sentence that a failed command printed, marked as the agent's commands mark theirs."""
    assert done.returncode == CONFIGURATION, done.stderr
    assert done.stdout == ""
    [line] = done.stderr.splitlines()
    mark, _, said = line.partition(": ")
    assert mark == "Error"
    return said


@pytest.mark.parametrize("module", ["graphql", "starlette", "uvicorn", "h11"])
@pytest.mark.parametrize("words", [["start", "--ephemeral", "--port", "0"]])
def test_a_missing_extra_is_named_with_its_remedy(tmp_path: Path, module: str, words: Sequence[str]) -> None:
    """The embedded Cloud needs packages that an agent does not."""
    done = run(tmp_path, *words, before=f"sys.modules[{module!r}] = None; ")

    assert sentence(done) == f"{module} is not installed: pip install 'prefect-agent[server]'"


def test_the_help_needs_no_extra(tmp_path: Path) -> None:
    """A person reads it before anything is installed."""
    missing = "; ".join(f"sys.modules[{name!r}] = None" for name in ("graphql", "starlette", "uvicorn", "h11"))
    done = run(tmp_path, "start", "-h", before=f"{missing}; ")

    assert (done.returncode, done.stderr) == (0, "")
    assert "--require-key" in done.stdout


@pytest.mark.parametrize("words", [["list-keys"], ["revoke-key", "some-id"], ["unlock"]])
def test_a_mistyped_path_makes_no_database(tmp_path: Path, words: Sequence[str]) -> None:
    """The commands that need an existing file refuse a missing one."""
    missing = tmp_path / "folder" / "clod.db"
    said = sentence(run(tmp_path, *words, "--database", str(missing)))

    assert said == f"there is no database at {missing}; check --database, or make it with create-key"
    assert list(tmp_path.iterdir()) == []


def test_create_key_still_makes_the_database(tmp_path: Path) -> None:
    """A key can be made before the first start."""
    done = run(tmp_path, "create-key", "--database", str(tmp_path / "cloud.db"))

    assert done.returncode == 0
    assert done.stdout.startswith("pak_")


@pytest.mark.parametrize("words", [["create-key"], ["list-keys"], ["unlock"], ["start", "--port", "0"]])
def test_a_path_that_cannot_be_read_is_one_sentence(tmp_path_factory: pytest.TempPathFactory, words: list[str]) -> None:
    """A user without rights names a file in the folder of another user."""
    folder = tmp_path_factory.mktemp("private")
    Database(folder / "cloud.db").close()
    folder.chmod(0o700 if as_someone() else 0o000)
    try:
        said = sentence(run(Path("/nonexistent"), *words, "--database", str(folder / "cloud.db"), user=True))
    finally:
        folder.chmod(0o700)

    assert "Permission denied" in said
    assert said.endswith("; choose another --database")


@pytest.mark.parametrize("words", [["create-key"], ["list-keys"], ["unlock"], ["start", "--port", "0"]])
def test_a_file_of_a_newer_version_is_refused_and_left_alone(tmp_path: Path, words: list[str]) -> None:
    """The remedy is to update this program."""
    path = tmp_path / "cloud.db"
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript(
            f"PRAGMA application_id = {APPLICATION_ID}; PRAGMA user_version = 999; CREATE TABLE a(b)"
        )
    before = path.read_bytes()

    said = sentence(run(tmp_path, *words, "--database", str(path)))

    assert said == f"{path} was written by a newer prefect-agent (schema 999); update this one"
    assert path.read_bytes() == before


def test_a_taken_port_is_named_with_its_remedy(tmp_path: Path) -> None:
    """Another program listens there, perhaps another Cloud."""
    with closing(socket.create_server(("127.0.0.1", 0))) as taken:
        port = taken.getsockname()[1]
        said = sentence(run(tmp_path, "start", "--port", str(port)))

    assert said == f"cannot listen at 127.0.0.1:{port}: Address already in use; choose another --port"


@pytest.mark.parametrize("host", ["no.such.host.invalid", "192.0.2.1", "a..b", "x" * 100])
def test_an_address_of_another_machine_is_refused(tmp_path: Path, host: str) -> None:
    """The port is not the mistake, so the remedy is another host."""
    said = sentence(run(tmp_path, "start", "--port", "0", "--host", host))

    assert re.fullmatch(rf"cannot listen at {re.escape(host)}\S*: .+; choose another --host", said)


def test_an_unknown_key_id_is_refused_with_its_remedy(tmp_path: Path) -> None:
    """An id that is not in the file is refused with the command that shows the ids."""
    path = str(tmp_path / "cloud.db")
    run(tmp_path, "create-key", "--database", path)

    said = sentence(run(tmp_path, "revoke-key", "--database", path, "missing"))

    assert said == "there is no API key with the id missing: see prefect server list-keys"

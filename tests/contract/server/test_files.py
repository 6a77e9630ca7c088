"""The Cloud's file when something is wrong with it: one clear sentence each, and what was in it stays."""

import json
import os
import resource
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from http.client import HTTPConnection
from pathlib import Path
from typing import Any, Final

import pytest

from prefect.agent.entrypoints.server.storage.database import Database, DatabaseProblem
from support.embedded import opened

NOBODY: Final = 65534
PROJECT: Final = "mutation($input: create_project_input!) { create_project(input: $input) { id } }"
NAMES: Final = "query { project(order_by: { name: asc }) { name } }"


def start(path: Path) -> "subprocess.CompletedProcess[str]":
    """The command, on a file that it must refuse."""
    command = [sys.executable, "-m", "prefect.agent", "server", "start", "--port", "0", "--database", str(path)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def refused(path: Path, *words: str) -> None:
    """The command ends with one sentence that holds *words*."""
    done = start(path)
    assert done.returncode == 78, done
    [sentence] = done.stderr.splitlines()
    for word in (str(path), *words):
        assert word in sentence


def filled(path: Path, projects: int = 3) -> list[str]:
    """A file with some projects; their names."""
    names = [f"kept-{number}" for number in range(projects)]
    with opened(path) as cloud:
        for name in names:
            cloud.project(name)
    return names


def names_in(path: Path) -> list[str]:
    """Names of the projects in the file."""
    with closing(sqlite3.connect(path)) as connection:
        return [row[0] for row in connection.execute("SELECT name FROM project ORDER BY name")]


# --- when the server starts ---


def test_a_second_server(tmp_path: Path) -> None:
    """It says so; the first goes on."""
    with opened(tmp_path / "cloud.db") as cloud:
        refused(cloud.path, "another server", "--database")
        assert cloud.project()


def test_a_newer_file(tmp_path: Path) -> None:
    """An update cures it."""
    path = tmp_path / "cloud.db"
    names = filled(path)
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA user_version = 1000")
        connection.commit()
    before = path.read_bytes()

    refused(path, "newer prefect-agent", "update")
    assert path.read_bytes() == before
    assert names_in(path) == names


def test_a_file_of_something_else(tmp_path: Path) -> None:
    """Text, or another program's database."""
    notes, theirs = tmp_path / "notes.txt", tmp_path / "theirs.db"
    notes.write_text("notes " * 1000, encoding="ascii")
    with closing(sqlite3.connect(theirs)) as connection:
        connection.execute("CREATE TABLE theirs (x)")
    before = theirs.read_bytes()

    refused(notes, "left as it is")
    refused(theirs, "something else")
    assert notes.read_text(encoding="ascii") == "notes " * 1000
    assert theirs.read_bytes() == before


def test_a_folder(tmp_path: Path) -> None:
    """A path that names a folder."""
    folder = tmp_path / "folder"
    folder.mkdir()
    with pytest.raises(DatabaseProblem, match=str(folder)):
        Database(folder)


def test_half_of_a_file(tmp_path: Path) -> None:
    """A copy that was cut off is refused or answers with errors, and is not made worse."""
    path = tmp_path / "cloud.db"
    filled(path)
    half = path.read_bytes()[: path.stat().st_size // 2]
    path.write_bytes(half)

    refused(path, "left as it is")
    assert path.read_bytes() == half


@pytest.fixture
def nobody(tmp_path: Path) -> Iterator[None]:
    """Not root, whom no permission stops; files are made before this."""
    mine = os.geteuid()
    if mine == 0:
        for folder in [tmp_path, *tmp_path.parents][:4]:
            folder.chmod(folder.stat().st_mode | 0o755)
    yield
    os.seteuid(mine)


@pytest.mark.usefixtures("nobody")
@pytest.mark.parametrize("folder_too", [False, True], ids=["file", "folder"])
def test_a_file_that_can_only_be_read(tmp_path: Path, *, folder_too: bool) -> None:
    """Found out at the start, not at the first change."""
    path = tmp_path / "cloud.db"
    filled(path)
    before = path.read_bytes()
    path.chmod(0o444)
    Path(f"{path}.lock").chmod(0o666)
    tmp_path.chmod(0o555 if folder_too else 0o777)
    if os.geteuid() == 0:
        os.seteuid(NOBODY)

    with pytest.raises(DatabaseProblem, match=str(path)):
        Database(path)
    assert path.read_bytes() == before


# --- while it runs ---


def test_a_damaged_page_is_an_error_and_not_the_end(tmp_path: Path) -> None:
    """What can be read is read; the rest is an error in the protocol's shape."""
    path = tmp_path / "cloud.db"
    filled(path, 300)
    with closing(sqlite3.connect(path)) as connection:
        size = connection.execute("PRAGMA page_size").fetchone()[0]
        root = connection.execute("SELECT rootpage FROM sqlite_master WHERE name = 'project'").fetchone()[0]
    with path.open("r+b") as file:
        file.seek((root - 1) * size)
        file.write(b"\xff" * size)

    with opened(path) as cloud:
        status, body = cloud.send(NAMES)
        assert status == 200
        assert_internal(body, "project")
        assert "malformed" in body["errors"][0]["message"]
        assert len(cloud.ask("query { tenant { id } }")["tenant"]) == 1


def assert_internal(body: dict[str, Any], key: str | None = None) -> None:
    """An answer in the shape of protocol section 1.4, without data and without a traceback."""
    assert not body["data"] or body["data"].get(key) is None
    for error in body["errors"]:
        assert error["extensions"]["code"] == "INTERNAL_SERVER_ERROR"
        assert "Traceback" not in error["message"]


def test_a_full_disk_takes_a_request_back_whole(tmp_path: Path) -> None:
    """Of many fields in one request, none is answered with success if the transaction was lost."""
    with opened(tmp_path / "cloud.db") as cloud:
        pages = cloud.database._connection.execute("PRAGMA page_count").fetchone()[0]
        cloud.database._connection.execute(f"PRAGMA max_page_count = {pages + 4}")
        text = "x" * 900
        fields = " ".join(
            f'c{n}: create_project(input: {{ name: "many-{n}", description: "{text}" }}) {{ id }}' for n in range(40)
        )

        status, body = cloud.send(f"mutation {{ {fields} }}")

        assert status == 200
        assert "full" in body["errors"][0]["message"]
        kept = {row["name"] for row in cloud.ask(NAMES)["project"]}
        assert kept == {f"many-{key[1:]}" for key, value in (body["data"] or {}).items() if value}

        cloud.database._connection.execute("PRAGMA max_page_count = 1000000")
        assert cloud.project("afterwards")


@contextmanager
def running(path: Path) -> Iterator[tuple[int, str]]:
    """A server process: its id, and host and port."""
    command = [sys.executable, "-m", "prefect.agent", "server", "start", "--port", "0", "--database", str(path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            line = next(text for text in process.stdout if "http://" in text)
            address = next(word for word in line.split() if word.startswith("http://"))
            yield process.pid, address.removeprefix("http://").rstrip("/,;")
        finally:
            process.terminate()
            process.communicate(timeout=60)


def send(address: str, query: str, variables: object = None) -> tuple[int, dict[str, Any]]:
    """Status and body."""
    http = HTTPConnection(address, timeout=60)
    with closing(http):
        http.request(
            "POST", "/", json.dumps({"query": query, "variables": variables}), {"Content-Type": "application/json"}
        )
        answer = http.getresponse()
        return answer.status, json.loads(answer.read())


@pytest.mark.skipif(not hasattr(resource, "prlimit"), reason="needs Linux")
def test_a_server_outlives_a_full_disk(tmp_path: Path) -> None:
    """While nothing can be written, changes are refused and questions answered; with room again, all goes on."""
    path = tmp_path / "cloud.db"
    with running(path) as (pid, address):
        limit = path.stat().st_size + Path(f"{path}-wal").stat().st_size + 200_000
        _soft, hard = resource.prlimit(pid, resource.RLIMIT_FSIZE)
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (limit, hard))
        taken: list[str] = []
        body: dict[str, Any] = {}
        for number in range(500):
            name = f"p{number:03}"
            given = {"input": {"name": name, "description": "x" * 50_000}}
            status, body = send(address, PROJECT, given)
            assert status == 200
            if "errors" in body:
                break
            taken.append(name)
        assert taken
        assert_internal(body, "create_project")
        assert "database" in body["errors"][0]["message"]
        assert [row["name"] for row in send(address, NAMES)[1]["data"]["project"]] == taken

        resource.prlimit(pid, resource.RLIMIT_FSIZE, (hard, hard))
        status, body = send(address, PROJECT, {"input": {"name": "q"}})
        assert "errors" not in body
    assert names_in(path) == [*taken, "q"]

"""``prefect server start`` as a person runs it: what it says, what it keeps, how it ends."""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import attrs
import pytest
import requests

PREFECT = Path(sys.executable).parent / "prefect-agent"
EVERYWHERE = "0.0.0.0"


@attrs.frozen
class Started:
    """A server that runs; what it said, its address and its file."""

    process: "subprocess.Popen[str]"
    said: str
    url: str
    path: Path


@contextmanager
def started(tmp_path: Path, *words: str) -> Generator[Started]:
    """Run ``prefect server start WORDS`` until the block ends."""
    env = {name: os.environ[name] for name in os.environ if name.startswith("COVERAGE_PROCESS")}
    env |= {"HOME": str(tmp_path), "TMPDIR": str(tmp_path), "PATH": "/usr/bin:/bin", "LANG": "C.UTF-8"}
    command = [PREFECT, "server", "start", "--port", "0", *words]
    with subprocess.Popen(command, env=env, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            said = "".join(process.stdout.readline() for _ in range(6))
            url, path = re.findall(r"http://\S+:\d+", said), re.findall(r"data in (.+)", said)
            yield Started(process, said, url[0], Path(path[0]))
        finally:
            if process.poll() is None:
                process.terminate()


def ask(url: str, key: str | None = None) -> str:
    """The text of the answer to a small question."""
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    with requests.Session() as http:
        http.trust_env = False
        return http.post(url, json={"query": "{ hello }"}, headers=headers, timeout=10).text


def test_it_says_where_it_is_and_what_to_do(tmp_path: Path) -> None:
    """Its address, its file, and three commands."""
    with started(tmp_path, "--database", str(tmp_path / "kept.db")) as server:
        assert "hello" in ask(server.url)
        assert server.path == tmp_path / "kept.db"
        commands = [line for line in server.said.splitlines() if line.startswith("  ")]
        assert len(commands) == 3
        assert f"PREFECT__SERVER__ENDPOINT={server.url}" in commands[0]
        assert commands[2].endswith(f"agent start process --api {server.url}")
        server.process.send_signal(signal.SIGTERM)
        assert server.process.wait(20) == 0
    assert (tmp_path / "kept.db").is_file()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_an_ephemeral_file_is_gone_at_the_end(tmp_path: Path, number: signal.Signals) -> None:
    """With its folder, whichever signal it was."""
    with started(tmp_path, "--ephemeral") as server:
        assert "hello" in ask(server.url)
        assert server.path.is_file()
        server.process.send_signal(number)
        assert server.process.wait(20) == 0
    assert not server.path.parent.exists()


def test_beyond_the_loopback_a_key_is_always_asked_for(tmp_path: Path) -> None:
    """Also after the last one was revoked."""
    path = str(tmp_path / "c.db")
    base = [PREFECT, "server"]
    key = subprocess.run(
        [*base, "create-key", "--database", path], capture_output=True, text=True, check=True
    ).stdout.strip()

    with started(tmp_path, "--host", EVERYWHERE, "--database", path) as server:
        assert "--key KEY" in server.said
        assert server.url.startswith("http://127.0.0.1:")
        assert "UNAUTHENTICATED" in ask(server.url)
        assert "hello" in ask(server.url, key)
        listed = subprocess.run([*base, "list-keys", "--database", path], capture_output=True, text=True, check=True)
        subprocess.run([*base, "revoke-key", "--database", path, listed.stdout.split()[0]], check=True)
        assert "UNAUTHENTICATED" in ask(server.url, key)
        assert "UNAUTHENTICATED" in ask(server.url)


def test_anonymous_beyond_the_loopback_must_be_said(tmp_path: Path) -> None:
    """Then it is done."""
    with started(tmp_path, "--host", EVERYWHERE, "--ephemeral", "--allow-anonymous") as server:
        assert "hello" in ask(server.url)
        assert "No API key" in server.said

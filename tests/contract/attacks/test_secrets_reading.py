"""Attack: a key with a line end or a foreign letter breaks the request, and the traceback prints the key.

Rule: a secret is stripped and checked where it is read, and every traceback leaves through one masked outlet.
"""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from prefect.agent.entrypoints.server.testing import running_server
from support.commands import PREFECT, bare_environment, run
from support.waiting import wait_until

KEY: Final = "pak_SECRET-that-must-never-be-seen"
NOBODY: Final = "http://127.0.0.1:1"
"""Nothing listens there."""

START: Final = ("agent", "start", "process", "--no-wait", "--max-polls", "1", "-v")
BROKEN: Final = (
    "pak_SECRET-one\npak_SECRET-two",
    "pak_SECRET-\N{LATIN SMALL LETTER O WITH DIAERESIS}",
    "pak_SECRET\ry",
)


@pytest.fixture
def env(tmp_path: Path) -> dict[str, str]:
    """Variables in which nothing of Prefect is set."""
    return bare_environment(tmp_path)


@pytest.fixture
def cloud(tmp_path: Path) -> Iterator[str]:
    """Address of an embedded Cloud that asks for the key."""
    with running_server(tmp_path / "cloud.db", keys=frozenset({KEY})) as url:
        yield url


def source(kind: str, text: str, env: dict[str, str]) -> tuple[dict[str, str], tuple[str, ...]]:
    """Variables and words that give *text* as the key."""
    home = Path(env["HOME"])
    path = home / "key"
    path.write_bytes(text.encode())
    if kind == "config.toml":
        (home / ".prefect").mkdir()
        (home / ".prefect" / "config.toml").write_text(f"[cloud]\napi_key = {json.dumps(text)}\n", encoding="utf-8")
    variables = {
        "variable": {"PREFECT__CLOUD__API_KEY": text},
        "old variable": {"PREFECT__CLOUD__AGENT__AUTH_TOKEN": text},
        "variable with a file": {"PREFECT__CLOUD__API_KEY_FILE": str(path)},
        "old variable with a file": {"PREFECT__CLOUD__AGENT__AUTH_TOKEN_FILE": str(path)},
    }
    words = {"option": ("--token", text), "option with a file": ("--token-file", str(path))}
    return {**env, **variables.get(kind, {})}, words.get(kind, ())


SOURCES: Final = (
    "variable", "old variable", "variable with a file", "old variable with a file", "option", "option with a file",
    "config.toml",
)  # fmt: skip


@pytest.mark.parametrize("kind", SOURCES)
def test_a_line_end_behind_the_key_is_no_part_of_it(env: dict[str, str], cloud: str, kind: str) -> None:
    """The Cloud accepts the key, wherever it comes from."""
    variables, words = source(kind, f"{KEY}\r\n", env)
    done = run(variables, *START, "--api", cloud, *words)
    assert done.returncode == 0, done.stderr
    assert KEY not in done.stdout + done.stderr


@pytest.mark.parametrize("kind", SOURCES)
@pytest.mark.parametrize("text", BROKEN)
def test_a_broken_key_is_one_sentence(env: dict[str, str], kind: str, text: str) -> None:
    """Exit code 78, so that no supervisor starts the agent again and again."""
    variables, words = source(kind, text, env)
    done = run(variables, *START[:-1], "--api", NOBODY, *words)
    assert done.returncode == 78
    assert done.stderr.startswith("Error: ")
    assert done.stderr.count("\n") == 1
    assert "SECRET" not in done.stdout + done.stderr


@pytest.mark.parametrize("words", [(), ("--log-format", "json"), ("-v",)])
def test_a_broken_password_of_a_proxy_is_one_sentence(env: dict[str, str], words: tuple[str, ...]) -> None:
    """The traceback of ``-v`` does not show it either."""
    proxied = {**env, "HTTPS_PROXY": "http://user:pak_SECRET\n@proxy.test:3128", "PREFECT__CLOUD__API_KEY": KEY}
    done = run(proxied, *START[:-1], *words)
    assert done.returncode == 78
    assert "HTTPS_PROXY has characters" in done.stderr
    assert "SECRET" not in done.stdout + done.stderr


def test_a_line_end_behind_the_address_of_a_proxy_is_no_part_of_it(env: dict[str, str]) -> None:
    """The proxy is asked; its password is not shown when it does not answer."""
    proxied = {**env, "HTTP_PROXY": "http://user:pak_SECRET@127.0.0.1:1\n", "PREFECT__CLOUD__API_KEY": KEY}
    done = run(proxied, *START[:-1], "--api", "http://cloud.test:4200")
    assert done.returncode == 69
    assert "cannot reach http://cloud.test:4200" in done.stderr
    assert "SECRET" not in done.stderr


@pytest.mark.parametrize("form", ["text", "json"])
def test_the_traceback_of_verbose_is_masked_and_in_the_format_of_the_log(env: dict[str, str], form: str) -> None:
    """The last line alone is the sentence for people."""
    done = run({**env, "PREFECT__CLOUD__API_KEY": "pak_SECRET\ny"}, *START[:-1], "-v", "--log-format", form)
    assert done.returncode == 78
    *traces, last = done.stderr.splitlines()
    assert last.startswith("Error: PREFECT__CLOUD__API_KEY has characters")
    assert "Traceback" in done.stderr
    assert "SECRET" not in done.stderr
    if form == "json":
        assert [json.loads(line)["message"] for line in traces] == ["The agent ends"]


def test_the_password_of_a_bad_address_is_not_shown(env: dict[str, str]) -> None:
    """What is no address may still have a password in it."""
    done = run(env, *START, "--api", "ftp://user:pak_SECRET@host")
    assert done.returncode == 78
    assert "SECRET" not in done.stdout + done.stderr


CRASH: Final = f"""
import threading
from prefect.agent.entrypoints.library import kinds as agents
from prefect.agent.__main__ import main

class Broken(agents.ProcessAgent):
    def start(self):
        thread = threading.Thread(target=self.crash)
        IN_THREAD and (thread.start() or thread.join()) or self.crash()

    def crash(self):
        raise ValueError("the header {KEY} makes no sense")

agents.ProcessAgent = Broken
main()
"""


@pytest.mark.parametrize("form", ["text", "json"])
@pytest.mark.parametrize("in_thread", [False, True])
def test_the_traceback_of_a_bug_is_masked_and_in_the_format_of_the_log(
    env: dict[str, str], form: str, in_thread: bool
) -> None:
    """Whichever thread it ends, and although no code expects it."""
    words = ["agent", "start", "process", "--api", NOBODY, "--log-format", form]
    done = subprocess.run(
        [sys.executable, "-c", CRASH.replace("IN_THREAD", str(in_thread)), *words],
        env={**env, "PREFECT__CLOUD__API_KEY": KEY},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 70, done.stderr
    assert KEY not in done.stdout + done.stderr
    assert done.stderr.count("ValueError") >= (2 if in_thread else 1)
    if form == "json":
        entry = json.loads(done.stderr.splitlines()[0])
        assert (entry["event"], entry["level"]) == ("bug", "CRITICAL")
        assert "Traceback" in entry["traceback"]


def test_dumps_of_stacks_have_no_values(env: dict[str, str]) -> None:
    """A fatal signal with faulthandler switched on shows files and lines only."""
    variables = {**env, "PREFECT__CLOUD__API_KEY": KEY, "PYTHONFAULTHANDLER": "1"}
    log = Path(env["HOME"]) / "log"
    with log.open("wb") as output:
        agent = subprocess.Popen([PREFECT, "agent", "start", "process", "--api", NOBODY], env=variables, stderr=output)
        try:
            wait_until(lambda: "Starting:" in log.read_text(encoding="utf-8"), 60, "the agent starts")
            os.kill(agent.pid, signal.SIGABRT)
            agent.wait(60)
        finally:
            agent.kill()
            agent.wait(60)
    shown = log.read_text(encoding="utf-8")
    assert "Current thread" in shown
    assert KEY not in shown

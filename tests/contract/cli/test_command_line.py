"""The commands as a person types them: processes of their own, real HTTP, exit codes, words."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
import requests

from prefect.agent.entrypoints.server.testing import running_server
from support.waiting import wait_until

PREFECT = Path(sys.executable).parent / "prefect-agent"
KEY = "pcu_a-key-that-must-never-be-seen"
NOBODY = "http://127.0.0.1:1"
"""Port 1 of the loopback address: nothing listens there."""

Env = dict[str, str]


@pytest.fixture
def env(tmp_path: Path) -> Env:
    """An environment in which nothing of Prefect is set, with a Prefect of its own on PATH."""
    folder = tmp_path / "bin"
    folder.mkdir()
    fake = folder / "prefect"
    fake.write_text("#!/bin/sh\nexec sleep 60\n", encoding="utf-8")
    fake.chmod(0o755)
    keep = {
        name: os.environ[name] for name in ("COVERAGE_PROCESS_START", "COVERAGE_PROCESS_CONFIG") if name in os.environ
    }
    return {**keep, "HOME": str(tmp_path), "PATH": f"{folder}:/usr/bin:/bin", "LANG": "C.UTF-8"}


@pytest.fixture
def cloud(tmp_path: Path) -> Iterator[str]:
    """Address of an embedded Cloud that asks for a key."""
    with running_server(tmp_path / "cloud.db", keys=frozenset({KEY})) as url:
        yield url


def run(env: Env, *words: str, **more: str) -> "subprocess.CompletedProcess[str]":
    """Run the command to its end."""
    return subprocess.run(
        [PREFECT, *words], env={**env, **more}, capture_output=True, text=True, timeout=60, check=False, cwd=env["HOME"]
    )


@pytest.mark.parametrize("words", [("agent",), ("agent", "-h"), ("agent", "--help")])
def test_the_group_alone_shows_its_help(env: Env, words: tuple[str, ...]) -> None:
    """Usage, arguments and examples of the official documentation, exit code 0."""
    done = run(env, *words)
    assert done.returncode == 0
    for line in (
        "$ prefect agent start",
        "$ prefect agent start kubernetes --token MY_TOKEN",
        "$ prefect agent install --token MY_TOKEN --namespace metrics",
        "Usage:",
        "Arguments:",
        "Examples:",
    ):
        assert line in done.stdout


@pytest.mark.parametrize(
    "option",
    [
        "--token", "-t", "--key", "-k", "--api", "-a", "--tenant-id", "--name", "-n", "--label", "-l", "--env", "-e",
        "--base-url", "-b", "--no-pull", "--verbose", "-v", "--log-level", "--max-polls", "--show-flow-logs",
        "--volume",
        "--network", "--agent-address", "--agent-config-id", "--no-cloud-logs", "--docker-client-timeout",
        "--import-path", "-p", "-f", "--log-format", "--interpreter",
        "--limit", "--max-lateness", "--start-patience", "--no-wait", "--auth-patience",
        "--config", "--strict", "--poll-interval", "--drain-timeout",
    ],
)  # fmt: skip
def test_start_has_the_options_of_both_eras(start_help: str, option: str) -> None:
    """Nobody has to change the line by which an agent is started."""
    assert f"{option} " in start_help.replace(",", " ") or f"{option}\n" in start_help


@pytest.fixture(scope="module")
def start_help() -> str:
    """Help of ``prefect agent start``."""
    return subprocess.run([PREFECT, "agent", "start", "--help"], capture_output=True, text=True, check=True).stdout


@pytest.mark.parametrize(
    ("section", "option"),
    [
        ("Options", "--api"),
        ("Options for docker", "--no-pull"),
        ("Options for docker and process", "--show-flow-logs"),
        ("Options for process", "--interpreter"),
        ("Options for kubernetes", "--namespace"),
    ],
)
def test_help_says_which_platform_has_an_option(start_help: str, section: str, option: str) -> None:
    """One long list of what mostly is for another platform helps nobody."""
    parts = [part for part in start_help.split("\n\n") if part.startswith("Options")]
    [found] = [part for part in parts if f" {option} " in part or f", {option}" in part]
    assert found.startswith(f"{section}:\n")


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("agent", "start", "process"), 78, "no API key for Prefect Cloud"),
        (("agent", "start", "process", "--api", "nonsense"), 78, "not the address of a Prefect API"),
        (("agent", "start", "process", "--api", NOBODY, "--no-wait"), 69, "cannot reach"),
        (("agent", "start", "process", "--api", NOBODY, "--start-patience", "0.1"), 69, "cannot reach"),
        (("agent", "start", "process", "--no-wait", "--start-patience", "5"), 2, "exclude each other"),
        (("agent", "start", "process", "--limit", "0"), 2, "--limit"),
        (("agent", "local", "start", "--limit", "x"), 2, "--limit"),
        (("agent", "docker", "start", "--max-lateness", "0"), 2, "--max-lateness"),
        (("agent", "kubernetes", "start", "--auth-patience", "-1"), 2, "--auth-patience"),
        (("agent", "start", "process", "--api", NOBODY, "--tenant-id", "7"), 78, "not a UUID"),
        (("agent", "start", "process", "--api", NOBODY, "--env", "X"), 78, "KEY=VALUE"),
        (("agent", "start", "process", "--api", NOBODY, "--interpreter", "/no/python"), 78, "--interpreter"),
        (("agent", "start", "process", "--api", NOBODY, "--agent-address", "here"), 78, "no port"),
        (("agent", "start", "process", "--volume", "/x"), 2, "--volume is not for the process agent"),
        (("agent", "start", "nomad"), 2, "there is no agent 'nomad'"),
        (("agent", "start", "process", "--max-polls", "0"), 2, "--max-polls"),
        (("agent", "nonsense"), 2, "No such command"),
    ],
)
def test_what_cannot_work_is_one_sentence_and_its_own_exit_code(
    env: Env, words: tuple[str, ...], code: int, said: str
) -> None:
    """The sentence says what to do; there is no traceback."""
    done = run(env, *words)
    assert done.returncode == code, done.stderr
    assert said in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    "words",
    [
        ("start", "process"), ("local", "start"), ("start", "docker"), ("docker", "start"), ("start", "kubernetes"),
        ("kubernetes", "start"),
    ],
)  # fmt: skip
def test_a_limit_by_variable_counts_in_every_spelling(env: Env, words: tuple[str, ...]) -> None:
    """One that cannot be ends the start with one sentence that names the variable."""
    done = run(env, "agent", *words, "--api", NOBODY, PREFECT_AGENT_LIMIT="none")
    assert done.returncode == 78, done.stderr
    assert done.stderr == "Error: PREFECT_AGENT_LIMIT is 'none'; give a whole number, at least 1\n"


def test_a_start_that_waits_says_why_and_ends_on_a_signal(env: Env) -> None:
    """Health answers 503 meanwhile; the reason is logged once; the first signal ends it with 0."""
    with Started(env, NOBODY, "--agent-address", f"http://127.0.0.1:{free_port()}") as (agent, log):
        address = str(agent.args[-1])  # type: ignore[index]
        wait_until(lambda: "cannot reach" in log.read_text(), 60, "a try")
        health = requests.get(f"{address}/api/health", timeout=60)
        assert (health.status_code, health.json()["status"]) == (503, "starting")
        assert "cannot reach" in health.json()["trouble"]
        agent.terminate()
        assert agent.wait(60) == 0
        assert log.read_text().count("cannot reach") == 1


def free_port() -> int:
    """A port of the loopback address at which nothing listened a moment ago."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


def test_a_key_that_is_not_accepted_ends_with_its_own_code(env: Env, cloud: str) -> None:
    """77, and the key is not in the words."""
    done = run(env, "agent", "start", "process", "--api", cloud, "--token", "pcu_some-other-key")
    assert done.returncode == 77
    assert "does not accept the API key" in done.stderr
    assert "pcu_some-other-key" not in done.stderr + done.stdout


def test_a_docker_engine_that_is_not_there_ends_with_its_own_code(env: Env, cloud: str, tmp_path: Path) -> None:
    """75, naming the address that was tried."""
    address = f"unix://{tmp_path}/nothing.sock"
    done = run(env, "agent", "start", "--api", cloud, "--key", KEY, "--base-url", address, "--no-wait")
    assert done.returncode == 75, done.stderr
    assert "nothing.sock" in done.stderr
    assert "Traceback" not in done.stderr


def test_verbose_shows_the_traceback(env: Env) -> None:
    """For those who want to know where."""
    done = run(env, "agent", "start", "process", "--api", NOBODY, "--no-wait", "--verbose")
    assert done.returncode == 69
    assert "Traceback" in done.stderr


@pytest.mark.parametrize("name", ["PREFECT__CLOUD__API_KEY", "PREFECT__CLOUD__AGENT__AUTH_TOKEN"])
def test_max_polls_ends_with_success_and_no_secret_is_logged(env: Env, cloud: str, name: str) -> None:
    """The key comes from the environment; the log says platform and labels, and never the key."""
    done = run(
        env, "agent", "start", "process", "-v", "--max-polls", "2", "-l", "b", "-l", "a", "--api", cloud, **{name: KEY}
    )
    assert done.returncode == 0, done.stderr
    assert "processes of this machine" in done.stderr.splitlines()[1]
    assert "Labels: a, b" in done.stderr
    assert KEY not in done.stderr + done.stdout


@pytest.mark.parametrize(
    ("spelling", "platform", "label"),
    [(("process",), "processes of this machine", True), (("local",), "processes of this machine", True)],
)
def test_the_spelling_of_1x(env: Env, cloud: str, spelling: tuple[str], platform: str, label: bool) -> None:
    """``prefect agent local start`` is the process agent of 1.x, flat: ``prefect agent start process``."""
    name = spelling[0]
    words = ("local", "start") if name == "local" else ("start", name)
    done = run(env, "agent", *words, "--max-polls", "1", "--api", cloud, "-k", KEY, "-l", "a")
    assert done.returncode == 0, done.stderr
    assert platform in done.stderr.splitlines()[1]
    assert (f"Labels: {', '.join(sorted(['a', socket.gethostname()]))}" in done.stderr) is label


@pytest.mark.docker
@pytest.mark.parametrize("words", [("start",), ("start", "local"), ("start", "docker"), ("docker", "start")])
def test_containers_in_every_spelling(env: Env, cloud: str, words: tuple[str, ...]) -> None:
    """The flat form without a word, and with ``local``, is the container agent of 0.x."""
    done = run(env, "agent", *words, "--max-polls", "1", "--api", cloud, "-k", KEY)
    assert done.returncode == 0, done.stderr
    assert "starts flow runs as Docker containers" in done.stderr.splitlines()[1]


def test_a_third_place_for_the_key_is_the_login_of_the_1x_client(env: Env, cloud: str) -> None:
    """``auth.toml``, one table per server (protocol section 1.6)."""
    folder = Path(env["HOME"]) / ".prefect"
    folder.mkdir()
    table = cloud.removeprefix("http://").replace(":", "-")
    (folder / "auth.toml").write_text(f'["{table}"]\napi_key = "{KEY}"\n', encoding="utf-8")
    done = run(env, "agent", "start", "process", "--max-polls", "1", "--api", cloud)
    assert done.returncode == 0, done.stderr


def test_json_logs_are_one_object_per_line(env: Env, cloud: str) -> None:
    """Each with time, level, event and message."""
    done = run(env, "agent", "start", "process", "--max-polls", "1", "--api", cloud, "-k", KEY, "--log-format", "json")
    entries = [json.loads(line) for line in done.stderr.splitlines()]
    assert [entry["event"] for entry in entries[:2]] == ["agent_begins", "agent_started"]
    assert entries[1]["platform"] == "process"
    assert all(entry["ts"].endswith("Z") and entry["message"] for entry in entries)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_the_agent_with_success(env: Env, cloud: str, number: signal.Signals) -> None:
    """Health answers while it runs; the first signal stops it."""
    with Started(env, cloud, "--agent-address", "http://127.0.0.1:0") as (agent, log):
        wait_until(lambda: re.search(r"Health is served at \S+\n", log.read_text()), 60, "the agent")
        address = log.read_text().partition("Health is served at ")[2].split()[0]
        health = requests.get(f"{address}/api/health", timeout=60)
        assert health.status_code == 200
        # Whoever has polled hears signals.
        wait_until(lambda: requests.get(f"{address}/api/health", timeout=60).json()["last_poll"], 60, "a poll")
        assert requests.get(f"{address}/api/poke", timeout=60).status_code == 200
        agent.send_signal(number)
        assert agent.wait(60) == 0


class Started:
    """An agent in the background, ended in any case; gives the process and the file of its log."""

    def __init__(self, env: Mapping[str, str], url: str, *more: str) -> None:
        self.log = Path(env["HOME"]) / "agent.log"
        with self.log.open("w", encoding="utf-8") as out:
            self.child = subprocess.Popen(
                [PREFECT, "agent", "start", "process", "--api", url, "--key", KEY, *more],
                env=dict(env),
                stdout=out,
                stderr=out,
            )

    def __enter__(self) -> "tuple[subprocess.Popen[bytes], Path]":
        return self.child, self.log

    def __exit__(self, *_: object) -> None:
        if self.child.poll() is None:
            self.child.kill()
        self.child.wait()


def test_the_embedded_cloud_serves_and_ends_on_a_signal(env: Env, tmp_path: Path) -> None:
    """``prefect server start`` says where it is; a second one on the same file refuses."""
    words: list[str | Path] = [PREFECT, "server", "start", "--port", "0", "--database", str(tmp_path / "c.db")]
    with subprocess.Popen(words, env=env, stdout=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout is not None
            url = next(word for word in server.stdout.readline().split() if word.startswith("http://"))
            assert requests.post(url, json={"query": "{ hello }"}, timeout=60).json()["data"]["hello"]
            second = run(env, "server", "start", "--port", "0", "--database", str(tmp_path / "c.db"))
            assert second.returncode == 78
            assert "another server uses" in second.stderr
        finally:
            server.send_signal(signal.SIGTERM)
    assert server.returncode in {0, -signal.SIGTERM, 143}


@pytest.mark.parametrize("words", [("start", "-h"), ("why", "-h"), ("agent", "start", "-h"), ("server", "start", "-h")])
def test_prefect_agent_is_a_spelling_of_its_own(env: Env, words: tuple[str, ...]) -> None:
    """With the commands of `prefect agent`, the group itself, and the server."""
    done = run(env, *words)

    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"Usage: prefect-agent {' '.join(words[:-1])} [OPTIONS]")


@pytest.mark.parametrize("words", [("start",), ("agent", "start"), ("agent", "docker", "start")])
def test_the_help_of_start_says_what_signals_do(env: Env, words: tuple[str, ...]) -> None:
    """The first one, and a second one; in lines that are not folded."""
    lines = run(env, *words, "-h").stdout.splitlines()

    said = lines[lines.index("  Signals:") :]
    assert said[1].startswith("    SIGINT, SIGTERM, SIGHUP  drain: ")
    assert said[4].startswith("    a second one, more than  end at once with 128 and its number")


def test_the_process_agent_has_the_spelling_of_its_siblings(env: Env) -> None:
    """`prefect agent process start` is the flat `start process`."""
    done = run(env, "agent", "process", "start", "--api", NOBODY, "--no-wait")

    assert done.returncode == 69
    assert "cannot reach" in done.stderr


@pytest.mark.parametrize("words", [("start", "process"), ("process", "start"), ("local", "start")])
@pytest.mark.parametrize("has_name", [True, False])
def test_the_process_agent_has_this_machines_name_as_a_label(
    env: Env, cloud: str, words: tuple[str, ...], has_name: bool
) -> None:
    """`Local` storage of 1.x asks for it; `--no-hostname-label` leaves it out, in every spelling."""
    more = () if has_name else ("--no-hostname-label",)
    done = run(env, "agent", *words, *more, "--label", "a", "--max-polls", "1", "--api", cloud, "-k", KEY)

    wanted = sorted({"a", socket.gethostname()}) if has_name else ["a"]
    assert f"Labels: {', '.join(wanted)}. " in done.stderr, done.stderr


def test_versions(env: Env) -> None:
    """Of the program and of what it runs on, to paste into a report."""
    done = run(env, "version")

    assert re.match(r"prefect-agent \d+\.\d+\.\d+\nPython 3\.\d+\.\d+, \w+", done.stdout)


@pytest.mark.parametrize(("words", "has_name"), [((), True), (("--no-hostname-label",), False)])
def test_the_doctor_looks_with_the_labels_of_the_process_agent(
    env: Env, words: tuple[str, ...], has_name: bool
) -> None:
    """What it says of waiting flow runs would be wrong otherwise."""
    done = run(env, "agent", "doctor", "process", "--api", NOBODY, "--interpreter", sys.executable, *words)

    assert f"Labels of the agent: {socket.gethostname() if has_name else 'none'}." in done.stdout


@pytest.mark.parametrize(
    "words",
    [("version",), ("agent", "-h"), ("agent", "config", "show"), ("agent", "doctor", "process", "--api", NOBODY)],
)
def test_a_reader_that_has_enough_ends_a_command_quietly(env: Env, words: tuple[str, ...]) -> None:
    """As in `prefect agent doctor | head -1`."""
    reader, writer = os.pipe()
    os.close(reader)
    try:
        done = subprocess.run(
            [PREFECT, *words], env=env, stdout=writer, stderr=subprocess.PIPE, text=True, timeout=60, check=False
        )
    finally:
        os.close(writer)

    assert (done.returncode, done.stderr) == (141, "")

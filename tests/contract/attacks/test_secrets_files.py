"""Attack: any user of the machine reads keys in process lists, unit files and environments.

Rule: each secret can be given by a file, and no hint of ours advises a key on a command line.
"""

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest
import yaml

from prefect.agent.adapters.process import processes
from prefect.agent.domain.errors import ConfigurationError
from prefect.agent.entrypoints.library.kinds import KubernetesAgent
from prefect.agent.entrypoints.server.testing import running_server
from prefect.agent.entrypoints.settings.configuration import Configuration, connection
from support.commands import PREFECT, bare_environment, run
from support.waiting import wait_until

KEY: Final = "pak_SECRET-that-must-never-be-seen"
ON_ARGV: Final = re.compile(r"--(token|key|api-key)[ =](?!-)[A-Za-z]")
"""A key on a command line; ``--token -`` reads it."""


@pytest.fixture
def env(tmp_path: Path) -> dict[str, str]:
    """Variables in which nothing of Prefect is set."""
    return bare_environment(tmp_path)


@pytest.fixture
def key_file(tmp_path: Path) -> str:
    """A file with the key and a line end."""
    path = tmp_path / "key.txt"
    path.write_text(f"{KEY}\n", encoding="utf-8")
    path.chmod(0o600)
    return str(path)


def test_the_first_source_that_is_set_wins(key_file: str) -> None:
    """Option before variable, the key itself before its file, both before older names."""
    environ = {"PREFECT__CLOUD__API_KEY_FILE": key_file, "PREFECT__CLOUD__AGENT__AUTH_TOKEN": "pak_older"}
    assert connection(Configuration(environ, {})).key == KEY
    assert connection(Configuration({**environ, "PREFECT__CLOUD__API_KEY": "pak_x"}, {})).key == "pak_x"
    assert connection(Configuration(environ, {}), key="pak_y").key == "pak_y"
    assert connection(Configuration({}, {"cloud": {"api_key_file": key_file}})).key == KEY


@pytest.mark.parametrize("name", ["PREFECT_AGENT_FLOW_RUN_KEY", "PREFECT_AGENT_FLOW_RUN_KEY_FILE"])
def test_the_flow_runs_key_has_variables_too(key_file: str, name: str) -> None:
    """The key itself, or a file."""
    value = key_file if name.endswith("FILE") else f"{KEY}\n"
    found = connection(Configuration({"PREFECT__CLOUD__API_KEY": "pak_agent", name: value}, {}))
    assert (found.key, found.flow_run_key) == ("pak_agent", KEY)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "cannot read"),
        (b"", "is empty"),
        (b"pak_\xff\xfe", "not a text file"),
        (b"x" * 70_000, "too large for a secret"),
    ],
)
def test_a_file_without_a_secret_is_one_sentence(tmp_path: Path, content: bytes | None, said: str) -> None:
    """Absent, empty, binary, or the wrong file altogether."""
    path = tmp_path / "key"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ConfigurationError, match=said) as refused:
        connection(Configuration({}, {}), key_file=str(path))
    assert "pak" not in str(refused.value)


def test_option_and_file_exclude_each_other(key_file: str) -> None:
    """Else one of two keys would be used without a word."""
    with pytest.raises(ConfigurationError, match="exclude each other"):
        connection(Configuration({}, {}), key="pak_x", key_file=key_file)


def test_jobs_cannot_refer_to_the_agents_secret_and_have_a_key_of_their_own(tmp_path: Path) -> None:
    """They would get the agent's."""
    environ = {"HOME": str(tmp_path), "PREFECT_AGENT_FLOW_RUN_KEY": "pak_flows", "PREFECT__CLOUD__API_KEY": KEY}
    with pytest.raises(ConfigurationError, match="exclude each other"):
        KubernetesAgent(environ=environ, api_key_secret="prefect-agent/api-key")


@pytest.mark.parametrize(
    ("words", "given"),
    [
        (("--token-file", "FILE"), ""),
        (("--key-file", "-"), f"{KEY}\n"),
        (("--token", "-"), f"{KEY}\r\n"),
        (("--token", f"{KEY}\n"), ""),
    ],
)
@pytest.mark.parametrize("kind", ["kubernetes", "supervisor"])
def test_install_reads_the_key_from_a_file(
    env: dict[str, str], key_file: str, words: tuple[str, ...], given: str, kind: str
) -> None:
    """Or from the standard input; what surrounds it is no part of it."""
    done = run(env, "agent", "install", kind, *(key_file if word == "FILE" else word for word in words), given=given)
    assert done.returncode == 0, done.stderr
    assert KEY not in done.stderr
    if kind == "kubernetes":
        [secret] = [each for each in yaml.safe_load_all(done.stdout) if each["kind"] == "Secret"]
        assert secret["stringData"] == {"api-key": KEY}
    else:
        assert f'environment=PREFECT__CLOUD__API_KEY="{KEY}"\n' in done.stdout


def test_install_names_a_secret_for_flow_runs(env: dict[str, str], key_file: str) -> None:
    """The Jobs refer to it, the agent does not."""
    done = run(env, "agent", "install", "--token-file", key_file, "--flow-run-secret", "flows/key")
    [deployment] = [each for each in yaml.safe_load_all(done.stdout) if each["kind"] == "Deployment"]
    [container] = deployment["spec"]["template"]["spec"]["containers"]
    found = {entry["name"]: entry for entry in container["env"]}
    assert found["PREFECT_AGENT_API_KEY_SECRET"]["value"] == "flows/key"
    assert found["PREFECT__CLOUD__API_KEY"]["valueFrom"]["secretKeyRef"] == {"name": "prefect-agent", "key": "api-key"}


def test_a_systemd_unit_names_the_file_that_it_is_given(env: dict[str, str]) -> None:
    """Without a word about its content: it is on another machine, perhaps."""
    done = run(env, "agent", "install", "systemd", "--api", "http://server:4200", "--token-file", "/srv/keys/agent")
    assert "LoadCredential=api-key:/srv/keys/agent\n" in done.stdout
    assert run(env, "agent", "install", "systemd", "--token-file", "key").returncode == 2


@pytest.mark.parametrize(
    "words",
    [
        ("agent", "install", "systemd"),
        ("agent", "install", "kubernetes"),
        ("agent", "install", "supervisor"),
        ("agent", "install", "compose"),
        ("agent", "install", "--help"),
        ("agent", "install", "kubernetes", "--help"),
        ("agent", "start", "process"),
    ],
)
def test_no_hint_advises_a_key_on_a_command_line(env: dict[str, str], words: tuple[str, ...]) -> None:
    """What people are shown they copy."""
    done = run(env, *words)
    shown = done.stdout + done.stderr
    options = re.sub(r"^ +-.*--(token|key).*$", "", shown, flags=re.MULTILINE)  # of --help: that there is one
    assert not ON_ARGV.search(options), ON_ARGV.search(options)


@pytest.fixture(params=["option", "variable", "variable with a file"])
def locked(request: pytest.FixtureRequest, env: dict[str, str], key_file: str) -> Iterator[Path]:
    """The output of an embedded Cloud, as a process, that has its key from somewhere."""
    words = ["--api-key-file", key_file] if request.param == "option" else []
    variables = {"variable": {"PREFECT_SERVER_API_KEY": f"{KEY}\n"}}
    variables["variable with a file"] = {"PREFECT_SERVER_API_KEY_FILE": key_file}
    log = Path(env["HOME"]) / "log"
    with log.open("wb") as output:
        server = subprocess.Popen(
            [PREFECT, "server", "start", "--ephemeral", "--port", "0", *words],
            env={**env, **variables.get(request.param, {})},
            stdout=output,
            stderr=output,
        )
        try:
            wait_until(lambda: "To try next" in log.read_text(encoding="utf-8"), 60, "the server listens")
            yield log
        finally:
            server.terminate()
            server.wait(60)


def test_the_server_takes_its_key_from_a_file(locked: Path, env: dict[str, str], key_file: str) -> None:
    """The key in that file is accepted, and what the server says advises no key on a command line."""
    said = locked.read_text(encoding="utf-8")
    address = re.findall(r"http://\S+", said)[0]
    assert "Every request needs an API key" in said
    assert not ON_ARGV.search(said)
    assert KEY not in said
    start = ("agent", "start", "process", "--no-wait", "--max-polls", "1", "--api", address)
    wait_until(lambda: run(env, *start, "--token-file", key_file).returncode == 0, 60, "the key is accepted")


def test_a_key_that_is_read_from_the_standard_input_is_accepted(env: dict[str, str], tmp_path: Path) -> None:
    """``--token-file -``."""
    with running_server(tmp_path / "cloud.db", keys=frozenset({KEY})) as url:
        words = ("agent", "start", "process", "--no-wait", "--max-polls", "1", "--api", url, "--token-file", "-")
        assert run(env, *words, given=f"{KEY}\n").returncode == 0


def test_processes_that_are_hidden_are_looked_for_elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where /proc shows no other users' processes, the children of one of them are unknown, not none."""
    monkeypatch.setattr(processes, "PROC", tmp_path)
    assert processes.orphans() is None

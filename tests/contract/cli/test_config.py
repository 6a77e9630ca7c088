"""``prefect agent config``, ``--config`` and ``--strict`` with real files, variables and options."""

import json
import subprocess
from collections.abc import Generator
from pathlib import Path
from typing import Any

import attrs
import pytest

from prefect.agent.entrypoints.server.testing import running_server
from support.commands import bare_environment, run

SECRET = "pcu_SECRET-that-must-never-be-seen"
FILE = (
    '[cloud]\napi_key = "{key}"\n[cloud.agent]\nname = "filed"\nlabels = ["f"]\n[agent]\nlimit = 3\npoll_interval = 1\n'
)


@attrs.frozen
class CommandHarness:
    """A home with a file of settings."""

    home: Path

    @property
    def file(self) -> Path:
        """A file beside those of 1.x."""
        return self.home / "own.toml"

    def call(self, *words: str, **more: str) -> "subprocess.CompletedProcess[str]":
        """The command, with these variables."""
        return run(bare_environment(self.home, "echo 1.4.1") | more, *words)

    def show(self, *words: str, **more: str) -> dict[str, Any]:
        """What ``config show`` says, by setting."""
        done = self.call("config", "show", *words, "--output", "json", **more)
        assert done.returncode == 0, done.stderr
        assert SECRET not in done.stdout + done.stderr
        return {row["setting"]: row for row in json.loads(done.stdout)}


@pytest.fixture
def harness(tmp_path: Path) -> CommandHarness:
    """A home of one's own."""
    (tmp_path / "own.toml").write_text(FILE.format(key=SECRET))
    return CommandHarness(tmp_path)


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Generator[str]:
    """A Cloud without flows."""
    with running_server(tmp_path_factory.mktemp("cloud") / "cloud.db") as url:
        yield url


def test_show_says_where_each_value_comes_from_and_what_it_shadows(harness: CommandHarness) -> None:
    """Of a real file, real variables and real options."""
    file = str(harness.file)
    words = ("--label", "o", "--limit", "9", "--no-cloud-logs", "-v")
    found = harness.show(*words, PREFECT_AGENT_CONFIG=file, PREFECT__CLOUD__AGENT__NAME="said", PREFECT_AGENT_LIMIT="5")

    shown = {name: (row["value"], row["origin"]) for name, row in found.items()}
    assert shown["cloud.agent.name"] == ("said", "PREFECT__CLOUD__AGENT__NAME")
    assert shown["cloud.agent.labels"] == (["o"], "--label")
    assert shown["cloud.agent.level"] == ("DEBUG", "--log-level")
    assert shown["cloud.send_flow_run_logs"] == (False, "--no-cloud-logs")
    assert shown["cloud.api_key"] == ("****", f"cloud.api_key in {file}")
    assert shown["agent.poll_interval"] == (1, f"agent.poll_interval in {file}")
    assert shown["agent.start_patience"] == (300, "default")
    assert shown["PREFECT_AGENT_CONFIG"] == (file, "PREFECT_AGENT_CONFIG")
    assert found["agent.limit"] == {
        "setting": "agent.limit",
        "value": 9,
        "origin": "--limit",
        "shadows": [
            {"origin": "PREFECT_AGENT_LIMIT", "value": 5},
            {"origin": f"agent.limit in {file}", "value": 3},
        ],
    }


def test_show_names_the_very_file_of_1x(harness: CommandHarness) -> None:
    """There are two."""
    folder = harness.home / ".prefect"
    folder.mkdir()
    (folder / "config.toml").write_text('[cloud.agent]\nname = "x"\n')
    (folder / "backend.toml").write_text('backend = "server"\n')
    found = harness.show()

    assert found["cloud.agent.name"]["origin"] == f"cloud.agent.name in {folder / 'config.toml'}"
    assert found["backend"]["origin"] == f"backend in {folder / 'backend.toml'}"


def test_show_as_text_is_for_people(harness: CommandHarness) -> None:
    """One line for each setting; with ``--origin`` one more."""
    plain = harness.call("config", "show", "process", "--config", str(harness.file), "--label", "a,b")
    full = harness.call("config", "show", "process", "--config", str(harness.file), "--label", "a,b", "--origin")

    assert "cloud.agent.name = filed\n" in plain.stdout
    assert "agent.max_lateness is not set\n" in plain.stdout
    assert "--import-path is not set\n" in plain.stdout
    assert "--volume" not in plain.stdout
    assert "    from" not in plain.stdout
    assert (
        f"cloud.agent.labels = a,b\n    from --label; shadows cloud.agent.labels in {harness.file} (f)\n" in full.stdout
    )
    assert full.stderr == (
        "Warning: The label 'a,b' is one label, but looks like a list: do you mean --label a --label b?\n"
    )


@pytest.mark.parametrize(
    ("words", "variables", "said"),
    [
        (("--config", "none.toml"), {}, "there is no file none.toml, which --config names"),
        ((), {"PREFECT_AGENT_LIMIT": "many"}, "the setting agent.limit (PREFECT_AGENT_LIMIT) is 'many'; give a number"),
        ((), {"PREFECT__CLOUD__SEND_FLOW_RUN_LOGS": "so"}, "cloud.send_flow_run_logs (PREFECT__CLOUD__SEND_FLOW_RUN"),
    ],
)
def test_show_ends_with_78_and_one_sentence_if_a_value_cannot_be(
    harness: CommandHarness, words: tuple[str, ...], variables: dict[str, str], said: str
) -> None:
    """As a start does."""
    done = harness.call("config", "show", *words, **variables)

    assert done.returncode == 78
    assert done.stderr.startswith("Error: ")
    assert said in done.stderr
    assert done.stderr.count("\n") == 1


def test_schema_prints_a_json_schema(harness: CommandHarness) -> None:
    """For editors."""
    done = harness.call("config", "schema")

    assert done.returncode == 0
    assert json.loads(done.stdout)["properties"]["agent"]["properties"]["limit"]["type"] == "number"


def start(harness: CommandHarness, url: str, *words: str, **more: str) -> "subprocess.CompletedProcess[str]":
    """An agent that polls once."""
    command = ("agent", "start", "process", "--api", url, "--max-polls", "1", "--no-wait")
    return harness.call(*command, *words, **{"PREFECT__BACKEND": "server", **more})


def test_an_agent_starts_with_the_settings_of_the_file(harness: CommandHarness, url: str) -> None:
    """Name and labels of the file, in place of those of 1.x."""
    (harness.home / ".prefect").mkdir()
    (harness.home / ".prefect" / "config.toml").write_text('[cloud.agent]\nname = "of 1.x"\n')
    harness.file.write_text('[cloud.agent]\nname = "filed"\nlabels = ["f"]\n')
    done = start(harness, url, "--config", str(harness.file), "--no-hostname-label")

    assert done.returncode == 0, done.stderr
    assert "'filed' starts flow runs" in done.stdout + done.stderr
    assert "Labels: f." in done.stdout + done.stderr


def test_a_misspelt_variable_is_a_warning_and_an_error_if_strict(harness: CommandHarness, url: str) -> None:
    """Exit code 78."""
    said = "PREFECT_AGENT_LIMITS is not a setting of the agent: do you mean PREFECT_AGENT_LIMIT?"
    lax = start(harness, url, PREFECT_AGENT_LIMITS="3")
    strict = start(harness, url, "--strict", PREFECT_AGENT_LIMITS="3")

    assert lax.returncode == 0, lax.stderr
    assert (lax.stdout + lax.stderr).count(said) == 1
    assert strict.returncode == 78
    assert strict.stderr.startswith("Error: ")
    assert said in strict.stderr


def test_doctor_and_why_read_the_file_too(harness: CommandHarness, url: str) -> None:
    """A question about an agent is asked with the agent's own options."""
    harness.file.write_text(f'[cloud]\napi = "{url}"\n[agent]\nlimits = 3\n')
    doctor = harness.call("doctor", "process", "--config", str(harness.file), PREFECT__BACKEND="server")
    why = harness.call("why", "no-such-run", "--config", str(harness.file), PREFECT__BACKEND="server")

    assert f"Read: {harness.file}" in doctor.stdout
    assert "Agent.limits is not a setting of the agent: do you mean agent.limit?" in doctor.stdout
    assert "has no flow run" in why.stderr

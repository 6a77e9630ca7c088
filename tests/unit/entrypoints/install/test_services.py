"""Units, configurations and Compose files: what is started, by whom, and that the key is in none but its place."""

import configparser
import re
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from prefect.agent.entrypoints.cli import prefect
from prefect.agent.entrypoints.install import compose, supervisor
from prefect.agent.entrypoints.install.command_line import (
    AgentCommand,
    flat,
    own_program,
    supervisor_words,
    systemd_words,
)
from prefect.agent.entrypoints.install.plan import DRAIN
from prefect.agent.entrypoints.install.systemd import SystemdUnit, unit

KEY = "pcu_a-key-100%"
DOCKER = AgentCommand(program="/opt/agent/bin/prefect", words=flat("local"), labels=("a b", "c"), env={"A": "$x %y"})
PROCESS = AgentCommand(
    program="/opt/agent/bin/prefect", words=flat("process"), interpreter="/opt/flows/bin/python", import_paths=("/f",)
)

ARGUMENT = st.text(st.characters(exclude_categories=["Cs", "Cc"]) | st.sampled_from(" ;#%$'\"\\"), max_size=12)


# --- the command ---


def test_the_command_has_every_option() -> None:
    """In the words of `start`; a value that looks like an option stays a value."""
    started = AgentCommand(
        api="http://s:4200", name="-x", tenant_id="t", agent_config_id="c", labels=("a",), env={"K": "v"},
        show_flow_logs=True,
    )  # fmt: skip

    assert started.arguments() == [
        "prefect", "agent", "start", "docker", "--api", "http://s:4200", "--name=-x", "--tenant-id", "t",
        "--agent-config-id", "c", "--label", "a", "--env", "K=v", "--show-flow-logs",
    ]  # fmt: skip


def test_an_address_with_a_password_is_in_no_command() -> None:
    """Neither in a unit, which every user may read, nor in a command line."""
    started = AgentCommand(api="https://me:PASSWORD@cloud.test", words=flat("docker"))
    texts = [
        unit(SystemdUnit(started=started)),
        supervisor.configuration(started, None),
        compose.compose_file(started, "i", key_needed=False),
    ]
    assert not any("PASSWORD" in text or "--api" in text for text in texts)
    assert "env_file" in texts[2]
    assert "--api" in AgentCommand(api="https://cloud.test").arguments()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["systemd"], "/etc/prefect-agent.env (owner root, mode 0600), as a line PREFECT__CLOUD__API="),
        (["compose"], "prefect-agent.env (mode 0600), as a line PREFECT__CLOUD__API="),
        (["supervisor"], "the environment of supervisord, as a line PREFECT__CLOUD__API="),
    ],
)
def test_it_is_said_where_an_address_with_a_password_goes(words: list[str], said: str) -> None:
    """And the words for people do not have it either."""
    done = CliRunner().invoke(prefect, ["agent", "install", *words, "--api", "https://me:PASSWORD@cloud.test"])
    assert done.exit_code == 0, done.output
    assert said in done.stderr
    assert "PASSWORD" not in done.stderr.replace("NAME:PASSWORD@HOST", "")


def test_the_command_is_the_one_of_this_installation() -> None:
    """A process manager has another PATH, and the agent an environment of its own."""
    assert Path(own_program()).is_file()


@given(st.lists(ARGUMENT, min_size=1))
def test_supervisor_reads_the_words_that_were_meant(words: list[str]) -> None:
    """Through its reader of files, which knows comments, its ``%(here)s``, and then as a shell would."""
    parser = configparser.RawConfigParser(inline_comment_prefixes=(";", "#"), strict=False)
    parser.read_string(f"[program:x]\ncommand=prefect {supervisor_words(words)}\n")
    read = shlex.split(parser.get("program:x", "command") % {"here": "/"})

    assert read == ["prefect", *words]


@given(st.lists(ARGUMENT, min_size=1))
def test_systemd_reads_the_words_that_were_meant(words: list[str]) -> None:
    """Quotes and escapes as in C; ``%`` and ``$`` are its own."""
    text = systemd_words(words)
    read = [
        re.sub(r"\\(.)", r"\1", quoted) if quoted or not plain else plain
        for quoted, plain in re.findall(r'"((?:[^"\\]|\\.)*)"|([^\s"]+)', text)
    ]

    assert [word.replace("%%", "%").replace("$$", "$") for word in read] == words


# --- systemd ---


@pytest.mark.parametrize("started", [DOCKER, PROCESS], ids=["docker", "process"])
def test_a_unit_is_one_that_systemd_understands(started: AgentCommand, tmp_path: Path) -> None:
    """Every line, by its own word."""
    analyze = shutil.which("systemd-analyze")
    if analyze is None:
        pytest.skip("systemd-analyze is not here: install systemd")
    text = unit(SystemdUnit(started=started)).replace(started.program, shutil.which("true") or "/bin/true")
    file = tmp_path / "prefect-agent.service"
    file.write_text(text, encoding="utf-8")

    done = subprocess.run([analyze, "verify", file], capture_output=True, text=True, check=False, timeout=60)

    about_it = [line for line in done.stderr.splitlines() if "prefect-agent" in line]
    assert about_it == []


def lines(text: str) -> dict[str, str]:
    """Settings of a unit."""
    pairs = (line.partition("=") for line in text.splitlines() if re.match(r"[A-Za-z]+=", line))
    return {name: value for name, _, value in pairs}


def test_a_unit_is_restarted_only_where_that_can_help() -> None:
    """Not after wrong usage, a key that is not accepted, a wrong configuration; an outage is waited for."""
    found = lines(unit(SystemdUnit(started=DOCKER)))

    assert found["Restart"] == "on-failure"
    assert found["RestartPreventExitStatus"] == "2 77 78"
    assert found["StartLimitIntervalSec"] == "0"
    assert found["Type"] == "notify"
    assert int(found["WatchdogSec"]) == 600


def test_a_unit_has_few_rights() -> None:
    """The list of systemd's own analysis."""
    found = lines(unit(SystemdUnit(started=DOCKER)))

    assert found["ProtectSystem"] == "strict"
    assert found["NoNewPrivileges"] == found["PrivateTmp"] == found["PrivateDevices"] == found["ProtectHome"] == "yes"
    assert found["CapabilityBoundingSet"] == ""
    assert (found["DynamicUser"], found["SupplementaryGroups"]) == ("yes", "docker")
    assert found["StateDirectory"] == "prefect-agent"


def test_flow_runs_of_a_process_agent_outlive_it() -> None:
    """They are processes of the service: only the agent is ended, and the user stays."""
    found = lines(unit(SystemdUnit(started=PROCESS)))

    assert found["KillMode"] == "process"
    assert found["User"] == "prefect-agent"
    assert not found.keys() & {"DynamicUser", "SupplementaryGroups", "PrivateDevices"}
    assert "--interpreter /opt/flows/bin/python --import-path /f" in found["ExecStart"]


def test_a_user_of_the_machine_may_be_named() -> None:
    """Docker's group stays."""
    found = lines(unit(SystemdUnit(started=DOCKER, user="flows")))

    assert (found["User"], found["SupplementaryGroups"]) == ("flows", "docker")
    assert "DynamicUser" not in found


@pytest.mark.parametrize("path", ["/etc/prefect-agent/api-key", "/srv/keys/agent"])
def test_systemd_gives_the_agent_its_key(path: str) -> None:
    """From a file of root's, which must be there: neither in the environment nor in the command."""
    found = lines(unit(SystemdUnit(started=DOCKER, key_file=path)))

    assert found["LoadCredential"] == f"api-key:{path}"
    assert "Environment=PREFECT__CLOUD__API_KEY_FILE=%d/api-key\n" in unit(SystemdUnit(started=DOCKER, key_file=path))
    assert found["EnvironmentFile"] == "-/etc/prefect-agent.env"


def test_a_unit_without_a_key_needs_no_file() -> None:
    """Of an API that asks for none."""
    assert "API_KEY" not in unit(SystemdUnit(started=DOCKER, key_file=None))
    assert "LoadCredential" not in unit(SystemdUnit(started=DOCKER, key_file=None))


@pytest.mark.parametrize("started", [DOCKER, PROCESS], ids=["docker", "process"])
def test_a_unit_sees_no_other_users_processes_and_calls_what_services_call(started: AgentCommand) -> None:
    """A call that is not allowed is an error of that call, and does not kill a flow run."""
    found = lines(unit(SystemdUnit(started=started)))

    assert found["ProtectProc"] == "invisible"
    assert (found["SystemCallFilter"], found["SystemCallErrorNumber"]) == ("@system-service", "EPERM")


def test_a_unit_gives_the_agent_its_time() -> None:
    """As long as the Deployment."""
    assert lines(unit(SystemdUnit(started=DOCKER)))["TimeoutStopSec"] == str(DRAIN)


# --- supervisor ---


def test_the_key_is_in_the_environment_and_not_in_the_command() -> None:
    """Everybody on a machine can list processes; 1.4.1 put it there."""
    text = supervisor.configuration(PROCESS, KEY)

    assert 'environment=PREFECT__CLOUD__API_KEY="pcu_a-key-100%%"\n' in text
    assert text.count("pcu_") == 1
    assert "chmod 600" in text


def test_without_a_key_there_is_no_empty_one() -> None:
    """That of supervisord's own environment counts then."""
    text = supervisor.configuration(PROCESS, None)

    assert "environment=" not in text
    assert "PREFECT__CLOUD__API_KEY" in text


def test_supervisor_has_the_sections_of_1_x() -> None:
    """So that `supervisord -c` and `supervisorctl -c` work with this file alone."""
    parser = configparser.RawConfigParser(inline_comment_prefixes=(";", "#"))
    parser.read_string(supervisor.configuration(PROCESS, KEY))

    assert parser.sections() == [
        "unix_http_server", "supervisord", "rpcinterface:supervisor", "supervisorctl", "program:prefect-agent",
    ]  # fmt: skip
    program = parser["program:prefect-agent"]
    assert (program["autorestart"], program["exitcodes"], program["startsecs"]) == ("unexpected", "0,2,77,78", "0")
    assert program["stopasgroup"] == "false"


# --- compose ---


def test_a_compose_file_starts_the_agent_with_few_rights() -> None:
    """Read-only, no capabilities, and the socket of the engine."""
    text = compose.compose_file(DOCKER, "agent:1")
    service = yaml.safe_load(text)["services"]["prefect-agent"]

    assert service["image"] == "agent:1"
    assert service["command"][:3] == ["agent", "start", "docker"]
    assert service["volumes"] == ["/var/run/docker.sock:/var/run/docker.sock"]
    assert service["read_only"] is service["init"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["user"] == "10001:10001"
    assert "A=$$x %y" in service["command"]
    assert service["env_file"] == ["prefect-agent.env"]


def test_a_compose_file_for_a_server_without_keys_needs_no_file() -> None:
    """Compose refuses to start if one is missing."""
    text = compose.compose_file(DOCKER, "agent:1", key_needed=False)

    assert "env_file" not in text
    assert "API_KEY" not in text

"""The table of settings: every variable that the program reads is in it, and what only looks like one is said."""

import re
from pathlib import Path
from typing import Final

import pytest

import prefect.agent
from prefect.agent.adapters.fakes import InMemoryCloudApi, InMemoryPlatform
from prefect.agent.entrypoints.library.agent import Agent
from prefect.agent.entrypoints.settings.names import SETTINGS, unknown_settings, variable_of
from prefect.agent.ports.events import Event

SOURCE: Final = Path(str(prefect.agent.__file__)).parent
MADE: Final = frozenset({"PREFECT_AGENT_UNIT", "PREFECT_AGENT_ABOUT", "PREFECT_AGENT_TEST"})
"""Variables that the agent sets for what it starts, and those of the tests."""


def test_every_variable_of_ours_is_in_the_table() -> None:
    """What is not there would be taken for a spelling error."""
    pages = [path.read_text(encoding="utf-8") for path in SOURCE.rglob("*.py")]
    found = {name for page in pages for name in re.findall(r"\bPREFECT_AGENT_[A-Z_]*[A-Z]\b", page)}

    known = {setting.variable for setting in SETTINGS if setting.variable.startswith("PREFECT_AGENT_")}
    assert found - MADE == known


def test_every_setting_that_is_looked_up_is_in_the_table() -> None:
    """By its dotted name."""
    pages = [path.read_text(encoding="utf-8") for path in (SOURCE / "entrypoints").glob("**/*.py")]
    calls = r"(?:onfiguration|self)\.(?:find|text|flag|level|secret|variables)\(\"([a-z_.]+)\"\)"
    found = {name for page in pages for name in re.findall(calls, page)}

    assert len(found) > 5
    assert found <= {setting.name for setting in SETTINGS}


def test_names_are_there_once() -> None:
    """One name, one setting."""
    variables = [setting.variable for setting in SETTINGS]

    assert len(variables) == len(set(variables))
    assert variable_of("cloud.agent.labels") == "PREFECT__CLOUD__AGENT__LABELS"
    assert variable_of("PREFECT_AGENT_LIMIT") == "PREFECT_AGENT_LIMIT"


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("PREFECT__CLOUD__AGENT__LABEL", "PREFECT__CLOUD__AGENT__LABELS"),
        ("PREFECT__CLOUD__AGENT__ENVVARS", "PREFECT__CLOUD__AGENT__ENV_VARS"),
        ("prefect__cloud__agent__labels", "PREFECT__CLOUD__AGENT__LABELS"),
        ("PREFECT_AGENT_LABELS", "PREFECT__CLOUD__AGENT__LABELS"),
        ("PREFECT_AGENT_LIMITS", "PREFECT_AGENT_LIMIT"),
        ("prefect_agent_limit", "PREFECT_AGENT_LIMIT"),
        ("PREFECT_AGENT_POLICIES", "PREFECT_AGENT_POLICY"),
        ("PREFECT_AGENT_QQQQQQQQQQQQQQQQQ", None),
    ],
)
def test_a_name_that_is_no_setting_is_said_with_the_one_meant(name: str, meant: str | None) -> None:
    """It would do nothing in silence. Its value may be a secret."""
    (said,) = unknown_settings({name: "s3cr3t", "PATH": "/bin"})

    assert said.startswith(f"{name} is not a setting of the agent")
    assert said.endswith(f": do you mean {meant}?" if meant else "it has no effect")
    assert "s3cr3t" not in said


@pytest.mark.parametrize(
    "name",
    [
        *(setting.variable for setting in SETTINGS),
        "PREFECT__cloud__agent__name",
        "PREFECT__CLOUD__AGENT__ENV_VARS__ANY",
        "PREFECT__CLOUD__AGENT__RESOURCE_MANAGER__LOOP_INTERVAL",
        "PREFECT__LOGGING__EXTRA_LOGGERS",
        "PREFECT_AGENT_UNIT",
        "PREFECT_AGENT_SERVICE_HOST",
        "PREFECT_AGENT_SERVICE_PORT_HEALTH",
        "PREFECT_AGENT_PORT",
        "PREFECT_AGENT_PORT_8080_TCP_ADDR",
        "PREFECT_AGENT_HEALTH_PORT_8080_TCP",
    ],
)
def test_nothing_is_said_of_what_is_known_or_of_others(name: str) -> None:
    """Settings, variables of flow runs, and what Kubernetes makes of a Service that is called like the agent."""
    assert not list(unknown_settings({name: "1"}))
    assert not list(unknown_settings({"PREFECT_AGENT_OTHER": " "}))


def test_an_agent_says_it_once_at_its_start() -> None:
    """One warning for each name."""
    heard: list[Event] = []
    environ = {"HOME": "/nonexistent", "PREFECT_AGENT_LIMITS": "3", "PREFECT__CLOUD__AGENT__LABEL": "x"}
    Agent(
        cloud=InMemoryCloudApi(), platform=InMemoryPlatform(), tell=heard.append, environ=environ, max_polls=1
    ).start()

    said = [event.message for event in heard if "is not a setting" in event.message]
    assert len(said) == 2
    assert {event.level for event in heard if event.message in said} == {"WARNING"}

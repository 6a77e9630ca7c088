"""Keys of ``config.toml`` that do nothing."""

from typing import Any

import pytest

from prefect.agent.entrypoints.settings.names import SETTINGS
from prefect.agent.entrypoints.settings.unknown_keys import unknown_keys


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({"cloud": {"agent": {"labels": ["a"], "env_vars": {"X": "1"}}, "api": "x"}, "backend": "server"}, []),
        ({"cloud": {"heartbeat_mode": "thread"}, "flows": {"checkpointing": True}, "context": {"secrets": {}}}, []),
        (
            {"cloud": {"agent": {"lables": ["a"]}}},
            ["cloud.agent.lables is not a setting of the agent: do you mean cloud.agent.labels?"],
        ),
        (
            {"cloud": {"agent": {"qqqqqqqqqqqqqqq": 1}}},
            ["cloud.agent.qqqqqqqqqqqqqqq is not a setting of the agent: it has no effect"],
        ),
        (
            {"cloud": {"api_kee": "x"}},
            ["cloud.api_kee is not a setting of the agent: do you mean cloud.api_key?"],
        ),
        ({"cloud": "text", "cloud2": 1}, []),
        ({"agent": {"limit": 3, "poll_interval": 1}}, []),
        ({"agent": {"limits": 3}}, ["agent.limits is not a setting of the agent: do you mean agent.limit?"]),
        ({"agent": {"qqqqqqqqqq": 3}}, ["agent.qqqqqqqqqq is not a setting of the agent: it has no effect"]),
    ],
)
def test_only_keys_that_look_like_the_agents_are_named(files: dict[str, Any], expected: list[str]) -> None:
    """The client of 1.x reads the same file and has keys of its own."""
    assert list(unknown_keys(files)) == expected


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("PREFECT__CLOUD__API_KEE", "PREFECT__CLOUD__API_KEY"),
        ("PREFECT__CLOUD__TENNANT_ID", "PREFECT__CLOUD__TENANT_ID"),
        ("PREFECT__SERVER__ENPOINT", "PREFECT__SERVER__ENDPOINT"),
        ("PREFECT__LOGGING__LEVELS", "PREFECT__LOGGING__LEVEL"),
    ],
)
def test_a_misspelt_variable_of_1x_is_named_with_the_one_meant(name: str, meant: str) -> None:
    """Its value may be a secret, and is not shown."""
    assert list(unknown_keys({}, {name: "s3cr3t"})) == [f"{name} is not a setting of the agent: do you mean {meant}?"]
    assert list(unknown_keys({}, {name: " "})) == []


@pytest.mark.parametrize(
    "name",
    [
        *(setting.variable for setting in SETTINGS),
        "PREFECT__LOGGING__FORMAT",
        "PREFECT__LOGGING__LOG_TO_CLOUD",
        "PREFECT__SERVER__UI__HOST_PORT",
        "PREFECT__SERVER__DATABASE__HOST_PORT",
        "PREFECT__CLOUD__HEARTBEAT_MODE",
        "PREFECT__CONTEXT__SECRETS__API_KEY",
        "PREFECT__ENGINE__EXECUTOR__DEFAULT_CLASS",
    ],
)
def test_variables_of_the_client_and_right_ones_are_not_named(name: str) -> None:
    """A warning about what is right would teach people to read none."""
    assert list(unknown_keys({}, {name: "1"})) == []

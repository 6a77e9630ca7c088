"""Every setting with its value, its origin and what it shadows; no secret."""

from pathlib import Path
from typing import Any

import pytest

from prefect.agent.domain.errors import ConfigurationError
from prefect.agent.entrypoints.settings.configuration import Configuration
from prefect.agent.entrypoints.settings.names import SETTINGS
from prefect.agent.entrypoints.settings.overview import MASKED, SettingRow, overview

SECRET = "pcu_never-shown"


def rows(
    environ: dict[str, str], files: dict[str, Any], options: dict[str, Any] | None = None
) -> dict[str, SettingRow]:
    """All rows, by name."""
    found = Configuration({"HOME": "/home/u", **environ}, files, homes={"cloud": Path("/f.toml")})
    return {row.name: row for row in overview(found, options or {})}


def test_every_setting_has_a_row_or_stands_in_that_of_its_alternative() -> None:
    """Also those that nothing sets."""
    found = rows({}, {}).keys()

    assert {"cloud.agent.name", "agent.limit", "PREFECT__HOME_DIR", "PREFECT_AGENT_CONFIG"} <= found
    assert len(found) == len(SETTINGS) - 7  # 5 of the API key, the file of the flow runs' key, an earlier name


@pytest.mark.parametrize(
    ("option", "variable", "filed", "value", "origin", "shadows"),
    [
        ("o", "v", "f", "o", "--name", ["PREFECT__CLOUD__AGENT__NAME", "cloud.agent.name in /f.toml"]),
        (None, "v", "f", "v", "PREFECT__CLOUD__AGENT__NAME", ["cloud.agent.name in /f.toml"]),
        (None, None, "f", "f", "cloud.agent.name in /f.toml", []),
        (None, " ", "f", "f", "cloud.agent.name in /f.toml", []),
        (None, None, None, "agent", "default", []),
        ("o", None, None, "o", "--name", []),
    ],
)
def test_the_first_place_wins_and_the_others_are_shadowed(
    option: str | None, variable: str | None, filed: str | None, value: str, origin: str, shadows: list[str]
) -> None:
    """Option, environment, file, default. A default that does not hold is not worth a word."""
    environ = {} if variable is None else {"PREFECT__CLOUD__AGENT__NAME": variable}
    files = {} if filed is None else {"cloud": {"agent": {"name": filed}}}
    row = rows(environ, files, {} if option is None else {"--name": option})["cloud.agent.name"]

    assert (row.value, row.origin, [place.origin for place in row.shadows]) == (value, origin, shadows)


@pytest.mark.parametrize(
    "variable", ["PREFECT_AGENT_LIMIT", "PREFECT_AGENT_POLL_INTERVAL", "PREFECT_AGENT_STOP_PATIENCE"]
)
def test_a_number_that_is_too_small_is_an_error_here_too(variable: str) -> None:
    """As it is at the start of an agent, with its place."""
    with pytest.raises(ConfigurationError, match=rf"\({variable}\) is '-1'; give a (whole )?number"):
        rows({variable: "-1"}, {})


def test_no_secret_is_shown() -> None:
    """Keys, passwords in addresses, values of flow runs' variables."""
    environ = {
        "PREFECT__CLOUD__API_KEY": SECRET,
        "PREFECT_AGENT_FLOW_RUN_KEY": SECRET,
        "PREFECT__CLOUD__API": f"https://me:{SECRET}@h",
        "PREFECT__CLOUD__AGENT__ENV_VARS__A": SECRET,
    }
    files = {"cloud": {"auth_token": SECRET, "agent": {"env_vars": {"A": SECRET, "B": SECRET}}}}
    found = rows(environ, files, {"--token": SECRET, "--env": [f"A={SECRET}"]})

    assert SECRET not in repr(found)
    assert found["cloud.api"].value == "https://h"
    assert [place.value for place in found["cloud.api_key"].places] == [MASKED] * 3


def test_the_places_of_the_key_are_in_the_order_in_which_they_are_looked_at() -> None:
    """Three settings, each of which may name a file."""
    environ = {"PREFECT__CLOUD__AUTH_TOKEN": "x", "PREFECT__CLOUD__AGENT__AUTH_TOKEN_FILE": "/token"}
    key = rows(environ, {"cloud": {"api_key": "y"}})["cloud.api_key"]

    assert [(place.origin, place.value) for place in key.places] == [
        ("cloud.api_key in /f.toml", MASKED),
        ("PREFECT__CLOUD__AGENT__AUTH_TOKEN_FILE", "/token"),
        ("PREFECT__CLOUD__AUTH_TOKEN", MASKED),
    ]


def test_variables_of_flow_runs_are_decided_one_by_one() -> None:
    """Each name has a row."""
    environ = {"PREFECT__CLOUD__AGENT__ENV_VARS__B": "1", "PREFECT__CLOUD__AGENT__ENV_VARS": "C=1"}
    files = {"cloud": {"agent": {"env_vars": {"A": "1", "C": "2"}}}}
    found = rows(environ, files, {"--env": ["A=3"]})

    assert found["cloud.agent.env_vars.A"].origin == "--env"
    assert [place.origin for place in found["cloud.agent.env_vars.A"].shadows] == ["cloud.agent.env_vars in /f.toml"]
    assert found["cloud.agent.env_vars.B"].origin == "PREFECT__CLOUD__AGENT__ENV_VARS__B"
    assert found["cloud.agent.env_vars.C"].origin == "PREFECT__CLOUD__AGENT__ENV_VARS"
    assert "cloud.agent.env_vars" not in found


@pytest.mark.parametrize(
    ("environ", "backend", "api"),
    [
        ({"PREFECT__CLOUD__API_KEY": "pcu_x"}, "cloud", "https://api.prefect.io"),
        ({"PREFECT__CLOUD__API": "http://h:4200"}, "server", "http://h:4200"),
        ({"PREFECT__BACKEND": "server"}, "server", "http://localhost:4200"),
    ],
)
def test_the_cloud_is_that_which_an_agent_would_ask(environ: dict[str, str], backend: str, api: str) -> None:
    """Its address and its kind follow from other settings."""
    found = rows(environ, {})

    assert (found["backend"].value, found["cloud.api"].value) == (backend, api)

"""Numbers that bound what an agent does: where they come from, and what they may be."""

from collections.abc import Mapping

import attrs
import pytest

from prefect.agent.domain.errors import ConfigurationError
from prefect.agent.domain.model.settings import AgentSettings
from prefect.agent.entrypoints.settings.bounds import bounds


@pytest.mark.parametrize(
    ("environ", "given", "found"),
    [
        ({}, {}, {}),
        ({"PREFECT_AGENT_LIMIT": ""}, {"limit": None}, {}),
        ({"PREFECT_AGENT_LIMIT": " 7 "}, {"limit": None}, {"limit": 7}),
        ({"PREFECT_AGENT_LIMIT": "7"}, {"limit": 3}, {"limit": 3}),
        ({"PREFECT_AGENT_LIMIT": "nonsense"}, {"limit": 3}, {"limit": 3}),
        ({"PREFECT_AGENT_MAX_LATENESS": "0.5"}, {}, {"max_lateness": 0.5}),
        ({"PREFECT_AGENT_START_PATIENCE": "0"}, {}, {"start_patience": 0.0}),
        ({"PREFECT_AGENT_AUTH_PATIENCE": "1e3"}, {}, {"auth_patience": 1000.0}),
        ({"PREFECT_AGENT_STALL_PATIENCE": "60"}, {}, {"stall_patience": 60.0}),
        ({"PREFECT_AGENT_STOP_PATIENCE": "5"}, {}, {"stop_patience": 5.0}),
        ({"PREFECT_AGENT_START_PATIENCE": "60"}, {"start_patience": 0.0}, {"start_patience": 0.0}),
    ],
)
def test_numbers_come_from_options_then_variables(
    environ: Mapping[str, str], given: Mapping[str, float | None], found: Mapping[str, float]
) -> None:
    """What is not set is not there: the default is the settings' own."""
    assert bounds(environ, given) == found
    attrs.evolve(AgentSettings(), **bounds(environ, given))


@pytest.mark.parametrize("text", ["nonsense", "0", "-1", "1.5", "nan", "inf", "1" * 400, "1" * 5000])
def test_a_limit_that_cannot_be_is_one_sentence(text: str) -> None:
    """It names the variable and what it takes."""
    with pytest.raises(ConfigurationError, match=r"^PREFECT_AGENT_LIMIT is .*give a whole number, at least 1$"):
        bounds({"PREFECT_AGENT_LIMIT": text}, {})


@pytest.mark.parametrize("text", ["nonsense", "0", "-1", "nan", "inf", "1e999"])
def test_a_lateness_that_cannot_be_is_one_sentence(text: str) -> None:
    """No lateness at all would start nothing."""
    with pytest.raises(ConfigurationError, match=r"^PREFECT_AGENT_MAX_LATENESS is .*number of seconds, more than 0$"):
        bounds({"PREFECT_AGENT_MAX_LATENESS": text}, {})


def test_an_argument_that_cannot_be_is_named() -> None:
    """Of a program that makes its own agent."""
    with pytest.raises(ConfigurationError, match=r"^limit is '0'"):
        bounds({}, {"limit": 0})

"""Numeric settings, each of which is an option, an argument and a variable."""

import math
from collections.abc import Callable, Collection, Mapping
from typing import Any, Final

import attrs

from prefect.agent.domain.errors import ConfigurationError
from prefect.agent.entrypoints.settings.values import own

SHORTEST_POLL: Final = 0.1
"""Seconds between two polls, at least: an agent that polls without a pause keeps its Cloud from everybody else."""


@attrs.frozen
class Bound:
    """A numeric setting.

    Attributes:
        name: The attribute of ``AgentSettings``.
        variable: The environment variable.
        least: The smallest allowed value.
        is_whole: Whether it is a whole number, a count; otherwise it is in seconds.
        is_open: Whether the value must be more than *least*.
        argument: The argument and the option that set it; empty if they are called like the attribute.
        earlier: A variable that sets it if *variable* does not; empty if there is none.
    """

    name: str
    variable: str
    least: float
    is_whole: bool = False
    is_open: bool = False
    argument: str = ""
    earlier: str = ""

    def read(self, text: str, source: str) -> float:
        """Return the number in *text*; *source* names its variable or argument, for the message.

        Raises:
            ConfigurationError: *text* is not a number, or is too small.
        """
        value = math.nan
        try:
            value = int(text) if self.is_whole else float(text)
            is_possible = math.isfinite(value) and (value > self.least if self.is_open else value >= self.least)
        except (ValueError, OverflowError):
            is_possible = False
        if is_possible:
            return value
        wanted = "a whole number" if self.is_whole else "a number of seconds"
        border = f"more than {self.least:g}" if self.is_open else f"at least {self.least:g}"
        raise ConfigurationError(f"{source} is {text[:40]!r}; give {wanted}, {border}")


BOUNDS: Final = (
    Bound("limit", "PREFECT_AGENT_LIMIT", 1, is_whole=True),
    Bound("max_lateness", "PREFECT_AGENT_MAX_LATENESS", 0, is_open=True),
    Bound("start_patience", "PREFECT_AGENT_START_PATIENCE", 0),
    Bound("auth_patience", "PREFECT_AGENT_AUTH_PATIENCE", 0),
    Bound("stall_patience", "PREFECT_AGENT_STALL_PATIENCE", 0),
    Bound("poll_last", "PREFECT_AGENT_POLL_INTERVAL", SHORTEST_POLL, argument="poll_interval"),
    Bound(
        "stop_patience",
        "PREFECT_AGENT_DRAIN_TIMEOUT",
        0,
        argument="drain_timeout",
        earlier="PREFECT_AGENT_STOP_PATIENCE",
    ),
)
"""All numeric settings of an agent that have a variable."""


def bounds(
    environ: Mapping[str, str],
    given: Mapping[str, float | None],
    settled: Collection[str] = (),
    source: Callable[[str], str] = str,
) -> dict[str, Any]:
    """Return the numeric settings that are set, by attribute of ``AgentSettings``; *given* wins over variables.

    Args:
        settled: Names of bounds whose variables are not looked at.
        source: Returns what messages call a variable.

    Raises:
        ConfigurationError: A value is not a number, or is too small.
    """
    found: dict[str, Any] = {}
    for bound in BOUNDS:
        value = given.get(bound.name)
        variable = next((name for name in (bound.variable, bound.earlier) if name and own(environ, name)), None)
        if value is not None:
            found[bound.name] = bound.read(str(value), bound.argument or bound.name)
        elif variable and bound.name not in settled:
            found[bound.name] = bound.read(own(environ, variable), source(variable))
    return found

"""The settings of an agent, by one precedence: option, environment, file, default. The first that says a value wins.

For a program the first of these has two ranks: an argument of the agent wins over a settings object. A file is the one
that ``--config`` or ``PREFECT_AGENT_CONFIG`` names, else those of the 1.x line.
"""

from collections.abc import Collection, Iterable, Mapping
from typing import Any

import attrs

from prefect.agent.domain.model.settings import AgentSettings
from prefect.agent.entrypoints.settings.bounds import bounds
from prefect.agent.entrypoints.settings.configuration import ENV_VARS, Configuration, checked_variables, labels


@attrs.frozen(kw_only=True)
class Given:
    """What the arguments of an agent, or the options of a command, say; None where they say nothing.

    Attributes:
        env: Variables for every flow run; each wins over one of the same name from elsewhere.
        bounds: Numbers by attribute of ``AgentSettings``.
    """

    name: str | None = None
    labels: Iterable[str] | None = None
    env: Mapping[str, str] | None = None
    max_polls: int | None = None
    bounds: Mapping[str, float | None] = attrs.field(factory=dict)


def agent_settings(
    found: Configuration,
    given: Given | None = None,
    settings: AgentSettings | None = None,
    defaults: Mapping[str, Any] | None = None,
) -> AgentSettings:
    """Decide every setting of an agent; whatever says a value, the first of these wins.

    1. *given*: an argument or an option.
    2. *settings*: what was named when that object was made, also if it equals the default.
    3. *found*: the environment, then the files.
    4. *defaults*: those of this kind of agent, then those of ``AgentSettings``.

    Variables for flow runs are decided one by one, all other settings as a whole.

    Raises:
        ConfigurationError: A value cannot be; the message names where it comes from.
    """
    given, settings = given or Given(), settings or AgentSettings()
    by_object = {name: getattr(settings, name) for name in settings.named}
    plain = {"name": given.name or None, "labels": given.labels, "max_polls": given.max_polls}
    said = {**by_object, **{name: value for name, value in plain.items() if value is not None}}
    numbers = _in_time(bounds(found.environ, given.bounds, settings.named, found.own_source), said)
    variables = {**found.variables(ENV_VARS), **by_object.get("env", {}), **(given.env or {})}
    return AgentSettings(
        **{**(defaults or {}), **_configured(found, said), **said, **numbers, "env": checked_variables(variables)}
    )


def _configured(found: Configuration, said: Collection[str]) -> dict[str, Any]:
    """What environment and files say of name and labels; what was *said* already is not looked at."""
    name = None if "name" in said else found.text("cloud.agent.name")
    configured: dict[str, Any] = {"name": name} if name else {}
    return configured if "labels" in said else {**configured, "labels": labels(found, ())}


def _in_time(numbers: dict[str, Any], said: Collection[str]) -> dict[str, Any]:
    """Return *numbers* with the shortest pause no longer than the longest, and runs asked for before they are due."""
    longest = numbers.get("poll_last")
    if longest is None:
        return numbers
    usual = AgentSettings()
    fitting = {"poll_first": min(usual.poll_first, longest), "prefetch": max(usual.prefetch, longest)}
    return {**{name: value for name, value in fitting.items() if name not in said}, **numbers}

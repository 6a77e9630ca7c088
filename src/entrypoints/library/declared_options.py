"""Environment variables set the options that a platform declares, by the same rules as the command line."""

from collections.abc import Iterable, Mapping
from typing import Any

from prefect.agent.domain.errors import ConfigurationError
from prefect.agent.entrypoints.settings.values import as_flag, own, own_list
from prefect.agent.ports.platform_options import PlatformOption


def options_in(environ: Mapping[str, str], declared: Iterable[PlatformOption]) -> dict[str, Any]:
    """Return the values of the options whose variables are set, by the options' names; an empty one sets nothing.

    Raises:
        ConfigurationError: A value is of another kind, none of the choices, or out of bounds; the variable is named.
    """
    found = {option.name: _value(option, environ) for option in declared if option.variable}
    return {name: value for name, value in found.items() if value is not None}


def _value(option: PlatformOption, environ: Mapping[str, str]) -> Any:
    text = own(environ, option.variable)
    if not text:
        return None
    if option.kind == "flag":
        return as_flag(text, option.variable)
    texts = own_list(environ, option.variable) if option.repeatable else [text]
    values = [_checked(_as_kind(each, option), option) for each in texts]
    return values if option.repeatable else values[0]


def _as_kind(text: str, option: PlatformOption) -> str | int | float:
    if option.kind == "text":
        return text
    try:
        return int(text) if option.kind == "whole" else float(text)
    except ValueError:
        wanted = "a whole number" if option.kind == "whole" else "a number"
        raise ConfigurationError(f"{option.variable} is {text[:40]!r}; give {wanted}") from None


def _checked(value: str | float, option: PlatformOption) -> str | int | float:
    if isinstance(value, str):
        if option.choices and value not in option.choices:
            choices = ", ".join(option.choices)
            raise ConfigurationError(f"{option.variable} is {value[:40]!r}; choose from {choices}")
        return value
    bounds = (
        ("at least", option.least, option.least is None or value >= option.least),
        ("more than", option.above, option.above is None or value > option.above),
        ("at most", option.most, option.most is None or value <= option.most),
    )
    for words, bound, is_kept in bounds:
        if not is_kept:
            raise ConfigurationError(f"{option.variable} is {str(value)[:40]}; give {words} {bound:g}")
    return value

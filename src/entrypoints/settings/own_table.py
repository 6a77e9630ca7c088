"""The table ``[agent]`` of a file: what the variables ``PREFECT_AGENT_...`` say, for those that are not set. Pure."""

import json
import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

from prefect.agent.domain.errors import ConfigurationError
from prefect.agent.entrypoints.settings.names import OWN, OWN_TABLE, SETTINGS, Kind, Setting
from prefect.agent.entrypoints.settings.values import as_flag, as_list, as_text, typed


def own_settings(files: Mapping[str, Any], shown: str) -> dict[str, str]:
    """Return the variables that the table ``[agent]`` stands for, each with its value as a variable has it.

    Args:
        files: All tables.
        shown: Name of the files, for messages.

    Raises:
        ConfigurationError: A value has a wrong type.
    """
    table = files.get(OWN_TABLE, {})
    if not isinstance(table, Mapping):
        raise ConfigurationError(f"{OWN_TABLE} in {shown} must be a table")
    return dict(_variables(table, shown))


def _variables(table: Mapping[str, Any], shown: str) -> Iterator[tuple[str, str]]:
    for setting in SETTINGS:
        key = setting.key.rpartition(".")[2]
        if not (setting.name.startswith(OWN) and setting.in_file) or key not in table:
            continue
        text = CHECKS.get(setting.kind, as_text)(table[key], source(setting, shown))
        if text:
            yield setting.name, text


def source(setting: Setting, shown: str) -> str:
    """Return what messages call a setting of the table."""
    return f"the setting {setting.key} (in {shown})"


def as_number(value: Any, source: str) -> str | None:
    """Read a number as text, as it was written; None if it is empty.

    Raises:
        ConfigurationError: The value is not a number.
    """
    text = as_text(value, source)
    if text is None:
        return None
    try:
        is_number = not isinstance(value, bool) and math.isfinite(float(text))
    except ValueError:
        is_number = False
    if not is_number:
        raise ConfigurationError(f"{source} is {text[:40]!r}; give a number")
    return text


def _flag(value: Any, source: str) -> str | None:
    found = as_flag(value, source)
    return None if found is None else str(found).lower()


def _list(value: Any, source: str) -> str | None:
    found = as_list(typed(value) if isinstance(value, str) else value, source)
    return json.dumps(found) if found else None


CHECKS: Final[Mapping[Kind, Callable[[Any, str], str | None]]] = {"number": as_number, "flag": _flag, "list": _list}
"""By kind of a setting: reads its value in a file, and returns it as a variable has it. Others are texts."""

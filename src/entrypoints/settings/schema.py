"""A JSON Schema of the file of settings, made from the table of all settings. Pure."""

from collections.abc import Mapping
from typing import Any, Final

from prefect.agent.entrypoints.settings.names import OWN_TABLE, SETTINGS, Kind, Setting
from prefect.agent.entrypoints.settings.values import LEVELS

DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"

_TEXT: Final = {"type": "string"}

TYPES: Final[Mapping[Kind, Mapping[str, Any]]] = {
    "text": _TEXT,
    "address": _TEXT,
    "secret": {**_TEXT, "writeOnly": True},
    "path": _TEXT,
    "uuid": {**_TEXT, "format": "uuid"},
    "flag": {"type": "boolean"},
    "number": {"type": "number"},
    "level": {"enum": sorted({*LEVELS.values()})},
    "list": {"type": "array", "items": {"type": ["string", "number"]}},
    "variables": {"type": "object", "additionalProperties": {"type": ["string", "number", "boolean"]}},
}
"""By kind of a setting: what its value must be. The agent also takes texts that can be read as such a value."""

CLOSED: Final = frozenset({"cloud.agent", OWN_TABLE})
"""Tables that have no other keys than ours; elsewhere the 1.x client has keys of its own."""


def schema() -> dict[str, Any]:
    """Return the JSON Schema, as values for JSON."""
    root: dict[str, Any] = {"$schema": DIALECT, "title": "Settings of prefect-agent", "type": "object"}
    for setting in SETTINGS:
        if setting.in_file:
            _place(root, setting)
    return root


def _place(root: dict[str, Any], setting: Setting) -> None:
    *tables, key = setting.key.split(".")
    place, path = root, ""
    for table in tables:
        path = f"{path}.{table}".removeprefix(".")
        fresh = {"type": "object", **({"additionalProperties": False} if path in CLOSED else {})}
        place = place.setdefault("properties", {}).setdefault(table, fresh)
    described = {**TYPES[setting.kind], "description": _described(setting)}
    if setting.default is not None and "$" not in setting.default and setting.name != "backend":
        described["default"] = setting.default
    place.setdefault("properties", {})[key] = described


def _described(setting: Setting) -> str:
    """What a setting is for, and what wins over it."""
    wins = " or ".join(filter(None, (setting.option, setting.variable)))
    return f"{setting.used[:1].upper()}{setting.used[1:]}. {wins} wins over it."

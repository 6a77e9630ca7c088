"""Reads a Job template field by field from a measured copy, with a sentence for each error.

No function trusts its input: a template may come from everyone who can create a flow run.
"""

import math
from collections.abc import Mapping
from typing import Any, Final

import attrs

MAX_NESTING: Final = 50
"""Levels of a job template."""

MAX_NODES: Final = 20_000
"""Values of a job template; each use of a YAML alias counts."""

MAX_TEXT: Final = 1024 * 1024
"""Most characters of all texts together; an API server accepts no object that is much larger."""

_SHOWN: Final = 120
"""Most characters of a path in the template that an error shows."""


class BadTemplate(Exception):
    """A Job template cannot be used. The message is one sentence without its contents, which may be secret."""


def kind(value: object) -> str:
    """Return the kind of *value* in plain words."""
    if isinstance(value, Mapping):
        return "a mapping"
    if isinstance(value, bool):
        return "true or false"
    names = {list: "a list", tuple: "a list", str: "a text", int: "a number", float: "a number", type(None): "null"}
    return names.get(type(value), f"of the type {type(value).__name__}")


def wrong(path: str, value: object, expected: str) -> BadTemplate:
    """Return the error for a field of the wrong kind."""
    return BadTemplate(f"the job template's {path[:_SHOWN]} is {kind(value)}, not {expected}")


def plain_copy(value: object, *, quotes: bool = True) -> Any:
    """Return a deep copy of *value* in plain dicts, lists and scalars, as JSON allows, within the limits.

    Args:
        quotes: Whether errors may name keys, which are contents, too.

    Raises:
        BadTemplate: It holds something else, or more than :data:`MAX_NODES` (each use of a YAML alias counts).
    """
    return _Copier(quotes=quotes).copy(value, "", 0)


class _Copier:
    """Counts while it copies, so that a value with nested aliases is refused before the copy grows."""

    def __init__(self, *, quotes: bool) -> None:
        self._nodes = self._text = 0
        self._quotes = quotes

    def copy(self, value: object, path: str, depth: int) -> Any:
        self._measure(value, depth)
        if isinstance(value, Mapping):
            return {self._key(key, path): self.copy(item, _below(path, key), depth + 1) for key, item in value.items()}
        if isinstance(value, list | tuple):
            return [self.copy(item, f"{path}[{index}]", depth + 1) for index, item in enumerate(value)]
        if value is None or isinstance(value, bool | str):
            return value
        if isinstance(value, int) and -(2**63) <= value < 2**63:
            return value
        if isinstance(value, float) and math.isfinite(value):
            return value
        raise wrong(self._name(path), value, "a value that JSON allows")

    def _key(self, key: object, path: str) -> str:
        if not isinstance(key, str):
            raise BadTemplate(
                f"a key of the job template's {self._name(path)} is {kind(key)}, not a text: put it in quotes"
            )
        self._measure(key, 0)
        return key

    def _name(self, path: str) -> str:
        name = path.lstrip(".")[:_SHOWN] or "whole"
        return name if self._quotes else "content"

    def _measure(self, value: object, depth: int) -> None:
        self._nodes += 1
        self._text += len(value) if isinstance(value, str) else 0
        if depth > MAX_NESTING:
            raise BadTemplate(f"the job template is nested more than {MAX_NESTING} levels deep")
        if self._nodes > MAX_NODES or self._text > MAX_TEXT:
            raise BadTemplate(
                f"the job template is too large: more than {MAX_NODES} values or {MAX_TEXT} characters "
                "when its aliases are expanded"
            )


def _below(path: str, key: str) -> str:
    """Return the path of *key*, shortened, since a path is built for every value."""
    return f"{path[:_SHOWN]}.{key[:_SHOWN]}"


@attrs.frozen
class TemplateSection:
    """A mapping inside a template, with its path. Null always counts as absent.

    Attributes:
        data: The mapping itself; writing to it changes the template.
        path: Its path, for errors; empty for the template itself.
    """

    data: dict[str, Any]
    path: str = ""

    def at(self, key: str) -> str:
        """Return the path of *key*."""
        return f"{self.path}.{key}" if self.path else key

    def get(self, key: str) -> Any:
        """Return the value of *key*, of any kind, or None."""
        return self.data.get(key)

    def text(self, key: str) -> str | None:
        """Return the text of *key*; None if it is absent or empty."""
        value = self.get(key)
        if value is None or isinstance(value, str):
            return value or None
        raise wrong(self.at(key), value, "a text")

    def peek(self, key: str) -> "TemplateSection":
        """Return the mapping of *key*; if it is absent, an empty one that is not part of the template."""
        value = self.get(key)
        if value is None:
            return TemplateSection({}, self.at(key))
        if not isinstance(value, dict):
            raise wrong(self.at(key), value, "a mapping")
        return TemplateSection(value, self.at(key))

    def section(self, key: str) -> "TemplateSection":
        """Return the mapping of *key*, and create it if it is absent."""
        found = self.peek(key)
        self.data[key] = found.data
        return found

    def entries(self, key: str) -> list["TemplateSection"]:
        """Return the mappings in the list of *key*; empty if it is absent."""
        value = self.get(key)
        if value is None:
            return []
        if not isinstance(value, list):
            raise wrong(self.at(key), value, "a list")
        for index, item in enumerate(value):
            if not isinstance(item, dict):
                raise wrong(f"{self.at(key)}[{index}]", item, "a mapping")
        return [TemplateSection(item, f"{self.at(key)}[{index}]") for index, item in enumerate(value)]

    def default(self, key: str, value: object) -> None:
        """Set *key* to *value* unless the template sets it; a *value* of None changes nothing."""
        if self.get(key) is None and value is not None:
            self.data[key] = value

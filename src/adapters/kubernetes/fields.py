"""A Job template as a person wrote it: copied, measured, and read field by field with a sentence for what is wrong.

Nothing here trusts its input: a template may come from anybody who can make a flow run.
"""

import math
from collections.abc import Mapping
from typing import Any, Final

import attrs

MAX_NESTING: Final = 50
MAX_NODES: Final = 20_000
MAX_TEXT: Final = 1024 * 1024
"""Characters of all texts together; an API server takes no object that is much larger."""

_SHOWN: Final = 120
"""How much of a path within the template an error repeats."""


class BadTemplate(Exception):
    """A Job template that cannot be used. One sentence, and nothing of its contents: it may be a file of secrets."""


def kind(value: object) -> str:
    """What *value* is, in the words of a person."""
    if isinstance(value, Mapping):
        return "a mapping"
    if isinstance(value, bool):
        return "true or false"
    names = {list: "a list", tuple: "a list", str: "a text", int: "a number", float: "a number", type(None): "null"}
    return names.get(type(value), f"of the type {type(value).__name__}")


def wrong(path: str, value: object, expected: str) -> BadTemplate:
    """The sentence for a field of the wrong kind."""
    return BadTemplate(f"the job template's {path[:_SHOWN]} is {kind(value)}, not {expected}")


def plain_copy(value: object, *, quotes: bool = True) -> Any:
    """A deep copy of *value* in plain dicts, lists and scalars: what JSON can say, and not too much of it.

    Args:
        quotes: Whether errors may name keys; they are contents, too.

    Raises:
        BadTemplate: It holds something else, or more than :data:`MAX_NODES` (aliases of YAML count every time).
    """
    return _Copier(quotes=quotes).copy(value, "", 0)


class _Copier:
    """Counts while it copies, so that what doubles itself is stopped before it has grown."""

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
        raise wrong(self._name(path), value, "what JSON can say")

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
    """Short however long the keys are: a path is made for every value."""
    return f"{path[:_SHOWN]}.{key[:_SHOWN]}"


@attrs.frozen
class Section:
    """A mapping inside a template, and where it is. Null counts as absent everywhere.

    Attributes:
        data: The mapping itself; writing to it writes to the template.
        path: For errors; empty for the template itself.
    """

    data: dict[str, Any]
    path: str = ""

    def at(self, key: str) -> str:
        """The path of *key*."""
        return f"{self.path}.{key}" if self.path else key

    def get(self, key: str) -> Any:
        """The value of *key*, of whatever kind, or None."""
        return self.data.get(key)

    def text(self, key: str) -> str | None:
        """The text of *key*; None if it is absent or empty."""
        value = self.get(key)
        if value is None or isinstance(value, str):
            return value or None
        raise wrong(self.at(key), value, "a text")

    def peek(self, key: str) -> "Section":
        """The mapping of *key*; if it is absent an empty one that is not part of the template."""
        value = self.get(key)
        if value is None:
            return Section({}, self.at(key))
        if not isinstance(value, dict):
            raise wrong(self.at(key), value, "a mapping")
        return Section(value, self.at(key))

    def section(self, key: str) -> "Section":
        """The mapping of *key*, made if it is absent."""
        found = self.peek(key)
        self.data[key] = found.data
        return found

    def entries(self, key: str) -> list["Section"]:
        """The mappings in the list of *key*; none if it is absent."""
        value = self.get(key)
        if value is None:
            return []
        if not isinstance(value, list):
            raise wrong(self.at(key), value, "a list")
        for index, item in enumerate(value):
            if not isinstance(item, dict):
                raise wrong(f"{self.at(key)}[{index}]", item, "a mapping")
        return [Section(item, f"{self.at(key)}[{index}]") for index, item in enumerate(value)]

    def default(self, key: str, value: object) -> None:
        """Set *key* unless the template says something about it; a *value* of None says nothing."""
        if self.get(key) is None and value is not None:
            self.data[key] = value

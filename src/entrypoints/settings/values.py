"""Reads the values of settings as people write them in variables and files.

Each value is stripped, its references are resolved, and then it is read by the kind of the setting. A value that cannot
be read raises ConfigurationError with the setting's name; messages never show secrets.
"""

import ast
import json
import os
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

from prefect.agent.domain.errors import ConfigurationError

MAX_LITERAL: Final = 1000
"""Most characters of a value that is read as a Python literal; longer ones must be JSON. Python 3.11's parser, once it
has run out of depth, always fails with SystemError, so it must not get text that can nest that deeply."""

ROUNDS: Final = 10
"""Most rounds in which references, and references in their values, are resolved."""

LONGEST: Final = 64 * 1024
"""Most characters of a value with all references resolved."""

LEVELS: Final = {
    **{name: name for name in ("NOTSET", "DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")},
    "WARN": "WARNING",
    "FATAL": "CRITICAL",
}
"""Levels of Python's logging, by each of their names."""

MAX_LEVEL_DIGITS: Final = 4
"""Most digits of a level that is a number; a larger number would hide every message."""

_REFERENCE: Final = re.compile(r"\$\{([^${}]+)\}")
_VARIABLE: Final = re.compile(r"\$(\w+)")
_PAIR: Final = re.compile(r"\s*([A-Za-z_][A-Za-z0-9_.-]*)\s*=(.*)", re.DOTALL)
_BETWEEN_PAIRS: Final = re.compile(r"[,;\n]\s*(?=[A-Za-z_][A-Za-z0-9_.-]*\s*=)")
_BRACKETS: Final = frozenset({"[]", "()", "{}"})
_YES: Final = frozenset({"true", "yes", "on", "y", "1"})
_NO: Final = frozenset({"false", "no", "off", "n", "0"})


def resolved(text: str, environ: Mapping[str, str], refer: Callable[[str], str | None], source: str) -> str:
    """Return *text* with ``~``, ``$VARIABLE``, ``${VARIABLE}`` and ``${section.setting}`` replaced, also nested ones.

    Args:
        refer: Returns the raw value of a setting by its dotted name; None if it is not set.
        source: Name of the setting, for messages.

    Raises:
        ConfigurationError: A reference in braces names nothing that exists, or references form a circle.
    """

    def named(match: re.Match[str]) -> str:
        name = match[1].strip()
        found = environ[name] if name in environ else refer(name)
        if found is None:
            raise ConfigurationError(f"{source} refers to ${{{name}}}, but there is no such variable or setting")
        return found

    for _ in range(ROUNDS):
        before = text
        text = _REFERENCE.sub(named, expanded(text, environ), count=100)
        if text == before and not _REFERENCE.search(text):
            return text
        if len(text) > LONGEST:
            break
    raise ConfigurationError(f"{source} refers to itself, directly or through others: remove that reference")


def expanded(text: str, environ: Mapping[str, str]) -> str:
    """Return *text* with a leading ``~`` or ``~user`` and ``$VARIABLE`` replaced; keep unknown names as they are."""
    home = environ.get("HOME")
    if text == "~" or text.startswith("~/"):
        text = home.rstrip("/") + text[1:] if home else text
    elif text.startswith("~"):
        text = os.path.expanduser(text)  # noqa: PTH111 - pathlib raises if there is no such user
    return _VARIABLE.sub(lambda match: environ.get(match[1], match[0]), text)


def home_of(environ: Mapping[str, str]) -> Path | None:
    """Return the home directory that *environ* names; None if it names none. Never a place below the current folder."""
    home = Path(environ.get("HOME", ""))
    return home if home.is_absolute() else None


def at_home(path: str, source: str) -> Path:
    """Return *path* with a leading ``~`` or ``~user`` replaced.

    Raises:
        ConfigurationError: There is no such user, or the user has no home directory.
    """
    try:
        return Path(path).expanduser()
    except RuntimeError:
        raise ConfigurationError(f"{source} is {path!r}, but there is no such home: write the whole path") from None


def bare(text: str) -> str:
    """Return *text* without surrounding white space, and without one pair of surrounding quotes.

    A list in quotes may contain the same quotes, since Compose keeps the quotes around it.
    """
    text = text.strip()
    if len(text) < 2 or text[0] != text[-1] or text[0] not in "'\"":
        return text
    inner = text[1:-1].strip()
    return inner if inner[:1] + inner[-1:] in _BRACKETS or text[0] not in inner else text


def own(environ: Mapping[str, str], variable: str) -> str:
    """Return the bare value of a variable that only this product has; empty if it is not set."""
    return bare(environ.get(variable, ""))


def own_list(environ: Mapping[str, str], variable: str) -> list[str]:
    """Return the list in a variable that only this product has; empty if it is not set.

    Raises:
        ConfigurationError: The value is not a list.
    """
    return as_list(typed(environ.get(variable, "")), variable)


def typed(text: str) -> Any:
    """Read a value as 1.x does: true, false, None, a Python or JSON literal with quotes or brackets, else the text.

    Quotes around a whole literal are removed first, since Compose keeps those around a list.
    """
    for _ in range(3):
        text = text.strip()
        if text.lower() in {"true", "false"}:
            return text.lower() == "true"
        if text == "None":
            return None
        found = _literal(text)
        found = bare(text) if found == text else found
        if not isinstance(found, str) or found == text:
            return found
        text = found
    return text


def _literal(text: str) -> Any:
    if text[:1] and text[:1] in "[{('\"":
        for read, limit in ((json.loads, len(text)), (ast.literal_eval, MAX_LITERAL)):
            try:
                if len(text) <= limit:
                    return read(text)
            except (ValueError, SyntaxError, TypeError, RecursionError, MemoryError):
                continue
    return text


def sound(text: str, source: str) -> str:
    """Return *text* unchanged after a check of its characters.

    Raises:
        ConfigurationError: It has a NUL byte, or is not valid UTF-8: no Cloud and no platform would accept it.
    """
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ConfigurationError(f"{source} holds characters that are not valid in UTF-8: remove them") from None
    if "\0" in text:
        raise ConfigurationError(f"{source} holds a NUL byte: remove it")
    return text


def as_text(value: Any, source: str) -> str | None:
    """Read a setting that is one text; return None if it is empty.

    Raises:
        ConfigurationError: The value is a list or a table, or has impossible characters.
    """
    if isinstance(value, str):
        value = None if value.strip() == "None" else _literal(value.strip())
    if value is None or value == "":
        return None
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str | int | float):
        return sound(str(value), source)
    raise ConfigurationError(f"{source} must be one text, not a {_kind(value)}")


def as_list(value: Any, source: str) -> list[str]:
    """Read a setting that is a list of texts: a literal, ``[a, b]`` without quotes, or words with commas.

    Raises:
        ConfigurationError: The value is a table, holds something that is not a text, or lacks a bracket.
    """
    if isinstance(value, str):
        inner = value[1:-1] if value[:1] + value[-1:] in _BRACKETS else value
        if any(inner.count(one) != inner.count(other) for one, other in ("[]", "{}")):
            raise ConfigurationError(f"{source} must be a list such as ['a', 'b']; a bracket is missing in it")
        parts = (part.strip().strip("'\"").strip() for part in re.split(r"[,\n]", inner))
        return [sound(part, source) for part in parts if part]
    if value is None:
        return []
    if isinstance(value, Mapping) or (isinstance(value, int | float) and not isinstance(value, bool)):
        raise ConfigurationError(f"{source} must be a list such as ['a', 'b'], not a {_kind(value)}")
    entries = value if isinstance(value, list | tuple | set | frozenset) else [value]
    for entry in entries:
        if not isinstance(entry, str | int | float):
            raise ConfigurationError(f"{source} must be a list of texts, but holds a {_kind(entry)}")
    return [str(each).lower() if isinstance(each, bool) else sound(str(each).strip(), source) for each in entries]


def as_variables(value: Any, source: str) -> dict[str, str]:
    """Read a setting that is a table of variables: a literal, ``NAME=value``, or several, with commas or in a list.

    Raises:
        ConfigurationError: The value is something else. The message does not show it: it may be a secret.
    """
    if value is None or value == "":
        return {}
    if isinstance(value, Mapping) and None not in value.values():
        return {str(name): str(each) for name, each in value.items()}
    texts = _BETWEEN_PAIRS.split(value) if isinstance(value, str) else value
    texts = texts if isinstance(texts, list | tuple) else [None]
    pairs = [_PAIR.fullmatch(each) if isinstance(each, str) else None for each in texts]
    found = {pair[1]: pair[2].strip() for pair in pairs if pair}
    if None in pairs:
        raise ConfigurationError(f'{source} must be variables such as {{"NAME": "value"}} or NAME=value')
    return found


def as_flag(value: Any, source: str) -> bool | None:
    """Read a setting that is on or off; return None if it is not set.

    Raises:
        ConfigurationError: The value is something else.
    """
    text = as_text(value, source)
    if text is None:
        return None
    if text.lower() not in _YES | _NO:
        raise ConfigurationError(f"{source} is {text[:40]!r}; give true or false")
    return text.lower() in _YES


def as_level(value: Any, source: str) -> str | None:
    """Read a level of Python's logging: a name, returned in capitals, or a number; return None if it is not set.

    Raises:
        ConfigurationError: There is no such level; a flow run that gets it would fail at its start.
    """
    text = as_text(value, source)
    if text is None or (text.isascii() and text.isdecimal() and len(text) <= MAX_LEVEL_DIGITS):
        return text
    if text.upper() not in LEVELS:
        raise ConfigurationError(f"{source} is {text[:40]!r}; the levels are {', '.join(sorted(set(LEVELS.values())))}")
    return LEVELS[text.upper()]


def _kind(value: object) -> str:
    if isinstance(value, Mapping):
        return "table"
    if isinstance(value, int | float):
        return "number"
    return "list" if isinstance(value, list | tuple | set) else type(value).__name__

"""SQL functions in Python that compare JSON values and patterns, with limits of time and work.

SQLite does not check its time limit inside such a function, so each function checks it.
"""

import json
import sqlite3
import time
from collections.abc import Callable
from functools import lru_cache
from math import inf
from typing import Any, Final

import attrs

TOO_SLOW: Final = "This took too long and was given up: ask for less at a time"

MAX_PATTERN: Final = 1000
"""Characters of the longest pattern, which limits the work for each character of a text."""

_SHORT: Final = 1000
"""Characters of JSON texts whose comparison is cached."""

_STEPS_FREE: Final = 200_000
_STEPS_EACH: Final = 10
"""Comparisons of values that are always permitted, and further ones for each character of the two JSON texts."""

_LOOK_EVERY: Final = 4096
"""Steps between two checks of the clock, less than a millisecond."""


class TooMuch(Exception):
    """A comparison was given up; the message says why and what to do."""


@attrs.define
class SqlFunctions:
    """The functions of one connection, with the deadline of its transaction.

    Attributes:
        end: The deadline, as monotonic time.
        problem: Why the last function gave up, which SQLite does not pass on.
    """

    end: float = inf
    problem: TooMuch | None = None

    def register(self, connection: sqlite3.Connection) -> None:
        """Add to *connection* the functions ``json_contains`` and ``text_like``."""
        connection.create_function("json_contains", 2, self._guarded(self._contains), deterministic=True)
        connection.create_function("text_like", 3, self._guarded(self._like), deterministic=True)

    def check_time(self) -> None:
        """Raise :class:`TooMuch` if the deadline is over."""
        if time.monotonic() > self.end:
            raise TooMuch(TOO_SLOW)

    def _guarded(self, run: Callable[..., Any]) -> Callable[..., Any]:
        def guarded(*given: Any) -> Any:
            try:
                self.check_time()
                return None if None in given else run(*given)
            except RecursionError:
                self.problem = TooMuch("A JSON value is nested too deeply to be compared")
                raise self.problem from None
            except TooMuch as problem:
                self.problem = problem
                raise

        return guarded

    def _contains(self, outer: str, inner: str) -> bool:
        size = len(outer) + len(inner)
        if size < _SHORT:
            return _short_contains(outer, inner)
        steps = _Steps(self, _STEPS_FREE + _STEPS_EACH * size)
        return _holds(json.loads(outer), json.loads(inner), steps)

    def _like(self, value: object, pattern: str, minds_case: int) -> bool:
        text = value if isinstance(value, str) else str(value)
        return _Pattern.of(pattern, bool(minds_case)).matches(text if minds_case else _folded(text), self)


# --- JSON within JSON ---


@attrs.define
class _Steps:
    """Counts the comparisons that are left."""

    functions: SqlFunctions
    left: int

    def take(self, count: int = 1) -> None:
        before, self.left = self.left, self.left - count
        if self.left < 0:
            raise TooMuch("Too many values are compared with each other: ask for fewer in one _contains")
        if before // _LOOK_EVERY != self.left // _LOOK_EVERY:
            self.functions.check_time()


@lru_cache(4096)
def _short_contains(outer: str, inner: str) -> bool:
    """Compare short texts with a cache, because rows have few different sets of labels."""
    return _holds(json.loads(outer), json.loads(inner), _Steps(SqlFunctions(), _SHORT * _SHORT))


def _holds(value: Any, wanted: Any, steps: _Steps) -> bool:
    """Return whether one JSON value contains another one, in the sense of PostgreSQL's ``@>``."""
    steps.take()
    if isinstance(value, dict) and isinstance(wanted, dict):
        return all(name in value and _holds(value[name], wanted[name], steps) for name in wanted)
    if isinstance(value, list):
        return _list_holds(value, wanted if isinstance(wanted, list) else [wanted], steps)
    return bool(value == wanted)


def _list_holds(items: list[Any], wanted: list[Any], steps: _Steps) -> bool:
    """Return whether a list contains all wanted items; only lists and objects are compared one by one."""
    steps.take(len(items) + len(wanted))
    nested = [item for item in items if isinstance(item, dict | list)]
    plain = {item for item in items if not isinstance(item, dict | list)}
    return all(
        (not isinstance(one, dict | list) and one in plain) or any(_holds(item, one, steps) for item in nested)
        for one in wanted
    )


# --- patterns ---


def _folded(text: str) -> str:
    """Return the text with ASCII letters in lower case, as SQLite's LIKE compares."""
    return text.lower() if text.isascii() else text.translate(_SMALL)


_SMALL: Final = {code: code + 32 for code in range(ord("A"), ord("Z") + 1)}


@attrs.frozen
class _Pattern:
    """A LIKE pattern: the texts between its ``%``, each a tuple of characters in which None matches any character."""

    pieces: tuple[tuple[str | None, ...], ...]

    @classmethod
    def of(cls, pattern: str, minds_case: bool) -> "_Pattern":  # noqa: FBT001 - key of a cache
        """Read *pattern*, in which a backslash makes the next character a plain one."""
        return _read_pattern(pattern if minds_case else _folded(pattern))

    def matches(self, text: str, functions: SqlFunctions) -> bool:
        """Return whether the whole *text* matches; each piece is matched at its first place."""
        first, *rest = self.pieces
        if not _fits(text, 0, first):
            return False
        if not rest:
            return len(text) == len(first)
        *middle, last = rest
        at = len(first)
        for piece in middle:
            found = _find(text, at, piece, functions)
            if found < 0:
                return False
            at = found + len(piece)
        end = len(text) - len(last)
        return end >= at and _fits(text, end, last)


@lru_cache(256)
def _read_pattern(pattern: str) -> _Pattern:
    pieces: list[list[str | None]] = [[]]
    characters = iter(pattern)
    for character in characters:
        if character == "%":
            pieces.append([])
        elif character == "_":
            pieces[-1].append(None)
        else:
            pieces[-1].append(next(characters, character) if character == "\\" else character)
    return _Pattern(tuple(map(tuple, pieces)))


def _fits(text: str, at: int, piece: tuple[str | None, ...]) -> bool:
    return len(text) >= at + len(piece) and all(c is None or text[at + n] == c for n, c in enumerate(piece))


def _find(text: str, at: int, piece: tuple[str | None, ...], functions: SqlFunctions) -> int:
    """Return the first place from *at* on where *piece* matches; -1 if there is none."""
    if None not in piece:
        return text.find("".join(map(str, piece)), at)
    for number, place in enumerate(range(at, len(text) - len(piece) + 1)):
        if number % _LOOK_EVERY == 0:
            functions.check_time()
        if _fits(text, place, piece):
            return place
    return -1

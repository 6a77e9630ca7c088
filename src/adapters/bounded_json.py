"""Reads JSON answers with limits for bytes and values, since 60 MB of ``{},{},`` would take 1.5 GB once decoded.

Values are counted before anything is decoded, by the separators between them, in a few passes over the bytes.
"""

import errno
import json
from collections.abc import Iterable, Iterator
from typing import Any, Final

MOST_BYTES: Final = 64 * 1024 * 1024
"""Most bytes of one answer. Lists of 10,000 Jobs or containers are smaller."""

MOST_VALUES: Final = 1_000_000
"""Most values of one answer: objects, lists, and their elements. 10,000 containers have about 600,000."""

LONGEST_LINE: Final = 16 * 1024 * 1024
"""Most bytes of one line in a stream of JSON objects. No object of an API server is larger than 3 MiB."""

PIECE: Final = 64 * 1024
"""Bytes of an answer that are read at a time."""

COUNTED: Final = 256 * 1024
"""Bytes that are split at a time."""


class BeyondBounds(OSError):
    """An answer exceeds the limits: ask for less. Its message completes a sentence that begins with "The answer"."""

    def __init__(self, why: str) -> None:
        super().__init__(errno.EMSGSIZE, why)

    def __str__(self) -> str:
        return str(self.strerror)


def gathered(pieces: Iterable[bytes], *, most: int = MOST_BYTES) -> bytes:
    """Return all *pieces* joined.

    Raises:
        BeyondBounds: Together they have more than *most* bytes; further pieces are not read.
    """
    found, size = [], 0
    for piece in pieces:
        size += len(piece)
        if size > most:
            raise BeyondBounds(f"is larger than {most} bytes")
        found.append(piece)
    return b"".join(found)


def loads(body: bytes, *, most: int = MOST_VALUES) -> Any:
    """Return the value of the JSON text *body*.

    Raises:
        BeyondBounds: It has more than *most* values.
        ValueError: It is not JSON, or nested too deeply for Python.
    """
    check(body, most=most)
    try:
        return json.loads(body)
    except RecursionError:
        raise ValueError("nested too deeply") from None


def check(body: bytes, *, most: int = MOST_VALUES) -> None:
    """Raise BeyondBounds if *body* has more than *most* values."""
    if len(body) > most and _separators(body) > most and _is_above(body, most):
        raise BeyondBounds(f"has more than {most} values")


def lines(pieces: Iterable[bytes], *, longest: int = LONGEST_LINE) -> Iterator[bytes]:
    """Yield the complete lines that are not blank. The rest after the last line end is dropped, since it is incomplete.

    Raises:
        BeyondBounds: A line has more than *longest* bytes.
    """
    begun: list[bytes] = []
    size = 0
    for piece in pieces:
        *whole, rest = piece.split(b"\n")
        if whole:
            whole[0] = b"".join((*begun, whole[0]))
            begun, size = [], 0
        yield from (line for line in whole if line.strip())
        begun.append(rest)
        size += len(rest)
        if size > longest:
            raise BeyondBounds(f"has a line of more than {longest} bytes")


def _separators(body: bytes) -> int:
    """Return the number of separators, also of those inside texts: about the number of values."""
    return sum(map(body.count, (b",", b"[", b"{")))


def _is_above(body: bytes, most: int) -> bool:
    """Return whether more than *most* separators are outside of texts, where a backslash escapes the next byte."""
    body = body.replace(b"\\\\", b"").replace(b'\\"', b"")
    found = inside = 0
    for begin in range(0, len(body), COUNTED):
        parts = body[begin : begin + COUNTED].split(b'"')
        found += _separators(b"".join(parts[inside::2]))
        inside ^= (len(parts) - 1) % 2
        if found > most:
            return True
    return False

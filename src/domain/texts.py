"""Rules for texts that come from outside: they are cut, and characters that control a log or a terminal are replaced.

Pure.
"""

import re
from collections.abc import Iterable, Sequence
from typing import Final

MAX_NAME: Final = 256
"""Characters of a name that our own texts, labels and units carry."""

LONGEST_WORD: Final = 4096
"""Characters of the longest word that a cut text may begin with a part of."""

_ACTIVE: Final = re.compile(
    r"[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff"
    r"\xad\u180e\u200b\u2060-\u2065\u206a-\u206f\ufeff\ufff9-\ufffb\U000e0000-\U000e007f]"
    r"|(?<![\x80-\u200b\u200e-\U0010ffff])[\u200c\u200d]"
)
"""Control characters (C0, DEL, C1), line and paragraph separators, what changes the direction of text, surrogates that
no encoding takes, and characters without width, which make two different names look the same. Joiners stay where
writing needs them, within other letters than ASCII and within emoji."""

_SHORT: Final = {"\n": "\\n", "\r": "\\r", "\t": "\\t"}


def escaped(text: str) -> str:
    r"""Return *text* on one line; control characters are written as Python writes them (``\x1b``)."""
    return _ACTIVE.sub(_escape, text)


def escaped_lines(text: str) -> str:
    """Escape each line of the text as :func:`escaped` does; line ends and tabs stay."""
    return _ACTIVE.sub(lambda found: found[0] if found[0] in "\n\t" else _escape(found), text)


def escaped_json(text: str) -> str:
    """Return JSON *text* that means the same but has no control characters."""
    return _ACTIVE.sub(_json_escape, text)


def cut(text: str, most: int) -> str:
    """Return *text*, or its first *most* characters and a note how many it had."""
    return text if len(text) <= most else f"{text[:most]}... (cut: {len(text)} characters)"


def from_a_whole_word(text: str) -> str:
    """Return *text*, cut at its beginning, from its first whole word: half of a secret could not be masked."""
    found = re.search(r"\s", text[:LONGEST_WORD])
    return text[found.start() if found else LONGEST_WORD :].lstrip()


def readable_name(name: str) -> str:
    """Return the *name* of a flow or flow run as all texts, labels and units carry it: one line, at most MAX_NAME."""
    shown = _ACTIVE.sub("\N{REPLACEMENT CHARACTER}", name[: MAX_NAME + 1])
    return shown if len(shown) <= MAX_NAME else f"{shown[: MAX_NAME - 1]}\N{HORIZONTAL ELLIPSIS}"


def likeness(one: str, other: str) -> float:
    """Return how alike two names are, 1 for those that differ in case only."""
    import difflib  # noqa: PLC0415 - only who has made a mistake pays for it

    return difflib.SequenceMatcher(None, other.casefold()[:MAX_NAME], one.casefold()[:MAX_NAME]).ratio()


def nearest(name: str, known: Iterable[str], *, least: float, most: int = 1) -> list[str]:
    """Return which of the *known* names may be meant by *name*, the most alike first.

    Args:
        least: How alike they are at least; see :func:`likeness`.
        most: How many are returned at most.
    """
    scores = {each: likeness(name, each) for each in known}
    return sorted((each for each in scores if scores[each] >= least), key=lambda each: -scores[each])[:most]


def did_you_mean(names: Sequence[str]) -> str:
    """Return the question whether one of *names* is meant; empty if there are none."""
    return f"did you mean {' or '.join(names)}?" if names else ""


def _escape(found: re.Match[str]) -> str:
    code = ord(found[0])
    return _SHORT.get(found[0]) or (
        f"\\x{code:02x}" if code < 256 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
    )


def _json_escape(found: re.Match[str]) -> str:
    units = found[0].encode("utf-16-be", "surrogatepass").hex()
    return "".join(f"\\u{units[n : n + 4]}" for n in range(0, len(units), 4))

"""Rules for secrets: how one is read, and how it is kept out of every text that leaves the process. Pure."""

import base64
import json
import math
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from typing import Any, Final
from urllib.parse import quote, unquote, urlsplit

import attrs

from prefect.agent.domain.errors import ConfigurationError

MASK: Final = "********"
"""Stands in a text where a secret was."""

LEAST: Final = 4
"""Characters of the shortest secret that is masked: a shorter one occurs in ordinary words, which would become
unreadable, and no service hands out keys that short."""

LEAST_ENCODED: Final = 6
"""Characters of the shortest encoded form that is masked, for the same reason."""


_PERCENT: Final = re.compile("%[0-9A-F]{2}")
_MARKUP: Final = {"&": "&amp;", "<": "&lt;", ">": "&gt;"}
_SPELLINGS: Final = tuple(
    str.maketrans(spelling)
    for spelling in (
        {letter: f"\\u{ord(letter):04x}" for letter in "<>&"},  # Go, in which engines are written, in JSON
        {"/": "\\/"},  # PHP, likewise
        _MARKUP,
        {**_MARKUP, '"': "&quot;", "'": "&#x27;"},
    )
)
"""How other programs spell a text."""


def read_secret(text: str, source: str) -> str:
    """Return the secret in *text*: one word of printable ASCII, which any header and any file can hold.

    White space around it, and the mark that some editors put at the beginning of a file, are not part of it.

    Args:
        source: The origin of the text, for the message, which never contains any of *text*.

    Raises:
        ConfigurationError: There is no secret, or it has characters that no secret has.
    """
    secret = text.strip("\N{ZERO WIDTH NO-BREAK SPACE} \t\r\n\v\f\0")
    if not secret:
        raise ConfigurationError(f"{source} is empty: put the secret there, as one line")
    if not (secret.isascii() and secret.isprintable()) or " " in secret:
        raise ConfigurationError(
            f"{source} has characters that no secret has (spaces, line ends, or letters outside ASCII): copy it anew, "
            "as one line"
        )
    return secret


def passwords_of(url: str) -> set[str]:
    """Return the password in *url*, as it is written there and decoded; nothing if there is none.

    A name without a password in an address of http is a token.
    """
    try:
        parts = urlsplit(url)
        is_token = parts.password is None and parts.scheme in {"http", "https"}
        written = parts.username if is_token else parts.password
    except ValueError:
        written = url.rpartition("@")[0].rpartition(":")[2]
    return {written, unquote(written)} if written else set()


def without_password(url: str) -> str:
    """Return *url* without name and password, as it may be shown."""
    before, at, after = url.rpartition("@")
    if not at:
        return url
    scheme, slashes, _ = before.partition("://")
    return f"{scheme}{slashes}{after}" if slashes else after


class Mask:
    """A mask removes known secrets from texts: as they are, quoted, percent-encoded, and in base64 at any offset.

    One compiled expression does all the work. Secrets may be added at any time, from any thread.
    """

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        self._given: frozenset[str] = frozenset()
        self._sources: tuple[Callable[[], Collection[str]], ...] = ()
        self._known = _Known()
        self.add(*secrets)

    @property
    def secrets(self) -> frozenset[str]:
        """Return all secrets that are masked now."""
        return self._now().secrets

    def add(self, *secrets: str) -> None:
        """Mask *secrets* from now on; empty and very short ones are none."""
        self._given |= {secret for secret in secrets if len(secret) >= LEAST}

    def add_source(self, source: Callable[[], Collection[str]]) -> None:
        """Mask what *source* returns from now on. It is called for each text: it must be quick and must not raise."""
        self._sources = (*self._sources, source)

    def learn(self, other: "Mask") -> None:
        """Mask everything that *other* masks, now and later."""
        if other is not self:
            self.add_source(lambda: other.secrets)

    def __call__(self, text: str) -> str:
        """Return *text* without secrets."""
        pattern = self._now().pattern
        return pattern.sub(MASK, text) if pattern else text

    def value(self, value: Any) -> Any:
        """Return *value* with secrets removed from all texts in it, however deep; other values stay as they are."""
        pattern = self._now().pattern
        return value if pattern is None else _cleaned(value, pattern)

    def _now(self) -> "_Known":
        """Return the known secrets; compile them again only if they have changed."""
        found = (self._given, *(source() for source in self._sources))
        if found != self._known.found:
            self._known = _Known.of(found)
        return self._known


@attrs.frozen
class _Known:
    """The secrets that were collected from several sources, with the expression that finds them in texts."""

    found: tuple[Collection[str], ...] = (frozenset(),)
    secrets: frozenset[str] = frozenset()
    pattern: re.Pattern[str] | None = None

    @classmethod
    def of(cls, found: tuple[Collection[str], ...]) -> "_Known":
        """Compile the secrets."""
        secrets = frozenset(secret for some in found for secret in some if len(secret) >= LEAST)
        forms = {form for secret in secrets for form in _forms(secret)}
        # Longest first, so that a secret inside another one leaves no part of it.
        ordered = sorted(forms, key=lambda form: (-len(form), form))
        return cls(found, secrets, re.compile("|".join(map(re.escape, ordered))) if ordered else None)


def _cleaned(value: Any, pattern: re.Pattern[str]) -> Any:
    if isinstance(value, str):
        return pattern.sub(MASK, value)
    if isinstance(value, Mapping):
        return {_cleaned(name, pattern): _cleaned(each, pattern) for name, each in value.items()}
    if isinstance(value, tuple):
        return tuple(_cleaned(each, pattern) for each in value)
    return [_cleaned(each, pattern) for each in value] if isinstance(value, list | set | frozenset) else value


def _forms(secret: str) -> Iterator[str]:
    """Return the texts that reveal *secret*."""
    yield secret
    encoded = {quote(secret, safe=""), quote(secret), json.dumps(secret)[1:-1], repr(secret)[1:-1]}
    encoded |= {_PERCENT.sub(lambda found: found[0].lower(), form) for form in encoded}
    encoded |= {secret.translate(spelling) for spelling in _SPELLINGS}
    encoded |= {part for offset in range(3) for part in _in_base64(secret.encode(errors="surrogatepass"), offset)}
    yield from (form for form in encoded if len(form) >= LEAST_ENCODED)


def _in_base64(secret: bytes, offset: int) -> Iterator[str]:
    """Return what the base64 of any text around *secret* always contains, at each offset and in both alphabets."""
    text = base64.b64encode(b"\0" * offset + secret).decode()
    first, last = math.ceil(offset * 8 / 6), (offset + len(secret)) * 8 // 6
    yield text[first:last]
    yield text[first:last].translate(str.maketrans("+/", "-_"))

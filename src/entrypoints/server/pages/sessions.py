"""Who looks at pages: sessions made from an API key, and the token that proves a form to be one of ours.

A browser is given 32 bytes of chance in a cookie, never the key. The key stays in this process, so that a revoked or
expired one ends its sessions at once; a restart of the server ends them all.
"""

import hashlib
import hmac
import secrets
import time
from collections.abc import Callable
from typing import Final

import attrs
from starlette.requests import Request
from starlette.responses import Response

COOKIE: Final = "prefect-session"
MAX_SESSIONS: Final = 1000
"""Beyond that, the one that has been unused for the longest ends."""

IDLE_SECONDS: Final = 12 * 3600.0
"""A session ends when it has been unused for so long."""


@attrs.define
class _Session:
    key: str
    used: float


@attrs.define
class Sessions:
    """The sessions of one server.

    Attributes:
        monotonic: A clock in seconds.
    """

    monotonic: Callable[[], float] = time.monotonic
    _secret: bytes = attrs.field(factory=lambda: secrets.token_bytes(32), init=False, repr=False)
    _known: dict[str, _Session] = attrs.field(factory=dict, init=False, repr=False)

    def begin(self, key: str) -> str:
        """Begin a session of *key*, which was accepted; return what the cookie is to carry."""
        self._drop_unused()
        if len(self._known) >= MAX_SESSIONS:
            del self._known[min(self._known, key=lambda one: self._known[one].used)]
        token = secrets.token_urlsafe(32)
        self._known[_digest(token)] = _Session(key, self.monotonic())
        return token

    def key(self, token: str) -> str | None:
        """The API key of a session; None if there is no such session any more."""
        self._drop_unused()
        found = self._known.get(_digest(token))
        if found is None:
            return None
        found.used = self.monotonic()
        return found.key

    def end(self, token: str) -> None:
        """End a session. Repeating it changes nothing."""
        self._known.pop(_digest(token), None)

    def form_token(self, token: str) -> str:
        """What a form of this session carries; *token* is empty where no key is needed."""
        return hmac.new(self._secret, token.encode(), hashlib.sha256).hexdigest()

    def is_form_token(self, token: str, given: str) -> bool:
        """Whether *given* is what a form of this session carries."""
        return hmac.compare_digest(self.form_token(token).encode(), given.encode(errors="replace"))

    def _drop_unused(self) -> None:
        end = self.monotonic() - IDLE_SECONDS
        self._known = {name: one for name, one in self._known.items() if one.used > end}


def cookie_of(request: Request) -> str:
    """The session's token in a request; empty if it has none."""
    return request.cookies.get(_name(request), "")


def set_cookie(request: Request, answer: Response, token: str) -> None:
    """Let the browser keep *token*: for this host only, out of reach of scripts, and not sent from other sites."""
    is_secure = request.headers.get("origin", "").startswith("https:")
    answer.set_cookie(_name(request), token, path="/", httponly=True, samesite="strict", secure=is_secure)


def drop_cookie(request: Request, answer: Response) -> None:
    """Let the browser forget it."""
    answer.delete_cookie(_name(request), path="/", httponly=True, samesite="strict")


def _name(request: Request) -> str:
    """Cookies belong to a host, whatever the port: two Clouds on one machine need two names."""
    return f"{COOKIE}-{request.url.port or 'default'}"


def _digest(token: str) -> str:
    return hashlib.sha256(token.encode(errors="surrogatepass")).hexdigest()

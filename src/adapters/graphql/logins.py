"""The agent authenticates by its key, or by name and password in the address, as for a proxy in front of a Server."""

import base64
from urllib.parse import unquote, urlsplit

import requests
from requests.auth import AuthBase


class ApiLogin(AuthBase):
    """This login sets the key, else the name and password of the address, else nothing.

    Without an auth of its own, requests would take one from ``.netrc``.

    Args:
        url: Address of the API. A name and password in it count only if there is no key.
        key: API key or token.
    """

    def __init__(self, url: str, key: str | None) -> None:
        self._has_key = bool(key)
        self._basic = None if key else _basic(url)
        self._value = f"Bearer {key}" if key else self._basic

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        """Add the header to *request*."""
        if self._value:
            request.headers["Authorization"] = self._value
        return request

    @property
    def refused(self) -> str:
        """Return the end of a sentence that says why the API may refuse the login."""
        if self._has_key:
            return "does not accept the API key"
        if self._basic:
            return "does not accept the name and password in its address"
        return (
            "wants a login, and the agent has none: give an API key (PREFECT__CLOUD__API_KEY), or a name and password "
            "in the address (https://NAME:PASSWORD@HOST)"
        )


def has_login(url: str) -> bool:
    """Return whether *url* contains a name or password."""
    return "@" in urlsplit(url).netloc


def without_login(url: str) -> str:
    """Return *url* without name and password."""
    parts = urlsplit(url)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()


def _basic(url: str) -> str | None:
    """Return the header of RFC 7617 for the login in *url*; None if there is none."""
    if not has_login(url):
        return None
    parts = urlsplit(url)
    text = f"{unquote(parts.username or '')}:{unquote(parts.password or '')}"
    return f"Basic {base64.b64encode(text.encode()).decode()}"

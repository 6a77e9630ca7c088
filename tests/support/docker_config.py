"""Docker's ``config.json`` with logins, good ones and odd ones."""

import base64
import json
from collections.abc import Mapping
from typing import Any, Final

SECRET: Final = "hunter2-the-password"
GOOD: Final = {"auth": base64.b64encode(f"me:{SECRET}".encode()).decode()}
NO_COLON: Final = base64.b64encode(SECRET.encode()).decode()

ENTRIES: Final[dict[str, Any]] = {
    "not base64": {"auth": f"{SECRET}!"},
    "no colon": {"auth": NO_COLON},
    "not UTF-8": {"auth": base64.b64encode(b"\xff:\xff").decode()},
    "not ASCII": {"auth": f"é{SECRET}"},
    "auth is a number": {"auth": 5},
    "auth is an object": {"auth": {"user": SECRET}},
    "auth is a list": {"auth": [SECRET]},
    "a text": SECRET,
    "a number": 5,
    "a list": [SECRET],
    "true": True,
    "a token that is a number": {"identitytoken": 5},
    "a password that is a number": {"username": "me", "password": 5},
}
"""Entries of ``auths`` that are no login."""

EMPTY: Final[dict[str, Any]] = {
    "null": None,
    "an empty object": {},
    "auth is null": {"auth": None},
    "auth is empty": {"auth": ""},
    "a token that is null": {"identitytoken": None},
    "only an address": {"email": "me@example.test"},
}
"""Entries of ``auths`` that mean that there is no login."""


def auths(entries: Mapping[str, Any], **more: Any) -> bytes:
    """A file with these logins."""
    return json.dumps({"auths": entries, **more}).encode()

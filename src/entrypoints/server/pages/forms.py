"""Forms that were sent: how they are read, and how one that cannot be taken is kept until it can.

A session ends while a form is filled in: its key expires, somebody signs out in another tab, the server is restarted.
What was typed is then handed back with the next answer, and is sent again when the person says so: never by itself, as
the token that the form lacks is what proves that the person meant it.
"""

import json
from collections.abc import Sequence
from typing import Final
from urllib.parse import parse_qsl, quote, urlsplit

import attrs
from starlette.exceptions import HTTPException
from starlette.requests import Request

from prefect.agent.entrypoints.server.pages.asked import local, query_of

MAX_FORM: Final = 1024 * 1024
"""Bytes of a form."""

MAX_FIELDS: Final = 2000

TOKEN_FIELD: Final = "form_token"  # noqa: S105 - a name
"""The field of every form that proves it to be one of ours."""

_ROOM: Final = 3
"""A form that carries another one along may be so many times larger: characters are written out in both."""


_UNSHOWN: Final = frozenset({"value", "zone", "idempotency_key", "ids", "until"})
"""Fields that are not shown when a form is handed back: the value of a secret, and what says nothing to people."""


class TokenRefused(Exception):
    """The form is of an earlier session, of an earlier start of the server, or not one of ours."""


@attrs.frozen
class Unsent:
    """A form that could not be taken.

    Attributes:
        action: The address that it was sent to.
        back: The address of the page that it was on.
        fields: Names and values, without the token.
    """

    action: str
    back: str
    fields: Sequence[tuple[str, str]]

    @property
    def shown(self) -> list[tuple[str, str]]:
        """What was filled in, for people."""
        fields = [(name, value) for name, value in self.fields if value.strip() and name not in _UNSHOWN]
        return [(name.removeprefix("p:"), value) for name, value in fields if not name.startswith("k:")]

    @property
    def text(self) -> str:
        """The form as the value of one field, for :func:`read_unsent`."""
        return json.dumps([self.action, self.back, [list(one) for one in self.fields]], ensure_ascii=False)


def read_unsent(text: str) -> Unsent | None:
    """The form that another form carries along; None if it carries none."""
    try:
        action, back, fields = json.loads(text)
        return Unsent(local(str(action)), local(str(back)), [(str(name), str(value)) for name, value in fields])
    except (ValueError, TypeError, RecursionError):
        return None


def unsent(request: Request, fields: Sequence[tuple[str, str]]) -> Unsent:
    """The form of *request*, which could not be taken."""
    came_from = urlsplit(request.headers.get("referer", ""))
    back = f"{came_from.path}?{came_from.query}" if came_from.query else came_from.path
    kept = [(name, value) for name, value in fields if name != TOKEN_FIELD]
    return Unsent(quote(request.url.path) + query_of(request), local(back), kept)


async def read_form(request: Request, *, carries_another: bool = False) -> list[tuple[str, str]]:
    """Names and values of the form that was sent.

    Raises:
        HTTPException: It is none, or it is too large.
    """
    most = MAX_FORM * (_ROOM if carries_another else 1)
    body = b""
    async for chunk in request.stream():
        body += chunk
        if len(body) > most:
            raise HTTPException(413, f"The form is larger than {most} bytes.")
    try:
        return parse_qsl(body.decode(), keep_blank_values=True, max_num_fields=MAX_FIELDS)
    except ValueError as problem:
        raise HTTPException(400, "This is no form.") from problem

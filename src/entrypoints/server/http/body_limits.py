"""Limits of request bodies: how large one body may be, and all bodies that are read at one time."""

from collections.abc import Mapping
from typing import Final

import attrs
from starlette.types import Receive

from prefect.agent.entrypoints.server.graphql.answers import ApiAnswer, error_answer

MAX_BODY: Final = 5 * 1024 * 1024
"""Bytes of the largest body; gateways have similar limits."""

MAX_HELD: Final = 64 * 1024 * 1024
"""Bytes of all bodies that are read at one time."""

ALWAYS_HELD: Final = 64 * 1024
"""Bytes of a body that is always read, so that large bodies do not keep the small ones of agents out."""

TOO_LARGE: Final = error_answer(413, f"the body is larger than {MAX_BODY} bytes", "PAYLOAD_TOO_LARGE")
BUSY: Final = error_answer(503, "too many requests are being read at once; repeat this one", "SERVICE_UNAVAILABLE")


class BodyRefused(Exception):
    """The body is too large, or there is no memory for it now; *answer* says which."""

    def __init__(self, answer: ApiAnswer) -> None:
        super().__init__()
        self.answer = answer


@attrs.define
class BodyReader:
    """Read request bodies within the limits.

    Attributes:
        held: Bytes of all bodies that are being read.
    """

    held: int = 0

    async def read(self, receive: Receive) -> bytes | None:
        """Return one body; None if the client has disconnected.

        Raises:
            BodyRefused: The body is too large, or all bodies together are.
        """
        chunks, size = [], 0
        try:
            while True:
                message = await receive()
                if message["type"] != "http.request":
                    return None
                chunk = message.get("body", b"")
                size, self.held = size + len(chunk), self.held + len(chunk)
                if size > MAX_BODY or (self.held > MAX_HELD and size > ALWAYS_HELD):
                    raise BodyRefused(TOO_LARGE if size > MAX_BODY else BUSY)
                chunks.append(chunk)
                if not message.get("more_body"):
                    return b"".join(chunks)
        finally:
            self.held -= size


def length_of(headers: Mapping[str, str]) -> int:
    """Return the length of the body that the headers announce, in bytes; 0 if they announce none."""
    text = headers.get("content-length", "0")
    return int(text[:20]) if text.isdecimal() else 0

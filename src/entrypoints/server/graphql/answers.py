"""The answer to one request of the GraphQL API, and what the request did: what HTTP needs to know without guessing."""

import enum
from collections.abc import Set as AbstractSet
from typing import Any, Final

import attrs

UNAUTHENTICATED: Final = "UNAUTHENTICATED"


class Operation(enum.Enum):
    """The kind of operation that was executed."""

    QUERY = "query"
    MUTATION = "mutation"
    NONE = "none"
    """Nothing was executed: the request was refused, or failed and was rolled back."""


@attrs.frozen(kw_only=True)
class ApiAnswer:
    """One answer of the GraphQL API.

    Attributes:
        status: The HTTP status.
        body: The JSON object to send.
        operation: The kind of operation that was executed.
        root_fields: How many root fields the operation selected.
        has_changed_rows: Whether rows of the database were changed, and committed.
        ready_runs: The ids of the flow runs in the answer, if the request asked for flow runs that are ready, asked
            for nothing else, and was answered without an error. None for every other request. Such a request may be
            executed again.
        refusal: Why the request or one of its root fields was refused, in words for the server's log: no value that
            the client sent is repeated, except in the Cloud's own messages. None if nothing was refused.
    """

    status: int
    body: dict[str, Any]
    operation: Operation = Operation.NONE
    root_fields: int = 0
    has_changed_rows: bool = False
    ready_runs: AbstractSet[str] | None = None
    refusal: str | None = None


def error_answer(status: int, message: str, code: str) -> ApiAnswer:
    """Return an error in the protocol's shape (protocol section 1.4), for a request that was not executed."""
    body = {"errors": [{"message": message, "extensions": {"code": code}}]}
    return ApiAnswer(status=status, body=body, refusal=f"{message} ({code})")


KEY_REFUSED: Final = error_answer(200, "The API key is not accepted", UNAUTHENTICATED)
"""The answer to a request that needs an API key and has none that is accepted."""

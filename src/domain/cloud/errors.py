"""The errors with which a Cloud refuses. Clients look for the texts and codes (protocol section 1.4).

``INTERNAL`` says that the Cloud failed; no mistake of a client has it.
"""

from typing import Final

INTERNAL: Final = "INTERNAL_SERVER_ERROR"
REFUSED: Final = "REFUSED"
NOT_FOUND: Final = "NOT_FOUND"
BAD_INPUT: Final = "BAD_USER_INPUT"
TOO_EXPENSIVE: Final = "RESOURCE_EXHAUSTED"
VERSION_LOCKING: Final = "VERSION_LOCKING_ERROR"

MAX_MESSAGE: Final = 1000
"""Characters of the longest message: one text of a client may be refused a thousand times in one answer."""


class CloudRefusal(Exception):
    """The Cloud understood a request and refuses it.

    Attributes:
        message: The reason, at most ``MAX_MESSAGE`` characters.
        code: The value of ``extensions.code`` in the answer.
    """

    def __init__(self, message: str, code: str = REFUSED) -> None:
        cut = message if len(message) <= MAX_MESSAGE else f"{message[: MAX_MESSAGE - 3]}..."
        super().__init__(cut)
        self.message, self.code = cut, code


CloudError = CloudRefusal
"""The earlier name; ``domain.errors.CloudError`` is another class."""


class NotFound(CloudRefusal):
    """The named object does not exist."""

    def __init__(self, message: str) -> None:
        super().__init__(message, NOT_FOUND)


class PartlyDone(CloudRefusal):
    """Some of several changes were refused; the others stay."""

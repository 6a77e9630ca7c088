"""Why a Cloud refuses. Clients look for the texts and codes: docs/reference/cloud-protocol.md, section 1.4.

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
"""Characters of a message: a text that a client sent once may be refused a thousand times in one answer."""


class CloudRefusal(Exception):
    """The Cloud understood and says no.

    Attributes:
        message: At most ``MAX_MESSAGE`` characters.
        code: Goes into ``extensions.code`` of the answer.
    """

    def __init__(self, message: str, code: str = REFUSED) -> None:
        cut = message if len(message) <= MAX_MESSAGE else f"{message[: MAX_MESSAGE - 3]}..."
        super().__init__(cut)
        self.message, self.code = cut, code


CloudError = CloudRefusal
"""The earlier name; ``domain.errors.CloudError`` is another class."""


class NotFound(CloudRefusal):
    """What was named does not exist."""

    def __init__(self, message: str) -> None:
        super().__init__(message, NOT_FOUND)


class PartlyDone(CloudRefusal):
    """Of several changes some were refused, and the others stay done."""

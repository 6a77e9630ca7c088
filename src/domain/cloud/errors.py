"""Why a Cloud refuses. Clients look for the texts and codes: docs/reference/cloud-protocol.md, section 1.4."""

from typing import Final

INTERNAL: Final = "INTERNAL_SERVER_ERROR"
VERSION_LOCKING: Final = "VERSION_LOCKING_ERROR"


class CloudError(Exception):
    """The Cloud understood and says no.

    Attributes:
        code: Goes into ``extensions.code`` of the answer.
    """

    def __init__(self, message: str, code: str = INTERNAL) -> None:
        super().__init__(message)
        self.message, self.code = message, code


class NotFound(CloudError):
    """What was named does not exist."""


class PartlyDone(CloudError):
    """Of several changes some were refused, and the others stay done."""

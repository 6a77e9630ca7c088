"""The rules for lines of a run's log. Pure."""

from collections.abc import Mapping
from typing import Any, Final

from prefect.agent.domain.cloud.errors import CloudRefusal

LEVELS: Final = ("CRITICAL", "ERROR", "WARNING", "INFO", "DEBUG")
"""All log levels; a request with another level is invalid."""

_NUL: Final = "\x00"


def check_texts(*values: object) -> None:
    """Refuse texts that the database of a Cloud cannot store.

    Raises:
        CloudRefusal: A text in the value contains a NUL character.
    """
    if any(_has_nul(value) for value in values):
        raise CloudRefusal(
            "A log line contains a NUL character, which cannot be stored; none of these lines was written"
        )


def _has_nul(value: Any) -> bool:
    rest = [value]
    while rest:
        one = rest.pop()
        if isinstance(one, str):
            if _NUL in one:
                return True
        elif isinstance(one, Mapping):
            rest += [*one.keys(), *one.values()]
        elif isinstance(one, list):
            rest += one
    return False

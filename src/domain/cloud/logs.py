"""The rules for lines of a run's log. Pure."""

from collections.abc import Iterable, Mapping
from typing import Final

from prefect.agent.domain.cloud.errors import CloudRefusal

LEVELS: Final = ("CRITICAL", "ERROR", "WARNING", "INFO", "DEBUG")
"""All log levels; a request with another level is invalid."""

_NUL: Final = "\x00"


def check_texts(values: Iterable[object]) -> None:
    """Refuse texts that the database of a Cloud cannot store.

    Args:
        values: Texts, and JSON values with texts in them.

    Raises:
        CloudRefusal: A text contains a NUL character.
    """
    for value in values:
        if (_NUL in value) if isinstance(value, str) else (value is not None and _has_nul(value)):
            raise CloudRefusal(
                "A log line contains a NUL character, which cannot be stored; none of these lines was written"
            )


def _has_nul(value: object) -> bool:
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

"""How large an answer may be. A short query can name one large value many times: what counts is what goes out."""

from typing import Any, Final

from prefect.agent.domain.cloud.errors import TOO_EXPENSIVE, CloudRefusal

MAX_ANSWER: Final = 32 * 1024 * 1024
"""Characters of an answer, about."""

_EACH: Final = 32
"""What a value counts beside its text: to make an answer of a million numbers takes seconds as well."""


class TooLarge(CloudRefusal):
    """The answer would be larger than ``MAX_ANSWER``."""

    def __init__(self) -> None:
        megabytes = MAX_ANSWER // (1024 * 1024)
        advice = "ask for fewer rows or columns, or page by page with limit and offset"
        super().__init__(f"The answer is larger than {megabytes} MB: {advice}", TOO_EXPENSIVE)


def check_total(size: int) -> None:
    """Raise :class:`TooLarge` if *size* characters are too many."""
    if size > MAX_ANSWER:
        raise TooLarge


def value_size(value: Any) -> int:
    """Characters of one value as it is stored, with its name's and what stands between."""
    return _EACH + (len(value) if isinstance(value, str) else 0)


def check_answer(answer: Any) -> None:
    """Raise :class:`TooLarge` if *answer*, made of what JSON has, is too large; it is looked through only so far."""
    size, left = 0, [answer]
    while left:
        value = left.pop()
        size += _EACH
        if isinstance(value, str):
            size += len(value)
        elif isinstance(value, dict):
            size += sum(map(len, value))
            left += value.values()
        elif isinstance(value, list):
            left += value
        if size > MAX_ANSWER:
            raise TooLarge

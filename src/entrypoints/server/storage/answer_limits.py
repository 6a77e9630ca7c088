"""The limit of an answer's size. Answers are measured, because a short query can select one large value many times."""

from typing import Any, Final

from prefect.agent.domain.cloud.errors import TOO_EXPENSIVE, CloudRefusal

MAX_ANSWER: Final = 32 * 1024 * 1024
"""Characters of the largest answer, approximately."""

_EACH: Final = 32
"""Characters counted for each value beside its text: an answer of a million numbers takes seconds, too."""


class TooLarge(CloudRefusal):
    """The answer would be larger than ``MAX_ANSWER`` characters."""

    def __init__(self) -> None:
        megabytes = MAX_ANSWER // (1024 * 1024)
        advice = "ask for fewer rows or columns, or page by page with limit and offset"
        super().__init__(f"The answer is larger than {megabytes} MB: {advice}", TOO_EXPENSIVE)


def check_total(size: int) -> None:
    """Raise :class:`TooLarge` if *size*, in characters, exceeds the limit."""
    if size > MAX_ANSWER:
        raise TooLarge


def value_size(value: Any) -> int:
    """Return how many characters one stored value takes in an answer, with its name and punctuation."""
    return _EACH + (len(value) if isinstance(value, str) else 0)


def check_answer(answer: Any) -> None:
    """Raise :class:`TooLarge` if *answer*, a JSON value, is too large; stop counting at the limit."""
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

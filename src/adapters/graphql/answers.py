"""An answer of the API: its errors by their codes, and its data in any shape. Pure."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final, TypeVar

import attrs

from prefect.agent.domain.errors import CloudError

REJECTIONS: Final = frozenset({"GRAPHQL_VALIDATION_FAILED", "BAD_USER_INPUT", "GRAPHQL_PARSE_FAILED"})
"""The codes that name the request itself as wrong. Every other error may be a passing failure of the backend."""

LOST: Final = "VERSION_LOCKING_ERROR"
UNAUTHENTICATED: Final = "UNAUTHENTICATED"
MALFORMED_KEY: Final = "Malformed Authorization header"
"""The whole message with which a gateway refuses a key that is none; it has no code."""

_NESTS: Final = ("extensions", "exception", "response", "body", "data")
"""Where gateways keep the error of a service behind them."""

Error = Mapping[str, Any]
Item = TypeVar("Item")
Found = TypeVar("Found")
Problem = TypeVar("Problem", bound=CloudError)


@attrs.frozen
class Answer:
    """An answer has data and errors; both may be present."""

    data: Mapping[str, Any]
    errors: tuple[Error, ...] = ()


def read_errors(value: object) -> tuple[Error, ...]:
    """Return the errors of an answer, in any shape that a backend or a proxy gives them."""
    if not value:
        return ()
    found = tuple(error for error in value if isinstance(error, Mapping)) if isinstance(value, list) else ()
    return found or ({"message": str(value)[:500]},)


def codes(error: Error) -> frozenset[str]:
    """Return the codes of an error: its own, and those that a gateway passes on inside it."""
    return frozenset(_codes(error.get("extensions"), depth=8))


def is_rejection(errors: Sequence[Error]) -> bool:
    """Return whether the API calls the request itself wrong."""
    return any(codes(error) & REJECTIONS for error in errors)


def is_unauthenticated(errors: Sequence[Error]) -> bool:
    """Return whether the API says that it does not accept the key."""
    return any(UNAUTHENTICATED in codes(error) or _message(error) == MALFORMED_KEY for error in errors)


def describe(errors: Sequence[Error]) -> str:
    """Describe the errors of an answer in one line."""
    return "; ".join(str(error.get("message", error))[:500] for error in errors[:3]) or "no reason given"


def field_of(error: Error) -> str | None:
    """Return the key of the root field that an error belongs to; None if it belongs to the whole request."""
    path = error.get("path")
    return str(path[0]) if isinstance(path, list) and path else None


def dig(value: object, *path: str) -> Any:
    """Return the value at the end of *path*; None if there is none."""
    for name in path:
        value = value.get(name) if isinstance(value, Mapping) else None
    return value


def halved(
    items: Sequence[Item],
    ask: Callable[[Sequence[Item]], list[Found]],
    on: type[Problem],
    alone: Callable[[Item, Problem], list[Found]],
) -> list[Found]:
    """Return what *ask* finds for all *items*; if it raises *on* for several together, ask for halves of them.

    Args:
        alone: What is found for an item that raises *on* by itself.
    """
    try:
        return ask(items)
    except on as problem:
        if len(items) == 1:
            return alone(items[0], problem)
    middle = len(items) // 2
    return halved(items[:middle], ask, on, alone) + halved(items[middle:], ask, on, alone)


def _message(error: Error) -> str:
    return str(error.get("message") or "").strip().rstrip(".")


def _codes(value: object, depth: int) -> Iterator[str]:
    if depth and isinstance(value, Mapping):
        if isinstance(value.get("code"), str):
            yield value["code"]
        for name in _NESTS:
            yield from _codes(value.get(name), depth - 1)
        errors = value.get("errors")
        for error in errors[:10] if isinstance(errors, list) else ():
            yield from _codes(error, depth - 1)

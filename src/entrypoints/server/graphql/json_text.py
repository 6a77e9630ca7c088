"""Standard JSON. Python's own parser also accepts values that other clients cannot read."""

import json
from math import isfinite
from typing import Any, Final


def read_json(text: str) -> Any:
    """Return the value of *text*; NaN, Infinity and numbers that would become Infinity are errors.

    Raises:
        ValueError: The text is not standard JSON.
    """
    return _decoder.decode(text)


def is_json(value: Any) -> bool:
    """Return whether *value* can be written as standard JSON: no number in it is NaN or infinite."""
    try:
        json.dumps(value, allow_nan=False, default=str)
    except ValueError:
        return False
    return True


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")


def _float(text: str) -> float:
    number = float(text)
    if not isfinite(number):
        raise ValueError(f"{text:.40} is too large for JSON")
    return number


_decoder: Final = json.JSONDecoder(parse_constant=_refuse_constant, parse_float=_float)

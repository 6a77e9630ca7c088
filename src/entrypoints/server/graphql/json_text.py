"""JSON as its standard has it. Python's own takes more, and other clients could not read that again."""

import json
from math import isfinite
from typing import Any, Final


def read_json(text: str) -> Any:
    """The value of *text*, without NaN and Infinity, and without numbers so large that they would become Infinity.

    Raises:
        ValueError: It is not JSON.
    """
    return _decoder.decode(text)


def is_json(value: Any) -> bool:
    """Whether no number in *value* is too large to be written as JSON."""
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

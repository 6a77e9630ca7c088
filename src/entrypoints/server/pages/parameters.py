"""A form made from a flow's parameters, and what was filled in read back. Pure."""

import json
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import attrs

from prefect.agent.domain.times import read_time

TEXT: Final = "text"
NUMBER: Final = "number"
BOOLEAN: Final = "boolean"
JSON: Final = "JSON"
DATE: Final = "date"


class NotRight(Exception):
    """What was filled in cannot be read; the message names the field.

    Attributes:
        problems: What is wrong, by the name that the field has in the form; empty if that is plain.
    """

    def __init__(self, message: str, problems: Mapping[str, str] | None = None) -> None:
        """The message, and the same by field."""
        super().__init__(message)
        self.problems = dict(problems or {})


@attrs.frozen(kw_only=True)
class Field:
    """One parameter in a form.

    Attributes:
        kind: ``TEXT``, ``NUMBER``, ``BOOLEAN``, ``DATE`` or ``JSON``: how what is filled in is read.
        value: What is filled in.
        default: What counts if nothing is filled in, for people.
        problem: Why what was filled in was refused.
    """

    name: str
    kind: str
    value: str
    is_required: bool
    default: str
    problem: str = ""


def form_fields(declared: object, group_defaults: Mapping[str, Any] | None, given: Mapping[str, Any]) -> list[Field]:
    """Fields for the parameters of a flow, those that must be filled in first.

    Args:
        declared: As the flow was registered with.
        given: Values to begin with, of another run.
    """
    found = [one for one in declared if isinstance(one, Mapping)] if isinstance(declared, list) else []
    known = {one["name"]: one for one in found if isinstance(one.get("name"), str)}
    fields = [_field(name, one, group_defaults or {}, given) for name, one in known.items()]
    return sorted(fields, key=lambda field: not field.is_required)


def _field(name: str, declared: Mapping[str, Any], defaults: Mapping[str, Any], given: Mapping[str, Any]) -> Field:
    default = defaults.get(name, declared.get("default"))
    has_default = name in defaults or not declared.get("required")
    shown = given.get(name, default if has_default else None)
    is_text = isinstance(shown, str)
    is_empty = name not in given and not has_default
    is_date = _is_date(declared) and (is_text or shown is None)
    return Field(
        name=name,
        kind=DATE if is_date else JSON if is_empty else _kind(shown),
        value=""
        if is_empty or (is_date and shown is None)
        else str(shown)
        if is_text
        else json.dumps(shown, ensure_ascii=False),
        is_required=bool(declared.get("required")) and not has_default,
        default=json.dumps(default, ensure_ascii=False) if has_default else "",
    )


def _is_date(declared: Mapping[str, Any]) -> bool:
    """Whether the client makes a date and time of it."""
    return str(declared.get("type", "")).endswith(".DateTimeParameter")


def _kind(value: object) -> str:
    """How a value like this one is filled in."""
    if isinstance(value, bool):
        return BOOLEAN
    return NUMBER if isinstance(value, (int, float)) else TEXT if isinstance(value, str) else JSON


def read_parameters(values: Sequence[tuple[str, str]], declared: Sequence[Field]) -> dict[str, Any]:
    """Parameters from the fields ``p:NAME``, read as the fields ``k:NAME`` say; what is empty and no text is left out.

    Raises:
        NotRight: Some are not what their kind says.
    """
    filled = dict(values)
    found: dict[str, Any] = {}
    problems: dict[str, str] = {}
    for field in declared:
        text = filled.get(f"p:{field.name}", "").replace("\r\n", "\n")
        kind = filled.get(f"k:{field.name}", field.kind)
        if not (kind == TEXT or text.strip()):
            continue
        try:
            found[field.name] = text if kind == TEXT else _read(kind, text, f"The parameter {field.name}")
        except NotRight as problem:
            problems[f"p:{field.name}"] = str(problem)
    if problems:
        raise NotRight(" ".join(problems.values()), problems)
    return found


def _read(kind: str, text: str, what: str) -> Any:
    if kind == DATE:
        return _read_date(text, what)
    if kind != NUMBER:
        return read_json(text, what, ", or the kind “text”")
    try:
        value = read_json(text, what)
    except NotRight:
        value = None
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise NotRight(f"{what} is not a number.")
    return value


def _read_date(text: str, what: str) -> str:
    """The text, if it is a date, with or without a time; the client reads it."""
    try:
        read_time(text)
    except ValueError as problem:
        raise NotRight(f"{what} is not a date, such as 2026-01-31 or 2026-01-31T13:00+01:00.") from problem
    return text.strip()


def read_object(text: str, what: str) -> dict[str, Any] | None:
    """A JSON object; None if there is no text.

    Raises:
        NotRight: It is something else.
    """
    if not text.strip():
        return None
    value = read_json(text, what)
    if not isinstance(value, dict):
        raise NotRight(f"{what} must be a JSON object, such as {{}}.")
    return value


def read_json(text: str, what: str, or_else: str = "") -> Any:
    """A JSON value.

    Args:
        or_else: What else than quotes helps a text, for people.

    Raises:
        NotRight: It is none.
    """
    try:
        return json.loads(text, parse_constant=_no_constant, parse_float=_finite)
    except (ValueError, RecursionError) as problem:
        where = f" (line {problem.lineno}, column {problem.colno})" if isinstance(problem, json.JSONDecodeError) else ""
        raise NotRight(f"{what} is not JSON{where}. A text needs quotes{or_else}.") from problem


def _finite(text: str) -> float:
    """A number that JSON can hold: larger ones would be read as infinite."""
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(text)
    return number


def _no_constant(name: str) -> Callable[[], None]:
    raise ValueError(name)

"""A form made from a flow's parameters, and what was filled in read back. Pure."""

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import attrs

TEXT: Final = "text"
JSON: Final = "JSON"


class NotRight(Exception):
    """What was filled in cannot be read; the message names the field."""


@attrs.frozen(kw_only=True)
class Field:
    """One parameter in a form.

    Attributes:
        kind: ``TEXT`` or ``JSON``: how what is filled in is read.
        value: What is filled in.
        default: What counts if nothing is filled in, for people.
    """

    name: str
    kind: str
    value: str
    is_required: bool
    default: str


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
    return Field(
        name=name,
        kind=TEXT if is_text else JSON,
        value="" if is_empty else str(shown) if is_text else json.dumps(shown, ensure_ascii=False),
        is_required=bool(declared.get("required")) and not has_default,
        default=json.dumps(default, ensure_ascii=False) if has_default else "",
    )


def read_parameters(values: Sequence[tuple[str, str]], declared: Sequence[Field]) -> dict[str, Any]:
    """Parameters from the fields ``p:NAME``, read as the fields ``k:NAME`` say; empty JSON ones are left out.

    Raises:
        NotRight: One is not JSON.
    """
    filled = dict(values)
    found = {}
    for field in declared:
        text = filled.get(f"p:{field.name}", "").replace("\r\n", "\n")
        if filled.get(f"k:{field.name}", field.kind) == TEXT:
            found[field.name] = text
        elif text.strip():
            found[field.name] = read_json(text, f"The parameter {field.name}")
    return found


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


def read_json(text: str, what: str) -> Any:
    """A JSON value.

    Raises:
        NotRight: It is none.
    """
    try:
        return json.loads(text, parse_constant=_no_constant)
    except (ValueError, RecursionError) as problem:
        where = f" (line {problem.lineno}, column {problem.colno})" if isinstance(problem, json.JSONDecodeError) else ""
        raise NotRight(f"{what} is not JSON{where}. A text needs quotes, or the kind “text”.") from problem


def _no_constant(name: str) -> Callable[[], None]:
    raise ValueError(name)

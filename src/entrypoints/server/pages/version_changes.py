"""What changed from one version of a flow to the next, in words. Pure."""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

import attrs

NAMED: Final = 8
"""Things of one kind that are named; the others are counted."""

SHOWN: Final = 80
"""Characters of a value."""

_ABSENT: Final = object()

Edge = tuple[str, str, str]
"""Slugs of its two tasks, and the key by which the second takes the result of the first."""


@attrs.frozen(kw_only=True)
class Version:
    """A version of a flow, as far as it is compared.

    Attributes:
        parameters: As the flow was registered with.
        tasks: Their settings, by slug.
        settings: Values of any type by their names for people, such as ``storage``.
    """

    parameters: object
    tasks: Mapping[str, Mapping[str, Any]]
    edges: frozenset[Edge]
    settings: Mapping[str, object]


def changes(old: Version, new: Version) -> list[str]:
    """What is different in *new*: parameters, tasks, edges, then everything else."""
    return [
        *_parameters(_by_name(old.parameters), _by_name(new.parameters)),
        *_tasks(old.tasks, new.tasks),
        *_added_and_removed("edges", map(_arrow, old.edges), map(_arrow, new.edges)),
        *(line for name in new.settings for line in _values(name, old.settings.get(name), new.settings[name])),
    ]


def _parameters(old: Mapping[str, Any], new: Mapping[str, Any]) -> Iterator[str]:
    for name, one in new.items():
        now = "required" if one.get("required") else f"default {_value(one.get('default'))}"
        if name not in old:
            yield f"parameter {name} added, {now}"
            continue
        before = old[name]
        if bool(before.get("required")) is not bool(one.get("required")):
            yield f"parameter {name}: {'required' if one.get('required') else 'no longer required'}"
        if before.get("default") != one.get("default"):
            yield f"parameter {name}: default {_value(before.get('default'))} → {_value(one.get('default'))}"
    yield from _named("parameters removed", [name for name in old if name not in new])


def _tasks(old: Mapping[str, Mapping[str, Any]], new: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    yield from _added_and_removed("tasks", old, new)
    changed = [slug for slug in new if slug in old and old[slug] != new[slug]]
    for slug in sorted(changed)[:NAMED]:
        yield f"task {slug}: {'; '.join(_differences(old[slug], new[slug]))}"
    if len(changed) > NAMED:
        yield f"{len(changed) - NAMED} more tasks changed"


def _values(name: str, old: object, new: object) -> Iterator[str]:
    if old == new:
        return
    if not (isinstance(old, Mapping) and isinstance(new, Mapping)):
        yield f"{name}: {_value(old)} → {_value(new)}"
        return
    found = _differences(old, new)
    if found:
        yield f"{name}: {'; '.join(found)}"


def _differences(old: object, new: object) -> list[str]:
    """What is different within two objects: the path of each value, before and after."""
    before, after = dict(_leaves(old)), dict(_leaves(new))
    paths = [path for path in {**before, **after} if before.get(path, _ABSENT) != after.get(path, _ABSENT)]
    found = [f"{path} {_value(before.get(path, _ABSENT))} → {_value(after.get(path, _ABSENT))}" for path in paths]
    return found if len(found) <= NAMED else [*found[:NAMED], f"{len(found) - NAMED} more"]


def _leaves(value: object, path: str = "", depth: int = 0) -> Iterator[tuple[str, object]]:
    """Values that are no objects and no lists, with their paths; what is nested too deeply is one value."""
    if isinstance(value, Mapping) and value and depth < 8:
        for name, one in value.items():
            if not str(name).startswith("__"):
                yield from _leaves(one, f"{path}.{name}" if path else str(name), depth + 1)
    elif isinstance(value, list) and any(isinstance(one, (Mapping, list)) for one in value) and depth < 8:
        for number, one in enumerate(value):
            yield from _leaves(one, f"{path}[{number}]", depth + 1)
    else:
        yield path, value


def _added_and_removed(kind: str, old: Iterable[str], new: Iterable[str]) -> Iterator[str]:
    before, after = set(old), set(new)
    yield from _named(f"{kind} added", sorted(after - before))
    yield from _named(f"{kind} removed", sorted(before - after))


def _named(what: str, names: Sequence[str]) -> Iterator[str]:
    if names:
        more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
        yield f"{what}: {', '.join(name[:SHOWN] for name in names[:NAMED])}{more}"


def _by_name(declared: object) -> dict[str, Mapping[str, Any]]:
    found = [one for one in declared if isinstance(one, Mapping)] if isinstance(declared, list) else []
    return {one["name"]: one for one in found if isinstance(one.get("name"), str)}


def _arrow(edge: Edge) -> str:
    up, down, key = edge
    return f"{up} → {down}{f' ({key})' if key else ''}"


def _value(value: object) -> str:
    if value is _ABSENT:
        return "nothing"
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}…"

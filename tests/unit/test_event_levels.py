"""docs/reference/events.md names the levels that the code gives to each event."""

import ast
import json
import re
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

from prefect.agent.ports import events

ROOT = Path(__file__).parents[2]
LEVELS = {"DEBUG", "INFO", "WARNING", "ERROR"}
LOG_ONLY = {events.FLOW_OUTPUT: {"INFO"}}
"""Lines of the log that are made without an Event."""


def _texts(node: ast.AST) -> set[str]:
    return {each.value for each in ast.walk(node) if isinstance(each, ast.Constant) and each.value in LEVELS}


def _levels(value: ast.expr, function: ast.AST) -> set[str]:
    """The levels that an expression can have: its own words, else those that are assigned to its name."""
    found = _texts(value)
    if found or not isinstance(value, ast.Name):
        return found
    for node in ast.walk(function):
        if isinstance(node, ast.Assign) and any(value.id in ast.dump(target) for target in node.targets):
            found |= _texts(node.value)
    return found


def _names(value: ast.expr, function: ast.AST) -> set[str]:
    """The events that an expression can name: ``events.X``, or what is assigned to its name."""
    nodes: list[ast.AST] = [value]
    if isinstance(value, ast.Name):
        nodes = [node for node in ast.walk(function) if isinstance(node, ast.Assign) and value.id in ast.dump(node)]
    found = [each.attr for node in nodes for each in ast.walk(node) if isinstance(each, ast.Attribute)]
    return {getattr(events, name) for name in found if name.isupper() and hasattr(events, name)}


def _calls(function: ast.AST) -> Iterator[tuple[ast.expr, ast.expr | None]]:
    """Name and level of each ``Event(...)`` and ``say(...)``; None for the default."""
    for call in (node for node in ast.walk(function) if isinstance(node, ast.Call)):
        called = call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")
        given = {word.arg: word.value for word in call.keywords}
        if called == "Event" and "name" in given:
            yield given["name"], given.get("level")
        elif called == "_tell" and len(call.args) > 1 and _names(call.args[0], function):
            yield call.args[0], given.get("level") or (call.args[3] if len(call.args) > 3 else None)
        elif called in {"say", "_say"} and call.args and _names(call.args[0], function):
            yield call.args[0], given.get("level") or (call.args[2] if len(call.args) > 2 else None)


def _of_the_code() -> dict[str, set[str]]:
    found: dict[str, set[str]] = defaultdict(set, {name: set(levels) for name, levels in LOG_ONLY.items()})
    for path in sorted((ROOT / "src").rglob("*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        for function in (node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)):
            for name, level in _calls(function):
                for event in _names(name, function):
                    found[event] |= {"INFO"} if level is None else _levels(level, function)
    return found


def test_every_level_is_on_the_page() -> None:
    """As the code has it: a level that no line has is not on the page, and none is left out."""
    page = (ROOT / "docs" / "reference" / "events.md").read_text(encoding="utf-8")
    shown = {
        name: set(levels.split(", "))
        for name, levels in re.findall(r"^\| `(\w+)` \| ([A-Z, ]+) \|", page, re.MULTILINE)
    }

    # In an interpreter of its own: one of 3.11 that has once run out of depth while it parsed can parse no more.
    done = subprocess.run([sys.executable, __file__], capture_output=True, text=True, timeout=120, check=True)

    assert shown == {name: set(levels) for name, levels in json.loads(done.stdout).items()}


if __name__ == "__main__":
    sys.stdout.write(json.dumps({name: sorted(levels) for name, levels in _of_the_code().items()}))

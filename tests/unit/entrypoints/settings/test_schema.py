"""The JSON Schema of the file of settings: made from the table, and true of what the agent reads."""

import re
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from prefect.agent.entrypoints.settings.configuration import Configuration
from prefect.agent.entrypoints.settings.names import SETTINGS
from prefect.agent.entrypoints.settings.overview import check_values
from prefect.agent.entrypoints.settings.schema import TYPES, schema

ROOT = Path(__file__).resolve().parents[4]

EXAMPLES: dict[str, Any] = {
    "text": "x",
    "address": "http://h",
    "secret": "pak_x",
    "path": "/x",
    "uuid": "11111111-1111-4111-8111-111111111111",
    "flag": True,
    "number": 3,
    "level": "DEBUG",
    "list": ["a", 1],
    "variables": {"A": "1", "B": 2},
}
WRONG: dict[str, Any] = {**{kind: [{}] for kind in EXAMPLES}, "list": {"a": 1}, "variables": 3, "level": "LOUD"}


def with_value(key: str, value: Any) -> dict[str, Any]:
    """A file that sets one setting."""
    for part in reversed(key.split(".")):
        value = {part: value}
    found: dict[str, Any] = value
    return found


@cache
def validator() -> Any:
    """A program that knows JSON Schema; its import takes seconds, which the collection of all tests need not spend."""
    from jsonschema import Draft202012Validator  # type: ignore[import-untyped] # noqa: PLC0415 - it has no stubs

    return Draft202012Validator(schema())


def is_valid(document: Any) -> bool:
    """What that program says."""
    return bool(validator().is_valid(document))


def test_it_is_a_schema_with_every_kind() -> None:
    """By the rules of JSON Schema itself."""
    validator().check_schema(schema())
    assert TYPES.keys() == EXAMPLES.keys() == {setting.kind for setting in SETTINGS}


@pytest.mark.parametrize("setting", [each for each in SETTINGS if each.in_file], ids=lambda each: each.key)
def test_schema_and_agent_agree_on_every_setting(setting: Any) -> None:
    """Both take an example of its kind, and neither takes a value of a wrong type."""
    good, bad = (with_value(setting.key, each[setting.kind]) for each in (EXAMPLES, WRONG))
    assert is_valid(good)
    assert not is_valid(bad)

    check_values(Configuration({}, good))
    with pytest.raises(Exception, match=re.escape(setting.key)):
        check_values(Configuration({}, bad))


@pytest.mark.parametrize(
    ("document", "valid"),
    [
        ({}, True),
        ({"cloud": {"heartbeat_mode": "thread"}, "flows": {"checkpointing": True}}, True),
        ({"cloud": {"agent": {"lables": ["a"]}}}, False),
        ({"agent": {"limits": 1}}, False),
        ({"agent": {"config": "x"}}, False),
        ({"agent": 3}, False),
    ],
)
def test_only_the_agents_own_tables_are_closed(document: dict[str, Any], valid: bool) -> None:
    """The 1.x client has keys of its own in the others."""
    assert is_valid(document) is valid


def test_the_example_of_the_reference_is_valid(tmp_path: Path) -> None:
    """A reader copies it; the agent reads it, too."""
    page = (ROOT / "docs" / "reference.md").read_text(encoding="utf-8")
    text = page.partition("```toml\n")[2].partition("```")[0]
    path = tmp_path / "own.toml"
    path.write_text(text)

    found = Configuration.load({}, str(path))

    assert found.text("cloud.agent.name") == "gpu-1"
    assert is_valid(found.files)
    check_values(found)

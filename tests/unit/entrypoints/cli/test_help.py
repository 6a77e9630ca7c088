"""``-h`` of every command: examples that work, and for every option its default and its environment variable."""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from prefect.agent.entrypoints.cli import prefect, prefect_agent
from support.command_lines import parse

ROOT = Path(__file__).resolve().parents[4]
PROGRAMS = {"prefect": prefect, "prefect-agent": prefect_agent}


def commands(group: click.Group, name: str) -> Iterator[tuple[str, click.Command]]:
    """Every command that does something, with the words that call it."""
    with click.Context(group, info_name=name) as context:
        for word in group.list_commands(context):
            command = group.get_command(context, word)
            assert command is not None
            if isinstance(command, click.Group):
                yield from commands(command, f"{name} {word}")
            else:
                yield f"{name} {word}", command


COMMANDS = dict(commands(prefect, "prefect"))


def help_of(command: click.Command, name: str) -> str:
    """What ``--help`` prints."""
    with click.Context(command, info_name=name, terminal_width=400, max_content_width=400) as context:
        return command.get_help(context)


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_examples_that_are_accepted(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Their names, options and the form of their values."""
    (tmp_path / "key.txt").write_text("pcu_key", encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    text = help_of(COMMANDS[name], name).partition("Examples:")[2]
    lines = re.findall(r"^ *\$ (.+)$", text, re.MULTILINE)

    assert lines
    for line in lines:
        program, *words = shlex.split(re.split(r"\s*[>|]", line)[0])
        parse(PROGRAMS[program], program, words)


@pytest.mark.parametrize("name", COMMANDS)
def test_every_option_says_what_holds_without_it(name: str) -> None:
    """Its default, or where that comes from; a switch that is off and a secret need none."""
    silent = [
        option.opts[0]
        for option in COMMANDS[name].params
        if isinstance(option, click.Option)
        and not (option.is_flag or option.hidden or option.required or option.show_default)
        and not re.search("Default: |Repeatable|repeatable|Prefer|prefer", option.help or "")
    ]

    assert silent == []


def test_the_help_of_start_names_every_variable_of_the_reference() -> None:
    """What a person finds on the page is in the help, too."""
    page = (ROOT / "docs" / "reference.md").read_text(encoding="utf-8")
    table = page.partition("<!-- options -->")[2].partition("<!-- end of options -->")[0]
    rows = re.findall(r"^\| `(--[a-z-]+)[^|]*\| `([A-Z_]+)[^|]*` \|", table, re.MULTILINE)
    helps = {
        name: option.help or ""
        for option in COMMANDS["prefect agent start"].params
        if isinstance(option, click.Option)
        for name in option.opts
    }

    assert len(rows) > 25
    assert [(option, variable) for option, variable in rows if variable not in helps[option]] == []

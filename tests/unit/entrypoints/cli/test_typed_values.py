"""What no command line may hold: empty values, what is not UTF-8, numbers that are not finite."""

import math

import click
import pytest
from click.testing import CliRunner

from prefect.agent.entrypoints.cli import prefect
from prefect.agent.entrypoints.cli.completing import FILE
from prefect.agent.entrypoints.cli.typed_values import EMPTY, careful, check, doubt


def parameters(command: click.Command) -> list[click.Parameter]:
    """Those of a command, and of all below it."""
    found = list(command.params)
    if isinstance(command, click.Group):
        context = click.Context(command)
        for name in command.list_commands(context):
            below = command.get_command(context, name)
            assert below is not None
            found += parameters(below)
    return found


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ("", EMPTY),
        (" \t", EMPTY),
        ("vm", ""),
        ("\udcff", "it holds characters that are not valid in UTF-8: remove them"),
        ("a\0b", "it holds a NUL byte: remove it"),
        (math.nan, "nan is not a finite number"),
        (-math.inf, "-inf is not a finite number"),
        (0.0, ""),
        (None, ""),
        (7, ""),
    ],
)
def test_a_value_is_empty_or_text_or_a_finite_number(value: object, said: str) -> None:
    """The same for options and arguments."""
    assert doubt(value) == said


def test_a_path_may_have_any_bytes() -> None:
    """File systems allow it; but there is no path without a letter."""
    assert doubt("/\udcff", is_path=True) == ""
    assert doubt("", is_path=True) == EMPTY


def test_every_parameter_of_every_command_is_checked() -> None:
    """The embedded Cloud's, too, whose module is imported only when it is called."""
    found = parameters(prefect)

    assert len(found) > 300
    before = [parameter.callback for parameter in found]
    for parameter in found:
        check(parameter)
    assert [parameter.callback for parameter in found] == before, "a parameter was not checked yet"


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (["--file", "/\udcff"], 0),
        (["--text", "\udcff"], 2),
        (["--text", "a", "--text", ""], 2),
        (["--number", "nan"], 2),
        ([], 0),
    ],
)
def test_only_what_was_typed_is_checked(words: list[str], code: int) -> None:
    """A default may be empty."""

    @click.command()
    @click.option("--text", multiple=True)
    @click.option("--other", default="")
    @click.option("--file", type=FILE)
    @click.option("--number", type=float)
    def command(**_given: object) -> None:
        """Do nothing."""

    assert CliRunner().invoke(careful(command), words).exit_code == code

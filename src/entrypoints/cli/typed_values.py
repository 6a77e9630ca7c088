"""One rule for every value on a command line: it is not empty, it is UTF-8, and a number is finite."""

import math
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, Final

import click
from click.core import ParameterSource

from prefect.agent.entrypoints.cli.completing import FILE, FOLDER

Callback = Callable[[click.Context, click.Parameter, Any], Any]

EMPTY: Final = "it is empty: give a value, or leave it out"
"""An empty value is nearly always a shell's variable that is not set; the default may be another Cloud."""


def careful(command: click.Command) -> click.Command:
    """Make *command*, and all commands below it, refuse values of which nothing can come; return it."""
    for parameter in command.params:
        check(parameter)
    if isinstance(command, click.Group):
        for below in command.commands.values():
            careful(below)
    return command


def check(parameter: click.Parameter) -> None:
    """Make *parameter* refuse such values, before its own callback sees them. Repeatable."""
    own = parameter.callback
    if not (isinstance(own, partial) and own.func is _checked):
        parameter.callback = partial(_checked, own)


def doubt(value: object, *, is_path: bool = False) -> str:
    """Return what is wrong with one value; empty if nothing is.

    Args:
        is_path: Whether it is a path, which may have bytes that are not UTF-8.
    """
    if value == Path():  # a folder's "." is refused by click itself, where a file is wanted
        return EMPTY
    if isinstance(value, float) and not math.isfinite(value):
        return f"{value} is not a finite number"
    if not isinstance(value, str):
        return ""
    if not value.strip():
        return EMPTY
    if not is_path and not _is_utf8(value):
        return "it holds characters that are not valid in UTF-8: remove them"
    return "it holds a NUL byte: remove it" if "\0" in value else ""


def _is_utf8(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _checked(own: Callback | None, context: click.Context, parameter: click.Parameter, value: Any) -> Any:
    if context.get_parameter_source(str(parameter.name)) is ParameterSource.COMMANDLINE:
        is_path = parameter.type in {FILE, FOLDER} or isinstance(parameter.type, click.Path)
        for each in value if isinstance(value, tuple) else (value,):
            problem = doubt(each, is_path=is_path)
            if problem:
                raise click.BadParameter(problem, context, parameter)
    return own(context, parameter, value) if own else value

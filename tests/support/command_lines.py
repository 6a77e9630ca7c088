"""Command lines that are only parsed: nothing is executed."""

import click


def parse(command: click.Command, name: str, words: list[str], parent: click.Context | None = None) -> None:
    """Parse the words of a command as click does before it calls one; they must be accepted."""
    if not isinstance(command, click.Group) or not words or words[0].startswith("-"):
        if words not in (["-h"], ["--help"]):
            command.make_context(name, list(words), parent=parent)
        return
    context = click.Context(command, info_name=name, parent=parent, **command.context_settings)
    found, below, rest = command.resolve_command(context, words)
    assert below is not None, words
    parse(below, str(found), rest, context)

"""Commands and outputs of a page: what a reader types, in which terminal, and what the page shows as the answer."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import attrs

_BLOCK: Final = re.compile(
    r"(?:^<!-- (?P<mark>[^\n]*) -->\n)?^```(?P<kind>console|python)\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL
)
_CHANGES: Final = (
    (r"[0-9a-f]{8}(?:\\-[0-9a-f]{4}){3}\\-[0-9a-f]{12}", r"[0-9a-f-]{36}"),
    (r"\d\d:\d\d:\d\d", r"\\d\\d:\\d\\d:\\d\\d"),
    (r"Name:\\ \S+", r"Name:\\ \\S+"),
    (r"Labels:\\ \\\['vm'\\\]", r"Labels:\\ \\['[^']+'\\]"),
)
"""What differs from run to run, in a text escaped for a pattern: ids, times, a run's name, a machine's name."""


@attrs.frozen
class Step:
    """Something that the page's reader does.

    Attributes:
        command: What is typed; empty for a file that is saved.
        shown: The page's lines below the command.
        terminal: Name of the terminal it is typed into.
        stays: Whether the command goes on until it is stopped.
        status: Its exit status.
        installs: Whether it installs software.
        file: Name of the file that is saved with the text *shown*.
    """

    command: str
    shown: str = ""
    terminal: str = "own"
    stays: bool = False
    status: int = 0
    installs: bool = False
    file: str = ""


def steps(page: Path) -> list[Step]:
    """The steps of a page, in order."""
    text = page.read_text(encoding="utf-8")
    return [step for block in _BLOCK.finditer(text) for step in _steps_of(block)]


def _steps_of(block: re.Match[str]) -> Iterator[Step]:
    mark, text = block["mark"] or "", block["text"]
    if mark.startswith("file: "):
        yield Step("", shown=text, file=mark.removeprefix("file: "))
        return
    if block["kind"] == "python":
        return
    named, status = re.match(r"terminal: (\w+)", mark), re.match(r"exits with (\d+)", mark)
    for part in re.split(r"^\$ ", text, flags=re.MULTILINE)[1:]:
        command, _, shown = part.partition("\n")
        yield Step(
            command,
            shown,
            terminal=named[1] if named else "own",
            stays=mark.endswith("stays"),
            status=int(status[1]) if status else 0,
            installs=mark == "installs",
        )


def pattern(shown: str) -> re.Pattern[str]:
    """A pattern of the output that a page shows.

    ``...`` stands for any text within a line; a line that is only that, for any number of lines.
    """
    escaped = re.escape(shown.rstrip("\n"))
    for what, instead in _CHANGES:
        escaped = re.sub(what, instead, escaped)
    lines = [line.removesuffix("\\") for line in escaped.split("\n")]
    parts = [r"(?:.*\n)*?" if line == r"\.\.\." else line.replace(r"\.\.\.", ".*") + r"\n" for line in lines]
    return re.compile("".join(parts))

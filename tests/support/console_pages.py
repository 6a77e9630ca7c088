"""Commands and outputs of a page: what a reader types, and what the page shows as the answer."""

import re
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import attrs

_FENCED: Final = re.compile(
    r"(?:^ *<!-- (?P<mark>[^\n]*) -->\n)?^(?P<indent> *)```(?P<kind>console|python)\n(?P<text>.*?)^(?P=indent)```$",
    re.MULTILINE | re.DOTALL,
)
_INDENTED: Final = re.compile(
    r"(?<=\n\n)(?:(?P<mark><!-- [^\n]* -->)\n\n)?(?P<text> {4}\$ .*\n(?: {4}.*\n|\n(?= {4}))*)"
)
_STOPPED: Final = re.compile(r"Press Ctrl\+C in the terminal of the (\w+)(?:,\s+then\s+in\s+that\s+of\s+the\s+(\w+))?")
_UUID: Final = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_A_UUID: Final = r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}"

_INSTALLS: Final = re.compile(r"(\S*/)?(pip install|python3? -m venv|uv tool install)\b")
_STAYS: Final = re.compile(
    r"prefect(-agent)? (server start|(agent )?(\w+ )?start\b(?!.*(--dry-run|--max-polls|--help)))"
)
_OF_THE_CLIENT: Final = re.compile(r"^prefect (create|register|run|get|execute)\b", re.MULTILINE)

_CHANGES: Final = (
    (r"\d\d:\d\d:\d\d", r"\\d\\d:\\d\\d:\\d\\d"),
    (r"\d{4}\\-\d\d\\-\d\d", r"\\d{4}-\\d\\d-\\d\\d"),
    (r"\d+\\ ms", r"\\d+\\ ms"),
    (r"Name:\\ \S+", r"Name:\\ \\S+"),
    (r"Labels:\\ \\\['vm'\\\]", r"Labels:\\ \\['[^']+'\\]"),
)
"""What differs from run to run, in a text escaped for a pattern: times, a run's name, a machine's name."""


@attrs.frozen
class Step:
    """Something that the page's reader does.

    Attributes:
        command: What is typed; empty for a file that is saved.
        shown: The page's lines below the command.
        terminal: ``client`` where the commands are those of Prefect 1.x, else ``own``.
        status: The exit status of the command.
        file: Name of the file that is saved with the text *shown*.
        stops: In whose terminals Ctrl+C is pressed: ``agent``, ``Cloud``.
    """

    command: str
    shown: str = ""
    terminal: str = "own"
    status: int = 0
    file: str = ""
    stops: tuple[str, ...] = ()

    @property
    def installs(self) -> bool:
        """Whether the command installs software."""
        return _INSTALLS.match(self.command) is not None

    @property
    def stays(self) -> bool:
        """Whether the command goes on until it is stopped."""
        return self.status == 0 and _STAYS.search(self.command) is not None

    @property
    def is_cloud(self) -> bool:
        """Whether the command is a Cloud that stays."""
        return self.stays and " server start" in self.command


def steps(page: Path) -> list[Step]:
    """The steps of a page, in order."""
    return steps_of(page.read_text(encoding="utf-8"))


def steps_of(text: str) -> list[Step]:
    """The steps of a page with this text."""
    found = (each for pattern in (_FENCED, _INDENTED, _STOPPED) for each in pattern.finditer(text))
    blocks = sorted(found, key=lambda block: block.start())
    return [step for block in blocks for step in _steps_of(block)]


def typed(*commands: str) -> list[Step]:
    """Steps for these commands, each in a block of its own."""
    return [step for command in commands for step in _commands(f"$ {command}\n", 0)]


def _steps_of(block: re.Match[str]) -> Iterator[Step]:
    if block.re is _STOPPED:
        yield Step("", stops=tuple(filter(None, block.groups())))
        return
    found = block.groupdict()
    mark, text = (found["mark"] or "").strip("<!-> "), textwrap.dedent(found["text"])
    if mark.startswith("file: "):
        yield Step("", shown=text, file=mark.removeprefix("file: "))
    elif found.get("kind") != "python":
        status = re.match(r"exits with (\d+)", mark)
        yield from _commands(text, int(status[1]) if status else 0)


def _commands(text: str, status: int) -> Iterator[Step]:
    parts = re.split(r"^\$ ", text, flags=re.MULTILINE)[1:]
    of_client = any(_OF_THE_CLIENT.match(part) for part in parts)
    for part in parts:
        command, _, shown = re.sub(r"\\\n\s*", "", part).partition("\n")
        yield Step(command, shown, terminal="client" if of_client else "own", status=status)


@attrs.frozen
class Ids:
    """Which ids the page's ones are here: a reader types the id that was printed, not the one on the page."""

    _here: dict[str, str] = attrs.field(factory=dict)

    def typed(self, command: str) -> str:
        """The command with the ids of this machine."""
        return _UUID.sub(lambda found: self._here.get(found[0], found[0]), command)

    def match(self, shown: str, printed: str) -> bool:
        """Whether *printed* is what the page shows; learns the ids.

        ``...`` stands for any text within a line; a line that is only that, for any number of lines.
        """
        order = [each for each in dict.fromkeys(_UUID.findall(shown)) if each not in self._here]
        found = _pattern(_UUID.sub(lambda each: self._here.get(each[0], each[0]), shown), order).match(printed)
        if found is not None:
            self._here.update(zip(order, found.groups(), strict=True))
        return found is not None


def _pattern(shown: str, new_ids: list[str]) -> re.Pattern[str]:
    escaped = re.escape(shown.rstrip("\n"))
    for number, each in enumerate(new_ids, 1):
        escaped = escaped.replace(re.escape(each), f"({_A_UUID})", 1).replace(re.escape(each), rf"\{number}")
    for what, instead in _CHANGES:
        escaped = re.sub(what, instead, escaped)
    lines = [line.removesuffix("\\") for line in escaped.split("\n")]
    parts = [r"(?:.*\n)*?" if line == r"\.\.\." else line.replace(r"\.\.\.", ".*") + r"\n" for line in lines]
    return re.compile("".join(parts))

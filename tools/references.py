"""Find references in comments, docstrings and pages that do not resolve inside this repository; `make check` runs it.

A reference is a section of a page, a promise (docs/explanation/promises.md), a decision (docs/decisions), a recorded
request, the path of a file, or a relative link. A protocol section is one of docs/reference/cloud-protocol.md; a page
that names a section without a page means its own.
"""

import ast
import io
import re
import sys
import tokenize
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from itertools import chain
from pathlib import Path
from typing import Final

import attrs

FOLDERS: Final = ("src", "tests", "tools", "benchmarks")
PROTOCOL: Final = "docs/reference/cloud-protocol.md"
PROMISES: Final = "docs/explanation/promises.md"
DECISIONS: Final = "docs/decisions"

_NUMBER: Final = r"\d+[A-Z]?(?:\.\d+)*"
_AND: Final = r"(?:,\s+(?:and\s+)?|\s+(?:and|to)\s+)"
_LIST: Final = rf"(?P<list>{_NUMBER}(?:{_AND}{_NUMBER})*)"


@attrs.frozen
class Passage:
    """A piece of text that may refer to something.

    Attributes:
        path: Of its file, relative to the root of the repository.
        line: Of its beginning, from 1.
    """

    path: Path
    line: int
    text: str


@attrs.frozen
class Repository:
    """What references can resolve to."""

    root: Path

    def has(self, path: str, near: Path) -> bool:
        """Whether there is a file or folder of that path: from the root, ``src``, or the folder of the file *near*.

        A ``*`` stands for any part of a name.
        """
        bases = (self.root, self.root / "src", self.root / near.parent)
        return any(any(base.glob(path)) for base in bases)

    def heads(self, page: Path | str) -> Sequence[str]:
        """The headings of a page; none if there is no such page."""
        path = self.root / page
        return _heads(path.read_text(encoding="utf-8")) if path.is_file() else ()

    def numbers(self, page: Path | str) -> frozenset[str]:
        """The numbers that headings of a page begin with: ``4.2``, ``4A``, ``P1``."""
        return frozenset(head.split()[0].rstrip(".") for head in self.heads(page))

    def anchors(self, page: Path | str) -> frozenset[str]:
        """The headings of a page as GitHub names them in links."""
        return frozenset(re.sub(r"[^\w\- ]", "", head.lower()).replace(" ", "-") for head in self.heads(page))


@cache
def _heads(text: str) -> Sequence[str]:
    return tuple(head.strip() for head in re.findall(r"^#+ +(\S.*)$", without_code_blocks(text), re.MULTILINE))


# --- where references are ---


def passages(root: Path) -> Iterator[Passage]:
    """Every passage of the repository at *root*."""
    programs = chain.from_iterable(sorted((root / folder).rglob("*.py")) for folder in FOLDERS)
    for path in programs:
        yield from program_passages(path.relative_to(root), path.read_text(encoding="utf-8"))
    for path in sorted([*root.glob("*.md"), *(root / "docs").rglob("*.md")]):
        yield Passage(path.relative_to(root), 1, without_code_blocks(path.read_text(encoding="utf-8")))


def program_passages(path: Path, source: str) -> Iterator[Passage]:
    """The docstrings of a program, those of attributes included, and its comments; adjacent lines are one comment."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            yield Passage(path, node.lineno, node.value.value)
    comments: list[Passage] = []
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            text, line = token.string.lstrip("# "), token.start[0]
            if comments and line == comments[-1].line + comments[-1].text.count("\n") + 1:
                text, line = f"{comments[-1].text}\n{text}", comments.pop().line
            comments.append(Passage(path, line, text))
    yield from comments


def without_code_blocks(text: str) -> str:
    """A page with empty lines in place of its code blocks."""
    return re.sub(r"^```.*?^```", lambda block: "\n" * block[0].count("\n"), text, flags=re.MULTILINE | re.DOTALL)


# --- what is wrong with one ---

Check = Callable[[Repository, Passage, re.Match[str]], str]
"""Says why a reference does not resolve; nothing if it does."""


def _section(repository: Repository, passage: Passage, found: re.Match[str]) -> str:
    owner = (found["owner"] or "").strip(" \n`,")
    if owner.startswith("RFC"):
        return ""
    if not owner and passage.path.suffix != ".md":
        return "does not say of which page"
    page = PROTOCOL if owner.lower() == "protocol" else owner or passage.path
    return _missing(f"a section of {page}", found["list"], repository.numbers(page))


def _protocol(repository: Repository, _passage: Passage, found: re.Match[str]) -> str:
    return _missing(f"a section of {PROTOCOL}", found["list"], repository.numbers(PROTOCOL))


def _promise(repository: Repository, _passage: Passage, found: re.Match[str]) -> str:
    return _missing(f"a heading of {PROMISES}", found[0], repository.numbers(PROMISES))


def _decision(repository: Repository, _passage: Passage, found: re.Match[str]) -> str:
    known = {str(int(path.name[:4])) for path in (repository.root / DECISIONS).glob("[0-9]*.md")}
    return _missing(f"a decision in {DECISIONS}", found["list"], known)


def _vector(repository: Repository, _passage: Passage, found: re.Match[str]) -> str:
    page = repository.root / PROTOCOL
    known = re.findall(r"[THP]\d\d", page.read_text(encoding="utf-8")) if page.is_file() else []
    return _missing(f"in {PROTOCOL}", found["list"], known, r"[THP]\d\d")


def _path(repository: Repository, passage: Passage, found: re.Match[str]) -> str:
    return "" if repository.has(found["path"], passage.path) else "does not exist"


def _link(repository: Repository, passage: Passage, found: re.Match[str]) -> str:
    if re.match(r"\w+:", found["target"]):
        return ""
    path, _, heading = found["target"].partition("#")
    target = repository.root / passage.path.parent / path if path else repository.root / passage.path
    if not target.exists():
        return "does not exist"
    return "" if not heading or heading in repository.anchors(target) else "has no such heading"


def _outside(_repository: Repository, _passage: Passage, _found: re.Match[str]) -> str:
    return "is not in this repository: say the reason itself"


def _missing(what: str, wanted: str, known: Sequence[str] | frozenset[str] | set[str], number: str = "") -> str:
    absent = [one for one in re.findall(number or rf"P?{_NUMBER}", wanted) if one not in known]
    return f"{', '.join(absent)} is not {what}" if absent else ""


CHECKS: Final[tuple[tuple[re.Pattern[str], Check], ...]] = (
    (re.compile(rf"(?P<owner>RFC\s+\d+,?\s+|[Pp]rotocol\s+|[\w./-]+\.md`*,?\s+)?\b[Ss]ections?\s+{_LIST}"), _section),
    (re.compile(rf"\b[Pp]rotocol,?\s+(?=\d+[A-Z.]){_LIST}"), _protocol),
    (re.compile(r"\bP[1-9]\d?\b"), _promise),
    (re.compile(rf"\b[Dd]ecisions?(?:\]\([^)]*\))?\s+{_LIST}"), _decision),
    (re.compile(r"\b[Vv]ectors?\s+(?P<list>[THP]\d\d(?:(?:,\s+|\s+(?:and|to)\s+)[THP]\d\d)*)"), _vector),
    (re.compile(r"(?<![\w./*-])(?P<path>(?:[\w*-]+/)+[\w*-]+\.(?:md|py))\b"), _path),
    (re.compile(rf"(?<![\w./*-])(?P<path>(?:docs|{'|'.join(FOLDERS)})/[\w/-]*\w)(?![\w*/-]|\.\w)"), _path),
    (re.compile(r"\[[^\]]*\]\((?P<target>[^)\s]+)\)"), _link),
    (re.compile(r"\b(?:DESIGN|FIELD-NOTES|STYLE|LAB|BRIEF)\b|\b[Dd]ossier\b|\b[Ii]ssues?\s+#?\d+"), _outside),
)


def problems(repository: Repository, passage: Passage) -> Iterator[str]:
    """One line for each reference of *passage* that does not resolve."""
    for pattern, check in CHECKS:
        for found in pattern.finditer(passage.text):
            why = check(repository, passage, found)
            if why:
                line = passage.line + passage.text.count("\n", 0, found.start())
                yield f"{passage.path}:{line}: {' '.join(found[0].split())}: {why}"


def main(arguments: Sequence[str]) -> int:
    """Print what does not resolve in the repository that is named, or in this one; return the exit code."""
    root = Path(arguments[0]) if arguments else Path(__file__).resolve().parent.parent
    found = sorted(line for passage in passages(root) for line in problems(Repository(root), passage))
    for line in found:
        print(line)
    if not found:
        print("Every reference in comments, docstrings and pages resolves")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

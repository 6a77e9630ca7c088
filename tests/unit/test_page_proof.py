"""The table of what the Cloud's pages do and which test shows it: complete, and of tests that there are."""

import ast
import re
from pathlib import Path
from typing import Final

import pytest

from prefect.agent.entrypoints.server.pages.routes import PAGES, SECTIONS

BROWSER: Final = Path(__file__).resolve().parents[1] / "contract" / "browser"
TABLE: Final = (BROWSER / "proof.md").read_text(encoding="utf-8")

ROWS: Final = re.findall(r"^\|[^|]+\| (?:`([^`]*)`|any) \| `([\w.]+)::(\w+)` \|$", TABLE, re.MULTILINE)
"""Address, file and function of each row."""


def functions(path: Path) -> set[str]:
    """Names of the functions of a program."""
    found = ast.parse(path.read_text(encoding="utf-8")).body
    return {node.name for node in found if isinstance(node, ast.FunctionDef)}


def plays() -> dict[str, str]:
    """By the address of each form: the function that uses it."""
    for node in ast.parse((BROWSER / "plays.py").read_text(encoding="utf-8")).body:
        if isinstance(node, ast.AnnAssign) and ast.unparse(node.target) == "PLAYS" and isinstance(node.value, ast.Dict):
            return {ast.literal_eval(key): ast.unparse(value) for key, value in _pairs(node.value)}
    raise AssertionError("plays.py has no PLAYS")


def _pairs(found: ast.Dict) -> list[tuple[ast.expr, ast.expr]]:
    return [(key, value) for key, value in zip(found.keys, found.values, strict=True) if key is not None]


def test_every_row_of_the_table_is_read() -> None:
    """One that is written otherwise would count for nothing."""
    lines = [line for line in TABLE.splitlines() if line.startswith("| ") and not line.endswith("| test |")]
    assert len(lines) == len(ROWS)


def test_the_table_has_every_page_form_and_live_answer() -> None:
    """And nothing that the server does not have."""
    pages = {page.path or "/" for page in PAGES}
    forms = {action.path for section in SECTIONS for action in section.actions}
    live = {stream.path for section in SECTIONS for stream in section.streams}
    assert {address for address, _, _ in ROWS if address} == pages | forms | live


def test_every_form_has_its_own_play() -> None:
    """Named in the table as it is called by the test of all forms."""
    named = {address: name for address, file, name in ROWS if file == "plays.py"}
    assert named == plays()
    assert set(named) == {action.path for section in SECTIONS for action in section.actions}


@pytest.mark.parametrize(("file", "name"), sorted({(file, name) for _, file, name in ROWS}))
def test_what_the_table_names_exists(file: str, name: str) -> None:
    """In a file whose tests all need the browser and the real client."""
    source = (BROWSER / file).read_text(encoding="utf-8")
    assert name in functions(BROWSER / file)
    if file != "plays.py":
        assert name.startswith("test_")
        assert "pytestmark = [pytest.mark.browser, pytest.mark.real_prefect]" in source

"""The check of references finds each kind that does not resolve, with its place, and passes those that do."""

from pathlib import Path

import pytest
import references

ROOT = Path(__file__).resolve().parents[2]
PAGES = {
    "docs/reference/cloud-protocol.md": "## 4. Claims\n\n### 4.2 Mutations\n\n## 4A. States\n\n| T07 to T09 | P03 |\n",
    "docs/explanation/promises.md": "# Promises\n\n## P1. One unit\n",
    "docs/decisions/0015-leases.md": "# 15. Leases\n",
    "docs/other.md": "# Other\n\n## A `code` heading, twice\n",
    "src/thing.py": "",
    "tests/.keep": "",
}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A small repository."""
    for name, text in PAGES.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return tmp_path


def reported(root: Path, name: str, text: str) -> list[str]:
    """What is reported of a file with *text*, without the names of files."""
    path = root / name
    path.write_text(text, encoding="utf-8")
    repository = references.Repository(root)
    lines = [line for passage in references.passages(root) for line in references.problems(repository, passage)]
    return [line.removeprefix(f"{name}:") for line in lines]


def test_every_reference_of_this_repository_resolves(capsys: pytest.CaptureFixture[str]) -> None:
    """In comments, docstrings and pages; links and their headings, too."""
    code = references.main([str(ROOT)])
    printed = capsys.readouterr().out

    assert code == 0, printed
    assert printed == "Every reference in comments, docstrings and pages resolves\n"


@pytest.mark.parametrize(
    "text",
    [
        "(protocol section 4.2)", "(protocol sections 4, 4.2 and 4A)", "protocol 4.2", "protocol\nsection 4.2",
        "docs/reference/cloud-protocol.md, section 4A", "RFC 7240 section 4.3", "RFC 5545, section 3.3.10",
        "promise P1", "(P1)", "decision 15", "vectors T07 to T09", "vector P03", "docs/other.md", "src/thing.py",
        "`thing.py`", "src/*.py", "docs/decisions", "https://example.com/docs/none.md", "/opt/docs/none.md",
        "section by section", "a decision of 2 people", "RESTYLE", "STYLES = {}", "an issue",
    ],
)  # fmt: skip
def test_a_reference_that_resolves_is_not_reported(root: Path, text: str) -> None:
    """Nor what only looks like one."""
    assert reported(root, "src/code.py", f'"""{text}."""\n') == []


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("protocol section 4.3", "4.3 is not a section of docs/reference/cloud-protocol.md"),
        ("protocol sections 4, 5 and 6.1", "5, 6.1 is not a section of docs/reference/cloud-protocol.md"),
        ("protocol 6.4", "6.4 is not a section of docs/reference/cloud-protocol.md"),
        ("docs/other.md, section 1", "1 is not a section of docs/other.md"),
        ("section 4.2", "does not say of which page"),
        ("P2", "P2 is not a heading of docs/explanation/promises.md"),
        ("decision 16", "16 is not a decision in docs/decisions"),
        ("vector T10", "T10 is not in docs/reference/cloud-protocol.md"),
        ("docs/none.md", "does not exist"),
        ("tests/none", "does not exist"),
        ("src/none*.py", "does not exist"),
        ("DESIGN", "is not in this repository: say the reason itself"),
        ("FIELD-NOTES", "is not in this repository: say the reason itself"),
        ("STYLE.md", "is not in this repository: say the reason itself"),
        ("issue 12", "is not in this repository: say the reason itself"),
    ],
)
def test_a_reference_that_does_not_resolve_is_reported_with_the_reason(root: Path, text: str, why: str) -> None:
    """One line for each."""
    shown = text.removesuffix(".md") if text == "STYLE.md" else text
    assert reported(root, "src/code.py", f'"""See {text}."""\n') == [f"1: {shown}: {why}"]


@pytest.mark.parametrize(
    "source",
    [
        '\n\n"""First line.\n\nP2\n"""\n',
        "\n\n\n# of two lines: decision\n# 99, which is none\n",
        '\n\n\nLIMIT = 1\n"""P2"""\n',
        "\n\n\n\nLIMIT = 1  # P2\n",
        '\n\n\ndef code():\n    """P2"""\n',
    ],
    ids=["docstring", "comment", "attribute", "trailing comment", "function"],
)
def test_the_place_is_named_by_its_line(root: Path, source: str) -> None:
    """Also inside of texts of several lines; a comment's is that of the beginning of the reference."""
    (line,) = reported(root, "src/code.py", source)
    assert line.startswith("4: decision 99" if "decision" in source else "5: P2")


def test_code_itself_refers_to_nothing(root: Path) -> None:
    """Names and texts of a program are no references."""
    assert reported(root, "src/code.py", 'P2 = "DESIGN and decision 99"\n') == []


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("[a](other.md)", None),
        ("[a](other.md#a-code-heading-twice)", None),
        ("[a](#here)", None),
        ("[a](../src/thing.py)", None),
        ("[a](https://example.com/x)", None),
        ("[a](mailto:a@example.com)", None),
        ("```\n[a](none.md) and P2\n```", None),
        ("[a](none.md)", "does not exist"),
        ("[a](other.md#none)", "has no such heading"),
        ("[a](#none)", "has no such heading"),
        ("section 2", None),
        ("section 3", "3 is not a section of docs/page.md"),
    ],
)
def test_links_and_sections_of_a_page(root: Path, text: str, why: str | None) -> None:
    """Relative to the page, with the headings as GitHub names them; a section without a page is the page's own."""
    lines = reported(root, "docs/page.md", f"# Page\n\n## Here\n\n## 2. Second\n\n{text}\n")
    assert [line.rpartition(": ")[2] for line in lines] == ([] if why is None else [why])


def test_the_exit_code_is_1_if_anything_does_not_resolve(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """And each line names the file."""
    (root / "README.md").write_text("decision 99\n", encoding="utf-8")
    assert references.main([str(root)]) == 1
    assert capsys.readouterr().out == "README.md:1: decision 99: 99 is not a decision in docs/decisions\n"

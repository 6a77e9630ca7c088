"""What a reader copies from docs/how-to is type-checked and works, with contract suites and whole agents."""

from pathlib import Path

import pytest

from support.pages import ROOT, extract, run_tests, type_check

FILES = {
    "docs/how-to/test-with-the-fakes.md": ["batch_agent.py", "test_batch_agent.py"],
    "docs/how-to/write-a-cloud-adapter.md": ["table_cloud.py", "test_table_cloud.py"],
    "docs/how-to/write-a-platform.md": ["folder_platform.py", "test_folder_platform.py"],
}


def test_every_page_with_an_example_is_listed() -> None:
    """A page that is added is tested, too."""
    pages = [path for path in (ROOT / "docs").rglob("*.md") if "<!-- example:" in path.read_text(encoding="utf-8")]

    assert sorted(str(path.relative_to(ROOT)) for path in pages) == sorted(FILES)


@pytest.mark.parametrize("page", FILES)
def test_the_example_of_a_page_is_typed_and_works(page: str, tmp_path: Path) -> None:
    """Extracted as it stands: mypy --strict finds nothing, and its tests pass."""
    files = extract(page, tmp_path)
    assert [path.name for path in files] == FILES[page]

    assert type_check(files, tmp_path).startswith("Success")
    code, output = run_tests(files)
    assert code == 0, output

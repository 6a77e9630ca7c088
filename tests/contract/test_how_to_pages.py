"""What a reader copies from docs/how-to is type-checked and works, with contract suites and whole agents."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from importlib import invalidate_caches
from pathlib import Path

import pytest

from prefect.agent import Agent
from prefect.agent.testing import InMemoryCloudApi, running_server
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
    assert not list(tmp_path.glob("~*")), "a folder is called like a home that was not found"


@pytest.fixture
def installed(tmp_path: Path) -> Iterator[Path]:
    """A folder to import from, in which the page's platform is installed with the entry point that the page names."""
    page = "docs/how-to/write-a-platform.md"
    extract(page, tmp_path)
    found = re.search(
        r"```toml\n\[project.entry-points.\"(\S+)\"\]\n(\w+) = \"(\S+)\"\n```", (ROOT / page).read_text("utf-8")
    )
    assert found is not None
    data = tmp_path / "folder_platform-1.dist-info"
    data.mkdir()
    (data / "METADATA").write_text("Metadata-Version: 2.1\nName: folder-platform\nVersion: 1\n")
    (data / "entry_points.txt").write_text(f"[{found[1]}]\n{found[2]} = {found[3]}\n")
    yield tmp_path
    sys.modules.pop("folder_platform", None)


def test_an_installed_platform_starts_by_its_name(installed: Path) -> None:
    """``prefect agent start folder``, with default options, as the page says."""
    with running_server() as url:
        done = agent(installed, "start", "folder", "--api", url, "--max-polls", "1")

    assert done.returncode == 0, done.stderr
    assert (installed / ".folder-platform").is_dir()


def agent(installed: Path, *words: str, **more: str) -> "subprocess.CompletedProcess[str]":
    """A command of ``prefect agent`` where the page's platform is installed."""
    env = {"PATH": os.environ["PATH"], "HOME": str(installed), "PYTHONPATH": f"{installed}:{ROOT / '.import-root'}"}
    command = [sys.executable, "-m", "prefect.agent", "agent", *words]
    return subprocess.run(
        command, env=env | more, capture_output=True, text=True, cwd=installed, timeout=120, check=False
    )


@pytest.mark.parametrize(
    ("words", "variables", "folder"),
    [
        (("--folder", "of-option"), {"FOLDER_PLATFORM_FOLDER": "of-variable"}, "of-option"),
        ((), {"FOLDER_PLATFORM_FOLDER": "of-variable"}, "of-variable"),
    ],
)
def test_an_installed_platform_has_its_option_and_its_variable(
    installed: Path, words: tuple[str, ...], variables: dict[str, str], folder: str
) -> None:
    """The option wins, as everywhere; a variable that the platform declares is no doubt of a strict agent."""
    with running_server() as url:
        start = ("start", "folder", "--api", url, "--max-polls", "1", "--strict")
        done = agent(installed, *start, *words, **variables)

    assert done.returncode == 0, done.stderr
    assert [path.name for path in installed.iterdir() if path.name.startswith((".folder", "of-"))] == [folder]


def test_help_lists_an_installed_platform_with_its_options(installed: Path) -> None:
    """Also if the command line does not name it."""
    said = agent(installed, "start", "--help").stdout

    assert "Options for folder:\n  --folder TEXT" in said
    assert "Platforms of other packages:\n  folder  folder_platform:factory" in said


def test_an_option_of_an_installed_platform_is_not_for_another_agent(installed: Path) -> None:
    """Wrong usage, as with an option of a built-in platform."""
    done = agent(installed, "start", "process", "--folder", "x")
    other = agent(installed, "start", "folder", "--no-pull")

    assert (done.returncode, other.returncode) == (2, 2)
    assert "No such option" in done.stderr
    assert "--no-pull is not for the folder agent" in other.stderr


def test_an_installed_platform_takes_options_by_name(installed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """``platform_options`` are the keywords of the factory."""
    monkeypatch.syspath_prepend(str(installed))
    invalidate_caches()

    class FolderAgent(Agent):
        platform_name = "folder"

    options = {"folder": str(installed / "units")}
    FolderAgent(
        cloud=InMemoryCloudApi(), platform_options=options, max_polls=1, environ={}, tell=lambda _: None
    ).start()

    assert (installed / "units").is_dir()

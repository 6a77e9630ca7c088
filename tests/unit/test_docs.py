"""The pages as a site and as text: all are reachable, links lead somewhere, and commands in them exist."""

import inspect
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import click
import pytest

from prefect.agent.domain import errors
from prefect.agent.entrypoints.cli import prefect, prefect_agent
from prefect.agent.entrypoints.cli.start import start
from prefect.agent.entrypoints.runtime.exits import exit_for
from prefect.agent.ports import events
from support.command_lines import parse

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
PAGES = sorted(page.relative_to(ROOT) for page in [ROOT / "README.md", *DOCS.rglob("*.md")])
OURS = {"prefect": prefect, "prefect-agent": prefect_agent}
OF_THE_CLIENT = {"create", "register", "run", "get"}
"""Commands of Prefect 1.x that the pages show; `prefect agent` and `prefect server` are ours."""


def build(source: Path, target: Path) -> "subprocess.CompletedProcess[str]":
    """Build a site as `make docs` does."""
    recipe = (ROOT / "Makefile").read_text(encoding="utf-8").partition("sphinx-build ")[2].splitlines()[0]
    words = shlex.split(recipe.replace(" docs build/docs", ""))
    return subprocess.run(
        [sys.executable, "-m", "sphinx", *words, source, target], capture_output=True, text=True, check=False
    )


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site, built without a warning."""
    target = tmp_path_factory.mktemp("site")
    done = build(DOCS, target)
    assert done.returncode == 0, done.stderr
    return target


def test_every_page_is_in_the_navigation(site: Path) -> None:
    """Sphinx warns of a page in no table of contents, which fails the build; each has become a page of the site."""
    made = {page.relative_to(site).with_suffix(".md") for page in site.rglob("*.html")}
    assert {page.relative_to(DOCS) for page in DOCS.rglob("*.md")} <= made


def test_the_site_lists_every_option_of_start(site: Path) -> None:
    """The commands themselves write the page of the command line."""
    page = (site / "reference" / "command-line.html").read_text(encoding="utf-8")
    assert [
        option.opts[0] for option in start.params if isinstance(option, click.Option) and option.opts[0] not in page
    ] == []


@pytest.mark.parametrize("target", ["none.md", "tutorial.md#no-such-heading", "../no-such-file.py"])
def test_a_link_that_leads_nowhere_fails_the_build(tmp_path: Path, target: str) -> None:
    """To a page, to a heading of another page, to a file of the repository."""
    docs = tmp_path / "docs"
    docs.mkdir()
    shutil.copy(DOCS / "conf.py", docs)
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    (docs / "tutorial.md").write_text("# Tutorial\n", encoding="utf-8")
    (docs / "index.md").write_text(f"# Front\n\n- [here](tutorial.md)\n\nSee [there]({target}).\n", encoding="utf-8")

    done = build(docs, tmp_path / "site")

    assert done.returncode != 0
    assert target.removesuffix(".md").rpartition("#")[2] in done.stderr


def commands_of(page: Path) -> list[str]:
    """The lines of our commands in a page, after the prompt; without comments, redirections and pipes."""
    text = (ROOT / page).read_text(encoding="utf-8")
    lines = re.findall(r"^ *\$ (?:[A-Z_]+=\S+ )*(?:~/prefect-agent/bin/)?(prefect(?:-agent)? .+)$", text, re.MULTILINE)
    cut = [re.split(r"\s#|\s*[>|]", line)[0] for line in lines]
    return [line for line in cut if len(line.split()) > 1 and line.split()[1] not in OF_THE_CLIENT]


@pytest.mark.parametrize("page", [page for page in PAGES if commands_of(page)], ids=str)
def test_every_command_of_a_page_is_accepted(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its name, its options and the form of their values; nothing is executed."""
    (tmp_path / "key.txt").write_text("pcu_key", encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    for line in commands_of(page):
        program, *words = shlex.split(line)
        parse(OURS[program], program, words)


def test_every_family_of_errors_is_explained_with_its_exit_code() -> None:
    """As the package defines them; bases that are never raised are left out."""
    page = (DOCS / "reference" / "errors.md").read_text(encoding="utf-8")
    rows = dict(re.findall(r"^\| `(\w+)` \| (\d+) \|", page, re.MULTILINE))
    classes = [kind for _, kind in inspect.getmembers(errors, inspect.isclass) if issubclass(kind, errors.AgentError)]
    raised = [kind for kind in classes if "never raised itself" not in (kind.__doc__ or "")]

    assert {name: int(code) for name, code in rows.items()} == {
        kind.__name__: exit_for(kind.__new__(kind)).code for kind in raised
    }
    assert {*re.findall(r"^## (\w+)$", page, re.MULTILINE)} == rows.keys()


def test_every_event_of_the_log_is_explained() -> None:
    """By the names that programs read, and no other."""
    page = (DOCS / "reference" / "events.md").read_text(encoding="utf-8")
    names = {value for name, value in vars(events).items() if name.isupper()}

    assert set(re.findall(r"^\| `(\w+)` \|", page, re.MULTILINE)) == names

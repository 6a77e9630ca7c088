"""README and docs agree with the code: options, variables, exit codes, labels; and their links resolve."""

import re
from collections.abc import Iterable
from pathlib import Path

import click
import pytest

from prefect.agent.adapters.docker import containers
from prefect.agent.adapters.kubernetes import manifest
from prefect.agent.adapters.reports import VARIABLES
from prefect.agent.domain.model.leases import GRACE, MOST_RECOVERIES, PAUSES
from prefect.agent.domain.model.planning import FRESH
from prefect.agent.domain.model.settings import AgentSettings
from prefect.agent.entrypoints.cli.selftest import selftest
from prefect.agent.entrypoints.cli.start import start
from prefect.agent.entrypoints.exits import ExitCode
from prefect.agent.entrypoints.server.cli import start as serve
from prefect.agent.entrypoints.settings import BOUNDS

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")


def text_of(page: str) -> str:
    """A page."""
    return (ROOT / page).read_text(encoding="utf-8")


def options_of(command: click.Command) -> set[str]:
    """Long options, all spellings; not --help."""
    found = (name for option in command.params for name in (*option.opts, *option.secondary_opts))
    return {name for name in found if name.startswith("--")}


def options_in(page: str, marker: str) -> set[str]:
    """Options in the first column of the table between two marks of a page."""
    table = page.partition(f"<!-- {marker} -->")[2].partition(f"<!-- end of {marker} -->")[0]
    firsts = [line.split("|")[1] for line in table.splitlines() if line.startswith("| `--")]
    return set(re.findall(r"`(--[a-z-]+)", "".join(firsts)))


@pytest.mark.parametrize(
    ("command", "marker"), [(start, "options"), (selftest, "options of selftest"), (serve, "options of server")]
)
def test_the_reference_has_every_option_and_no_other(command: click.Command, marker: str) -> None:
    """Those of `--help`."""
    assert options_in(text_of("docs/reference.md"), marker) == options_of(command)


def test_the_reference_has_every_bound_with_variable_and_default() -> None:
    """Options that are variables, too."""
    page, defaults = text_of("docs/reference.md"), AgentSettings()
    rows = {line.split("|")[2].strip(" `"): line for line in page.splitlines() if line.startswith("| `--")}
    for bound in BOUNDS:
        default = getattr(defaults, bound.name)
        where = rows.get(bound.variable) or page.partition(f"`{bound.variable}` (")[2].partition(")")[0]
        assert where, bound
        assert default is None or re.search(rf"\b{default:g}\b", where), bound


def test_the_readme_names_options_and_variables_that_exist() -> None:
    """Of commands that start agents; other programs' options are none of ours."""
    readme = text_of("README.md")
    settings = readme.partition("| setting |")[2].partition("Options win")[0]
    assert set(re.findall(r"`(--[a-z-]+)", settings)) <= options_of(start) | options_of(selftest)
    known = {*(bound.variable for bound in BOUNDS), *VARIABLES}
    assert set(re.findall(r"`(PREFECT_AGENT_[A-Z_]+)`", settings)) <= known


@pytest.mark.parametrize("page", ["README.md", "docs/reference.md"])
def test_every_exit_code_is_explained(page: str) -> None:
    """And no other."""
    table = text_of(page).partition("| exit code |")[2].partition("\n\n")[0]
    assert [int(code) for code in re.findall(r"^\| (\d+) ", table, re.MULTILINE)] == sorted(ExitCode)


def test_the_reference_has_the_marks_of_units() -> None:
    """As the platforms write them."""
    page = text_of("docs/reference.md")
    marks = (containers.CLOUD, containers.OWNER, manifest.CLOUD_LABEL, manifest.OWNER_LABEL, manifest.UNIT)
    assert [mark for mark in marks if f"`{mark}`" not in page] == []


@pytest.mark.parametrize(
    "said",
    [
        f"time to create the unit is over: {AgentSettings().create_deadline:.0f} seconds",
        f"{GRACE.total_seconds():.0f} seconds after the claim has expired",
        f"at once, then {PAUSES[1].total_seconds():.0f} seconds to {PAUSES[-1].total_seconds() / 60:.0f} minutes apart",
        f"After {['', 'one', 'two', 'three', 'four', 'five'][MOST_RECOVERIES]} the run fails",
        f"at most {['', 'one', 'two', 'three'][int(FRESH)]} seconds before its claim",
        f"has {AgentSettings().cancel_grace:.0f} seconds to end by itself",
    ],
)
def test_the_guarantees_have_the_numbers_of_the_code(said: str) -> None:
    """People wait for them."""
    assert said in text_of("docs/explanation/guarantees.md")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_resolve(page: Path) -> None:
    """Inside of the repository: files, and headings in them."""
    missing = [link for link in LINK.findall(page.read_text(encoding="utf-8")) if not resolves(page, link)]
    assert missing == []


def resolves(page: Path, link: str) -> bool:
    """Whether what the link names is there."""
    if "://" in link:
        return True
    path, _, heading = link.partition("#")
    target = (page.parent / path).resolve() if path else page
    return target.exists() and (not heading or heading in anchors(target.read_text(encoding="utf-8").splitlines()))


def anchors(lines: Iterable[str]) -> set[str]:
    """How GitHub names the headings."""
    heads = (line.lstrip("#").strip().lower() for line in lines if line.startswith("#"))
    return {re.sub(r"[^\w\- ]", "", head).replace(" ", "-") for head in heads}

"""README and docs agree with the code: options, variables, exit codes, labels. Links: test_references.py."""

import re
from pathlib import Path

import click
import pytest

from prefect.agent.__main__ import INTERRUPTED
from prefect.agent.adapters.docker import containers
from prefect.agent.adapters.kubernetes import manifest
from prefect.agent.adapters.reports import VARIABLES
from prefect.agent.domain.model.desk import FRESH
from prefect.agent.domain.model.leases import GRACE, MOST_RECOVERIES, PAUSES
from prefect.agent.domain.model.settings import AgentSettings
from prefect.agent.entrypoints.cli.doctor import doctor
from prefect.agent.entrypoints.cli.render import render
from prefect.agent.entrypoints.cli.run_flow import EXITS, GOES_ON, run_flow
from prefect.agent.entrypoints.cli.selftest import selftest
from prefect.agent.entrypoints.cli.start import start
from prefect.agent.entrypoints.cli.why import why
from prefect.agent.entrypoints.runtime.exits import ExitCode
from prefect.agent.entrypoints.server.cli.commands import start as serve
from prefect.agent.entrypoints.settings.bounds import BOUNDS

ROOT = Path(__file__).resolve().parents[2]


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
    ("command", "marker"),
    [
        (start, "options"),
        (selftest, "options of selftest"),
        (why, "options of why"),
        (run_flow, "options of run"),
        (serve, "options of server"),
    ],
)
def test_the_reference_has_every_option_and_no_other(command: click.Command, marker: str) -> None:
    """Those of `--help`."""
    assert options_in(text_of("docs/reference.md"), marker) == options_of(command)


def test_doctor_has_the_options_of_start_and_one_for_its_output() -> None:
    """What is checked is what would be started."""
    assert options_of(doctor) == options_of(start) | {"--output"}


def test_render_has_the_options_of_start_and_three_of_its_own() -> None:
    """What is shown is what would be started."""
    assert options_of(render) == options_of(start) | {"--platform", "--project", "--output"}


def test_the_exit_codes_of_run_are_explained() -> None:
    """And no other; those of the agent stand in one row."""
    table = text_of("docs/how-to/run-a-flow.md").partition("<!-- exit codes of run -->")[2]
    rows = re.findall(r"^\| ([0-9, ]+) \|", table, re.MULTILINE)
    own = {int(row) for row in rows if "," not in row}
    assert own == {*EXITS.values(), GOES_ON, INTERRUPTED, ExitCode.USAGE}


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
    assert set(re.findall(r"`(--[a-z-]+)", settings)) <= options_of(start) | options_of(selftest) | options_of(why)
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


def test_the_architecture_explains_every_import_contract() -> None:
    """Those that `make check` runs, by their names."""
    contracts = text_of("pyproject.toml").split("[[tool.importlinter.contracts]]")[1:]
    names = [re.findall(r'^name = "(.+)"$', contract, re.MULTILINE)[0] for contract in contracts]
    assert names
    assert [name for name in names if f"| {name} |" not in text_of("docs/explanation/architecture.md")] == []

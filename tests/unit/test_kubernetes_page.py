"""docs/kubernetes.md says what the code does."""

import re
from pathlib import Path

import pytest

from prefect.agent.adapters.kubernetes import permissions
from prefect.agent.domain.model.settings import AgentSettings
from prefect.agent.entrypoints.install.plan import DRAIN, OPTIONAL

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "kubernetes.md").read_text(encoding="utf-8")


def rows() -> list[str]:
    """The permission table as it should be, a row for each rule."""
    found = []
    for rule in permissions.TABLE:
        resource = f"{rule.resource}.{rule.group}" if rule.group else rule.resource
        only = " (its own)" if rule.names else ""
        optional = " (optional)" if rule.optional else ""
        verbs = ", ".join(rule.verbs)
        found.append(f"| {rule.feature}{optional} | `{resource}`{only} | {verbs} | {rule.why} |")
    return found


def test_the_permission_table_is_that_of_the_code() -> None:
    """Whoever grants the rights reads the page; `install` prints the same table as a Role."""
    section = PAGE.partition("<!-- permissions")[2].partition("<!-- end of permissions -->")[0]
    written = [line for line in section.splitlines() if line.startswith("|")][2:]

    assert written == rows()


def test_every_feature_that_can_be_left_out_is_named() -> None:
    """Under the table, as `--without` has it."""
    assert all(re.search(rf"`(--without )?{feature}`", PAGE) for feature in OPTIONAL)


@pytest.mark.parametrize(
    "said",
    [
        f"{DRAIN} s to finish",
        f"gets {AgentSettings().cancel_grace:.0f} s to end by itself, then {AgentSettings().stop_grace:.0f} s",
        f"within {AgentSettings().sweep_every:.0f} s",
    ],
)
def test_times_are_those_of_the_code(said: str) -> None:
    """Somebody waits for them."""
    assert said in PAGE
